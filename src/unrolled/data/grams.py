"""Runs of one, two and three neighbouring tokens as numbers, and what a text says by those it holds.

A run of known ids is read as digits of base V. Ids of known tokens begin above `UNKNOWN_ID`, so that runs of different
sizes never share a number, and those of one size stand below all longer ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .marks import UNKNOWN_ID

Numbers = NDArray[np.int64]
SIZES = (1, 2, 3)


def runs(ids: NDArray[np.int32], position: Numbers, size: int, words: int) -> tuple[Numbers, Numbers]:
    """Every run of `size` known tokens of one text: the number that names it, and the place of its last token.

    Args:
        ids: of all texts one after the other, (N,).
        position: where each token stands in its text, from 0, (N,).
        size: 1, 2 or 3 tokens.
        words: V, how many ids there are.
    """
    known = ids != UNKNOWN_ID
    ok, key = known & (position >= size - 1), ids.astype(np.int64)
    for back in range(1, size):
        ok[back:] &= known[:-back]
        key[back:] += ids[:-back].astype(np.int64) * words**back
    ok[: size - 1] = False
    return key[ok], np.flatnonzero(ok)


def find(keys: Numbers, listed: Numbers) -> Numbers:
    """The place of each key in the sorted `listed`, -1 where it is not there."""
    place = np.minimum(np.searchsorted(listed, keys), len(listed) - 1)
    return np.where(listed[place] == keys, place, -1) if len(listed) else np.full(len(keys), -1)


@dataclass(frozen=True, eq=False)
class Grams:
    """Weights of runs.

    Attributes:
        keys: (G,), ascending.
        weights: (G, K).
        words: V, how many ids there are.
    """

    keys: Numbers
    weights: NDArray[np.float32]
    words: int

    def sums(self, ids: NDArray[np.int32], offsets: Numbers) -> NDArray[np.float64]:
        """Of each text the weights of the different runs it holds, summed, (B, K).

        Args:
            ids: of all texts one after the other, (N,).
            offsets: where each begins and the last ends, (B + 1,).
        """
        lengths = np.diff(offsets)
        text = np.repeat(np.arange(len(lengths)), lengths)
        position = np.arange(len(ids)) - offsets[:-1][text]
        held = []
        for size in SIZES:
            key, place = runs(ids, position, size, self.words)
            gram = find(key, self.keys)
            held.append(text[place[gram >= 0]] * len(self.keys) + gram[gram >= 0])
        pairs = np.unique(np.concatenate(held))  # a run counts once a text
        where, gram = np.divmod(pairs, max(1, len(self.keys)))
        columns = [np.bincount(where, column[gram], len(lengths)) for column in self.weights.T]
        return np.stack(columns, 1)
