"""Many texts as one array of token ids, and what the n-gram model and the students read of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..data import grams
from ..data.grams import find

__all__ = ["Corpus", "Ids", "Numbers", "batches", "find", "fold_of", "frequent_pairs", "runs"]

Ids = NDArray[np.int32]
Numbers = NDArray[np.int64]

PAD, UNKNOWN, START = 0, 1, 2


@dataclass(frozen=True)
class Corpus:
    """N texts: the ids (sum of lengths,) one after the other, and where each begins (N + 1,)."""

    ids: Ids
    offsets: Numbers

    @classmethod
    def of(cls, sequences: Sequence[Ids]) -> Corpus:
        """The texts of `sequences`, one int32 array each."""
        offsets = np.cumsum([0, *map(len, sequences)], dtype=np.int64)
        return cls(np.concatenate([np.zeros(0, np.int32), *sequences]).astype(np.int32), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, i: int) -> Ids:
        return self.ids[self.offsets[i] : self.offsets[i + 1]]

    @cached_property
    def lengths(self) -> Numbers:
        """Tokens in each text, (N,)."""
        return np.diff(self.offsets)

    @cached_property
    def text(self) -> Numbers:
        """Which text each token belongs to."""
        return np.repeat(np.arange(len(self)), self.lengths)

    @cached_property
    def position(self) -> Numbers:
        """Where each token stands in its text, from 0."""
        return np.arange(len(self.ids)) - self.offsets[self.text]

    def take(self, rows: Sequence[int] | Numbers) -> Corpus:
        """The texts `rows`, in that order."""
        return Corpus.of([self[int(i)] for i in rows])

    def __add__(self, other: Corpus) -> Corpus:
        return Corpus(
            np.concatenate([self.ids, other.ids]),
            np.concatenate([self.offsets, self.offsets[-1] + other.offsets[1:]]),
        )


def runs(corpus: Corpus, size: int, words: int) -> tuple[Numbers, Numbers]:
    """Every run of `size` known tokens of a text, numbered as in `data.grams`, and the place of its last token."""
    return grams.runs(corpus.ids, corpus.position, size, words)


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
