"""The room `distil`: the teacher's guesses and judgement, and the net of steps that foresees words."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from unrolled.distil import foresee, steps, teacher
from unrolled.distil.corpus import Corpus
from unrolled.layers import has_bfloat16

WORDS = 14
ALL = np.arange(60)


def chain(count: int = 60, seed: int = 0) -> Corpus:
    """Texts in which each id is followed by the next one, or by the one after that."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        walk = np.cumsum(rng.integers(1, 3, rng.integers(5, 60))) + rng.integers(0, 11)
        rows.append((walk % 11 + 3).astype(np.int32))
    return Corpus.of(rows)


def make(*, reverse: bool = False, words: int = WORDS, units: int = 16) -> teacher.Teacher:
    frequency = np.linspace(1000, 1, words).astype(np.int64)
    return teacher.Teacher(frequency, 12, units, reverse=reverse, seed=3)


def test_with_few_words_a_guess_is_the_whole_cross_entropy() -> None:
    net, rng = make(), np.random.default_rng(1)
    ids, targets = rng.integers(3, WORDS, (7, 5)), rng.integers(3, WORDS, 35)
    loss, _, _ = teacher._guess(net, ids, targets, None, rng, False)
    h = net.lstm(net.rows[torch.from_numpy(ids)])[0].reshape(35, -1)
    scores = net.project(h) @ net.rows.T + net.chance[:, 0]
    assert loss.item() == pytest.approx(
        torch.nn.functional.cross_entropy(scores, torch.from_numpy(targets)).item(), rel=1e-5
    )


def test_drawn_candidates_stand_for_all_the_rare_words() -> None:
    net, rng = make(words=4000), np.random.default_rng(2)
    ids = rng.integers(3, 4000, (6, 8))
    targets = rng.integers(3, 4000, 48)
    h = net.lstm(net.rows[torch.from_numpy(ids)])[0].reshape(48, -1)
    scores = net.project(h) @ net.rows.T + net.chance[:, 0]
    wanted = torch.nn.functional.cross_entropy(scores, torch.from_numpy(targets)).item()
    found = [teacher._guess(net, ids, targets, None, rng, False)[0].item() for _ in range(30)]
    assert np.mean(found) == pytest.approx(wanted, abs=0.02)
    assert np.std(found) > 0


def test_guesses_become_as_good_as_the_texts_allow_and_a_resumed_run_is_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(teacher, "LANES", 8)
    monkeypatch.setattr(teacher, "CHUNK", 10)
    corpus = chain(150)

    def run(stop: int | None, state: dict | None) -> tuple[teacher.Learning, list[float]]:
        learning = teacher.Learning(make(), 0.02, 1.0)
        if state:
            learning.restore(state)
        losses = list(itertools.islice(teacher.guesses(learning, corpus, passes=5, seed=4, half=False), stop))
        return learning, losses

    whole, losses = run(None, None)
    assert np.mean(losses[:5]) > 2
    assert np.mean(losses[-20:]) < np.log(2) + 0.4  # one of two; where a text begins nobody knows
    per = whole.done // 5
    first, _ = run(per, None)  # to the end of a pass, where the carried state begins anew
    second, _ = run(None, first.state())
    for name, value in whole.teacher.state_dict().items():
        assert torch.equal(value, second.teacher.state_dict()[name]), name


@pytest.mark.parametrize("reverse", [False, True])
def test_a_judgement_depends_on_the_text_alone_and_on_its_direction(reverse: bool) -> None:
    net, corpus = make(reverse=reverse), chain()
    with torch.no_grad():
        net.judge.weight.normal_()
    together = net.logits(corpus, ALL, half=False)
    alone = [net.logits(corpus, ALL[i : i + 1], half=False)[0] for i in ALL]
    np.testing.assert_allclose(together, alone, atol=1e-5)
    turned = Corpus.of([corpus[i][::-1].copy() for i in ALL])
    net.reverse = not reverse
    np.testing.assert_allclose(together, net.logits(turned, ALL, half=False), atol=1e-5)


def test_the_judge_learns_the_order_of_words() -> None:
    rng = np.random.default_rng(5)
    rows = [rng.permutation(np.arange(3, 12)).astype(np.int32) for _ in range(400)]
    labels = np.array([row.tolist().index(3) < row.tolist().index(4) for row in rows])
    learning = teacher.Learning(make(units=24), 0.01, 1.0)
    corpus = Corpus.of(rows)
    losses = list(
        teacher.judge(learning, corpus, labels.astype(np.float32), np.arange(300), epochs=30, half=False)
    )
    right = (learning.teacher.logits(corpus, np.arange(300, 400), half=False) > 0) == labels[300:]
    assert right.mean() > 0.85
    assert np.mean(losses[-10:]) < 0.6 * losses[0]


@pytest.mark.skipif(not has_bfloat16(), reason="this processor has no bfloat16: both are float32")
def test_half_precision_changes_a_judgement_by_little() -> None:
    net, corpus = make(), chain()
    with torch.no_grad():
        net.judge.weight.normal_()
    full, half = net.logits(corpus, ALL, half=False), net.logits(corpus, ALL)
    assert 0 < np.abs(full - half).max() < 0.1


@pytest.mark.parametrize("both_ways", [False, True])
def test_a_net_of_steps_foresees_the_words_of_its_neighbours(
    both_ways: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foresee, "FRAME_WORDS", 3)
    corpus = chain(120)
    shape = steps.Shape(WORDS, np.zeros(0, np.int64), step=1, size=8, units=8, both_ways=both_ways)
    net = steps.Steps(shape)
    before = net.rows.clone()
    reading = steps.Reading(corpus, shape)
    losses = list(foresee.foresee(net, reading, np.arange(120), passes=60, rate=0.03))
    assert losses[0] == pytest.approx(np.log(11), abs=0.05)
    assert np.mean(losses[-10:]) < np.log(2) + 0.35
    assert torch.equal(net.rows[:, -1], before[:, -1])  # the linear term is not for this
    assert not torch.equal(net.rows[3:, :-1], before[3:, :-1])


def test_only_some_words_are_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foresee, "CHOICES", 4)
    words = np.array([5, 7, 5, 9, 11, 13, 7, 8])
    choice, slot, kept = foresee._choices(words, np.random.default_rng(0))
    assert len(choice) == 4
    assert choice[torch.from_numpy(slot)].tolist() == words[kept].tolist()
    assert set(words[~kept].tolist()).isdisjoint(choice.tolist())
