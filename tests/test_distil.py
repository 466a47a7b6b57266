"""The room `distil`: what a student reads, the n-gram model, and the net of steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from unrolled.distil import corpus as texts
from unrolled.distil import ngrams, steps
from unrolled.distil.corpus import Corpus
from unrolled.distil.rows import RowAdam

WORDS = 12


def make(count: int, seed: int = 0, longest: int = 20) -> Corpus:
    rng = np.random.default_rng(seed)
    return Corpus.of(
        [rng.integers(1, WORDS, rng.integers(1, longest)).astype(np.int32) for _ in range(count)]
    )


def listed(corpus: Corpus, size: int) -> list[tuple[int, ...]]:
    """Runs of known ids, read one text at a time."""
    rows = [corpus[i].tolist() for i in range(len(corpus))]
    runs = (tuple(row[j : j + size]) for row in rows for j in range(len(row) - size + 1))
    return [run for run in runs if texts.UNKNOWN not in run]


def number(run: tuple[int, ...]) -> int:
    return sum(digit * WORDS**place for place, digit in enumerate(reversed(run)))


@pytest.mark.parametrize("size", [1, 2, 3])
def test_runs_stay_inside_a_text_and_leave_unknown_words_out(size: int) -> None:
    corpus = make(30)
    keys, places = texts.runs(corpus, size, WORDS)
    assert keys.tolist() == [number(run) for run in listed(corpus, size)]
    assert all(corpus.position[place] >= size - 1 for place in places)


def test_frequent_pairs_are_the_most_frequent() -> None:
    corpus = make(50)
    counted: dict[tuple[int, ...], int] = {}
    for run in listed(corpus, 2):
        counted[run] = counted.get(run, 0) + 1
    wanted = sorted(counted, key=lambda run: (-counted[run], number(run)))[:7]
    assert texts.frequent_pairs(corpus, 7, WORDS).tolist() == sorted(map(number, wanted))


def test_batches_hold_every_text_once_and_are_drawn_by_the_seed() -> None:
    lengths, rows = make(300).lengths, np.arange(10, 290)
    first = [part.tolist() for part in texts.batches(lengths, rows, 8, [1, 2])]
    assert sorted(i for part in first for i in part) == rows.tolist()
    assert first == [part.tolist() for part in texts.batches(lengths, rows, 8, [1, 2])]
    assert first != [part.tolist() for part in texts.batches(lengths, rows, 8, [1, 3])]


def test_a_group_is_in_one_fold() -> None:
    groups = [f"film {i // 3}" for i in range(60)]
    fold = texts.fold_of(groups, 4, seed=5).reshape(20, 3)
    assert (fold == fold[:, :1]).all()
    assert len(np.unique(fold)) == 4


def test_the_ngram_model_finds_the_optimum_that_scikit_learn_finds() -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    corpus, rng = make(80, seed=3), np.random.default_rng(4)
    labels = rng.random(80) < 0.5
    model = ngrams.fit(corpus, labels, WORDS, c=0.5, rounds=200)
    columns = [
        key + size * WORDS**3 for size, keys in zip((1, 2, 3), model.keys, strict=True) for key in keys
    ]
    x = np.zeros((80, len(columns)))
    for size in (1, 2, 3):
        keys, places = texts.runs(corpus, size, WORDS)
        for key, place in zip(keys, places, strict=True):
            if key + size * WORDS**3 in columns:
                x[corpus.text[place], columns.index(key + size * WORDS**3)] = 1
    assert (x.sum(0) >= 2).all()
    p, q = x[labels].sum(0) + 1, x[~labels].sum(0) + 1
    r = np.log(p / p.sum()) - np.log(q / q.sum())
    other = linear.LogisticRegression(C=0.5, tol=1e-10, max_iter=2000).fit(x * r, labels)
    np.testing.assert_allclose(model.logits(corpus), other.decision_function(x * r), atol=2e-3)


def shape(both_ways: bool) -> steps.Shape:
    pairs = texts.frequent_pairs(make(40), 9, WORDS)
    return steps.Shape(WORDS, pairs, step=3, size=5, units=4, both_ways=both_ways)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def readable(weights: dict[str, np.ndarray], pairs: np.ndarray, ids: list[int], step: int) -> float:
    """The formulas of steps.py for one text, token by token."""
    table = np.concatenate([weights["rows.weight"], weights["rows.linear"][:, None]], 1)
    x = np.zeros((max(1, -(-len(ids) // step)), table.shape[1]))
    for i, token in enumerate(ids):
        x[i // step] += table[token]
        key = ids[i - 1] * WORDS + token
        if i and texts.UNKNOWN not in ids[i - 1 : i + 1] and key in pairs:
            x[i // step] += table[WORDS + pairs.tolist().index(key)]
    pooled = []
    for name, order in (("forward", 1), ("backward", -1)):
        if f"{name}.bias" not in weights:
            continue
        h = c = np.zeros(4)
        seen = []
        for row in x[::order, :-1]:
            z = (
                weights[f"{name}.weight_ih"] @ row
                + weights[f"{name}.weight_hh"] @ h
                + weights[f"{name}.bias"]
            )
            i, f, g, o = np.split(z, 4)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
            seen.append(h)
        pooled.append(np.array(seen))
    vector = np.concatenate([p.mean(0) for p in pooled] + [p.max(0) for p in pooled])
    return float(
        weights["out.weight"][0] @ vector + weights["out.bias"][0] + x[:, -1].sum() / np.sqrt(len(ids))
    )


@pytest.mark.parametrize("both_ways", [False, True])
def test_a_net_of_steps_computes_its_formula(both_ways: bool) -> None:
    corpus = make(25, seed=6)
    net = steps.Steps(shape(both_ways))
    net.rows[:, -1] = torch.linspace(-1, 1, len(net.rows))
    z = net.logits(steps.Reading(corpus, net.shape), np.arange(25), size=7)
    weights = net.weights()
    wanted = [readable(weights, net.shape.pairs, corpus[i].tolist(), 3) for i in range(25)]
    np.testing.assert_allclose(z, wanted, atol=1e-5)


def test_a_net_of_steps_learns_order_that_no_bag_of_words_knows() -> None:
    rng = np.random.default_rng(7)
    rows = [rng.permutation(np.arange(2, 10)).astype(np.int32) for _ in range(400)]
    corpus = Corpus.of(rows)
    labels = np.array([row.tolist().index(2) < row.tolist().index(3) for row in rows])
    net = steps.Steps(steps.Shape(WORDS, np.zeros(0, np.int64), step=1, size=8, units=12))
    reading = steps.Reading(corpus, net.shape)
    steps.linear_start(net, reading, np.arange(300), labels)
    heard: list[float] = []
    steps.fit(
        net, reading, labels.astype(np.float32), np.arange(300), steps.Course(60, 0.02),
        report=lambda done, total, loss: heard.append(loss),
    )  # fmt: skip
    right = (net.logits(reading, np.arange(300, 400)) > 0) == labels[300:]
    assert right.mean() > 0.9
    assert heard[-1] < 0.5 * heard[0]


def test_adam_on_rows_moves_only_the_rows_it_is_given_and_as_the_formula_says() -> None:
    table = torch.zeros(4, 2)
    adam = RowAdam(table)
    gradient = torch.tensor([[1.0, -2.0]])
    m = v = 0.0
    wanted = 0.0
    for _ in range(3):
        adam.update(torch.tensor([2]), gradient, 0.1)
        m, v = 0.9 * m + 0.1 * 1.0, 0.98 * v + 0.02 * 1.0
        wanted -= 0.1 * m / (v**0.5 + 1e-8)
    assert table[2].tolist() == pytest.approx([wanted, -wanted], rel=1e-5)
    assert not table[[0, 1, 3]].any()
