"""A net of steps as a bundle: the formula, disk, batches and company, and what it says of odd texts."""

import runpy
from pathlib import Path

import numpy as np
import pytest

from unrolled import load
from unrolled.bundle import Bundle
from unrolled.config import RunConfig
from unrolled.data.marks import SPECIAL, MarkTokenizer
from unrolled.data.sequence import Sequences
from unrolled.errors import BundleError
from unrolled.explain import explain
from unrolled.network import Network
from unrolled.tasks.sentiment import Sentiment

TESTS = Path(__file__).parent
WORDS = [*SPECIAL, ".", "!", "not", "good", "bad", "film", "a", "the", "é", "<br>"]
TEXTS = ["not good", "good, not bad! a film", "bad . bad . bad", "the the the film " * 40, "A", "good"]


def arrays(classes: int = 1, both: bool = True, seed: int = 0) -> dict[str, np.ndarray]:
    rng, size, units = np.random.default_rng(seed), 6, 5
    pairs = np.sort(rng.choice(len(WORDS) ** 2, 20, replace=False))
    shapes = {
        "rows.weight": (len(WORDS) + 20, size), "rows.linear": (len(WORDS) + 20, classes),
        "out.weight": (classes, 2 * units * (1 + both)), "out.bias": (classes,),
    }  # fmt: skip
    for way in ("forward", "backward")[: 1 + both]:
        shapes |= {f"{way}.weight_ih": (4 * units, size), f"{way}.weight_hh": (4 * units, units)}
        shapes |= {f"{way}.bias": (4 * units,)}
    return {"pairs": pairs} | {name: rng.normal(size=s).astype(np.float32) for name, s in shapes.items()}


def make(labels=("negative", "positive"), both: bool = True, temperature: float = 1.5) -> Bundle:
    found = arrays(1 if len(labels) == 2 else len(labels), both)
    task, weights = Sentiment.of_steps(labels, MarkTokenizer(WORDS), found, step=3, temperature=temperature)
    return Bundle(task, weights, RunConfig(), "# steps\n", "steps")


def lstm(x: np.ndarray, found: dict[str, np.ndarray], way: str) -> np.ndarray:
    h = c = np.zeros(found[f"{way}.weight_hh"].shape[1])
    states = []
    for row in x:
        a = found[f"{way}.weight_ih"] @ row + found[f"{way}.weight_hh"] @ h + found[f"{way}.bias"]
        i, f, g, o = np.split(a, 4)
        c = c / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
        h = np.tanh(c) / (1 + np.exp(-o))
        states.append(h)
    return np.array(states)


def by_hand(ids: list[int], found: dict[str, np.ndarray], both: bool = True) -> np.ndarray:
    """The logits of one text by the formulas, in float64."""
    x = np.zeros((-(-len(ids) // 3), 6))
    linear = np.zeros(len(found["out.bias"]))
    for i, token in enumerate(ids):
        rows, key = [token], ids[i - 1] * len(WORDS) + token
        if i and key in found["pairs"]:
            rows.append(len(WORDS) + int(np.searchsorted(found["pairs"], key)))
        for row in rows:
            x[i // 3] += found["rows.weight"][row]
            linear += found["rows.linear"][row]
    h = [lstm(x, found, "forward")] + ([lstm(x[::-1], found, "backward")[::-1]] if both else [])
    h = np.concatenate(h, 1)
    pooled = np.concatenate([h.mean(0), h.max(0)])
    return found["out.weight"] @ pooled + found["out.bias"] + linear / np.sqrt(len(ids))


@pytest.mark.parametrize("labels", [("negative", "positive"), ("negative", "neutral", "positive")])
@pytest.mark.parametrize("both", [True, False])
def test_answers_follow_the_formula(labels, both):
    ours = make(labels, both)
    found = arrays(1 if len(labels) == 2 else 3, both)
    for ids, p in zip(ours.encode(TEXTS), ours.probabilities(TEXTS), strict=True):
        z = by_hand(ids.tolist(), found, both) / 1.5
        z = np.array([0, z[0]]) if len(labels) == 2 else z
        expected = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
        np.testing.assert_allclose(p, expected, atol=0.03)  # rows in 8 bits


def test_disk_batches_and_company_change_nothing(tmp_path):
    ours = make()
    loaded = Bundle.load(ours.save(tmp_path / "steps"))
    assert loaded.predict(TEXTS) == ours.predict(TEXTS)
    assert loaded.task.arrays["rows"].dtype == np.int8
    alone = np.concatenate([ours.probabilities([text]) for text in TEXTS])
    np.testing.assert_array_equal(ours.probabilities(TEXTS), alone)
    np.testing.assert_array_equal(ours.probabilities(TEXTS, batch_size=2), alone)
    halves = Bundle.load(ours.save(tmp_path / "half", half=True)).probabilities(TEXTS)
    np.testing.assert_allclose(halves, alone, atol=0.01)


def test_texts_that_cannot_be_judged_say_so():
    status = [answer.status for answer in make().predict(["", ". !", "\U0001f600", "das ist nicht gut", "a é"])]
    assert status == ["empty", "empty", "unknown_words", "unknown_words", "ok"]
    assert make().predict(["x"])[0].label is None


def test_trace_answers_for_each_beginning():
    ours = make()
    trace = ours.trace("good, not bad")
    assert len(trace) == 4
    np.testing.assert_allclose(trace[-1], ours.probabilities(["good, not bad"])[0, 1])
    np.testing.assert_allclose(trace[0], ours.probabilities(["good"])[0, 1])


def test_explained_words_are_where_they_stand():
    text = "The film: NOT good!"
    found = explain(make(), text)
    assert [text[i.start : i.end] for i in found] == ["The", "film", "NOT", "good"]
    without = make().score_ids([np.array([10, 8, 1, 5, 6, 4])])
    full = make().probabilities([text])[0]
    answer = int(full.argmax())
    ids = make().encode([text])[0]
    removed = ids.copy()
    removed[3] = 1
    p = make().score_ids([removed])[0, answer]
    fall = np.log(full[answer] / (1 - full[answer])) - np.log(p / (1 - p))
    np.testing.assert_allclose(found[2].contribution, fall, rtol=1e-5)
    assert without.shape == (1, 2)


def test_foreign_arrays_and_settings_are_refused():
    ours = make()
    with pytest.raises(BundleError, match="The weight 'pairs' is missing"):
        ours.task.with_arrays({name: a for name, a in ours.task.arrays.items() if name != "pairs"})
    with pytest.raises(BundleError, match="There are 33 rows for 13 words and 19 pairs"):
        ours.task.with_arrays(dict(ours.task.arrays) | {"pairs": ours.task.arrays["pairs"][1:]})
    settings = ours.task.settings()
    with pytest.raises(BundleError, match="'step' is 0 and 'temperature' 1.5; expected"):
        Sentiment.from_settings(settings | {"step": 0}, ours.task.network)
    with pytest.raises(BundleError, match=r"The network answers \(1,\), which does not fit 3 labels"):
        Sentiment.from_settings(settings | {"labels": ["a", "b", "c"]}, ours.task.network)
    assert isinstance(ours.task.network, Network)


def test_sequences_are_a_list_of_arrays():
    rows = [np.array([1, 2], np.int32), np.array([], np.int32), np.array([3], np.int32), np.array([4, 5], np.int32)]
    found = Sequences.of(rows)
    assert [row.tolist() for row in found] == [row.tolist() for row in rows]
    assert [row.tolist() for row in found[1:3]] == [[], [3]]
    assert [row.tolist() for row in found[::-2]] == [[4, 5], []]
    assert found[-1].tolist() == [4, 5]
    assert Sequences.of(found) is found
    assert len(found[3:1]) == 0


def test_general_calls_plain_facts_neutral() -> None:
    facts = (TESTS / "pairs" / "facts.txt").read_text(encoding="utf-8").splitlines()
    bundle = load("general")
    (first,) = bundle.predict(["It arrived on Tuesday."])
    assert first.label == "neutral"
    assert sum(answer.label == "neutral" for answer in bundle.predict(facts)) >= 0.75 * len(facts)


def test_the_program_of_general_puts_sentences_together_again() -> None:
    pytest.importorskip("torch", reason="torch is not installed (extra 'train')")
    program = runpy.run_path(str(TESTS.parent / "docs" / "general.py"))
    assert program["natural"]("it does n't matter , -lrb- he 's a `` 17 @-@ hit '' -rrb- .") == (
        "it doesn't matter, ( he's a \" 17-hit \" )."
    )
    assert set(program["FINE"].values()) == {0, 1, 2}
