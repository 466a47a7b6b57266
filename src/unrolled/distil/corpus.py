"""Many texts as one array of token ids, and what the n-gram model and the students read of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ..data.grams import Numbers, runs
from ..data.sequence import Sequences as Corpus

__all__ = ["Corpus", "Ids", "Numbers", "batches", "fold_of", "frequent_pairs", "runs"]

Ids = NDArray[np.int32]

PAD, UNKNOWN, START = 0, 1, 2


def frequent_pairs(corpus: Corpus, count: int, words: int, *, least: int = 1) -> Numbers:
    """The `count` most frequent pairs of neighbours, as sorted keys id_before * words + id; ties in their order.

    Pairs that occur fewer than `least` times are left out.
    """
    keys, times = np.unique(runs(corpus, 2, words)[0], return_counts=True)
    keys, times = keys[times >= least], times[times >= least]
    return np.sort(keys[np.argsort(-times, kind="stable")[:count]])


def batches(lengths: Numbers, rows: Numbers, size: int, seed: Sequence[int]) -> Iterator[Numbers]:
    """`rows` in batches of `size` texts of like length, both the texts and the batches drawn with `seed`."""
    rng = np.random.default_rng(seed)
    order, pool = rng.permutation(rows), size * 50
    found = []
    for start in range(0, len(order), pool):
        part = order[start : start + pool]
        part = part[np.argsort(lengths[part], kind="stable")]
        found += [part[i : i + size] for i in range(0, len(part), size)]
    yield from (found[i] for i in rng.permutation(len(found)))


def fold_of(groups: Sequence[str], folds: int, seed: int) -> Numbers:
    """A fold for each example, the same for all of one group (the film of each review, say)."""
    names, member = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    return np.random.default_rng(seed).integers(0, folds, len(names))[member.reshape(-1)]
