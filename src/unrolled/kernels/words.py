"""Words of many texts at once: counted, and looked up in a word list.

What separates two words and what is lower-cased is one table of 256 bytes, `fold`, given by the caller: byte b of
a text is read as fold[b], and a word is a longest run of bytes that are not read as a space. Texts are bytes
(UTF-8), so a table that only changes ASCII bytes never breaks a character.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

SKIP = -1
"""As `unseen`: words that are not in the list leave no id behind."""


def split(text: bytes, fold: bytes) -> list[bytes]:
    """The words of one text, in order: the definition that everything in this file must match."""
    return [word for word in text.translate(fold).split(b" ") if word]


def count(texts: Sequence[bytes], fold: bytes) -> tuple[list[bytes], NDArray[np.int64]]:
    """Distinct words of all texts with how often they occur, most frequent first, ties in the order of bytes."""
    counts: Counter[bytes] = Counter()
    for text in texts:
        counts.update(split(text, fold))
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [word for word, _ in ordered], np.array([n for _, n in ordered], dtype=np.int64)


class WordTable:
    """A word list to look words up in.

    Args:
        words: distinct words, as `split` gives them.
        ids: int32 (len(words),), what each word becomes; several words may share an id.
        fold: 256 bytes.
    """

    def __init__(self, words: Sequence[bytes], ids: NDArray[np.int32], fold: bytes) -> None:
        self._ids = dict(zip(words, ids.tolist(), strict=True))
        self._fold = fold

    def encode(
        self, texts: Sequence[bytes], unseen: int = SKIP
    ) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Ids of all texts in one array, and where each text begins in it: ids (N,), offsets (len(texts) + 1,).

        `unseen` is the id of words that are not in the list; SKIP leaves them out.
        """
        rows = [self._encode_one(text, unseen) for text in texts]
        offsets = np.zeros(len(rows) + 1, dtype=np.int64)
        np.cumsum([len(row) for row in rows], out=offsets[1:])
        ids = np.fromiter((i for row in rows for i in row), dtype=np.int32, count=int(offsets[-1]))
        return ids, offsets

    def _encode_one(self, text: bytes, unseen: int) -> list[int]:
        look_up = self._ids.get
        found = [look_up(word, unseen) for word in split(text, self._fold)]
        return [i for i in found if i != SKIP] if unseen == SKIP else found
