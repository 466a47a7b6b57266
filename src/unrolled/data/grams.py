"""Runs of one, two and three neighbouring tokens as numbers, and what a text says by those it holds.

A run of known ids is read as digits of base V. Ids of known tokens begin above `UNKNOWN_ID`, so that runs of different
sizes never share a number, and those of one size stand below all longer ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .marks import UNKNOWN_ID
from .sequence import Sequences

Numbers = NDArray[np.int64]
SIZES = (1, 2, 3)


def runs(texts: Sequences, size: int, words: int) -> tuple[Numbers, Numbers]:
    """Every run of `size` known tokens of one text: the number that names it, and the place of its last token.

    Args:
        texts: as ids.
        size: 1, 2 or 3 tokens.
        words: V, how many ids there are.
    """
    ids = texts.ids
    known = ids != UNKNOWN_ID
    ok, key = known & (texts.position >= size - 1), ids.astype(np.int64)
    for back in range(1, size):
        ok[back:] &= known[:-back]
        key[back:] += ids[:-back].astype(np.int64) * words**back
    ok[: size - 1] = False
    return key[ok], np.flatnonzero(ok)


def find(keys: Numbers, listed: Numbers) -> Numbers:
    """The place of each key in the sorted `listed`, -1 where it is not there."""
    place = np.minimum(np.searchsorted(listed, keys), len(listed) - 1)
    return np.where(listed[place] == keys, place, -1) if len(listed) else np.full(len(keys), -1)


def held(texts: Sequences, listed: Numbers, words: int) -> tuple[Numbers, Numbers]:
    """Which text holds which of the sorted runs `listed`: texts, and places in `listed`; each pair once."""
    found = []
    for size in SIZES:
        key, place = runs(texts, size, words)
        gram = find(key, listed)
        found.append(texts.text[place[gram >= 0]] * len(listed) + gram[gram >= 0])
    text, gram = np.divmod(np.unique(np.concatenate(found)), max(1, len(listed)))
    return text, gram


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

    def sums(self, texts: Sequences) -> NDArray[np.float64]:
        """Of each of B texts the weights of the different runs it holds, summed, (B, K)."""
        text, gram = held(texts, self.keys, self.words)
        return np.stack([np.bincount(text, column[gram], len(texts)) for column in self.weights.T], 1)
