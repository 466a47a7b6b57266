"""Words of many texts at once: counted, and looked up in a word list.

What separates two words and what is lower-cased is one table of 256 bytes, `fold`, given by the caller: byte b of
a text is read as fold[b], and a word is a longest run of bytes that are not read as a space. Texts are bytes
(UTF-8), so a table that only changes ASCII bytes never breaks a character.

`split` is the definition. The engine does the same without making a Python object for every word, over all
threads, and lets other Python threads run meanwhile; where it is missing, `split` itself serves.
"""

from __future__ import annotations

import ctypes
from collections import Counter
from collections.abc import Sequence
from ctypes import c_int32, c_int64
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import EngineError
from . import engine

SKIP = -1
"""As `unseen`: words that are not in the list leave no id behind. As `prefix`: nothing stands before a text."""

Ids = tuple[NDArray[np.int32], NDArray[np.int64]]
_Pointer = ctypes.c_void_p


class Joined(NamedTuple):
    """Many texts in one array, uint8 (N,), and where each begins and the last ends, int64 (texts + 1,)."""

    data: NDArray[np.uint8]
    offsets: NDArray[np.int64]

    def texts(self) -> list[bytes]:
        """One by one."""
        data, places = self.data.tobytes(), self.offsets.tolist()
        return [data[begin:end] for begin, end in pairwise(places)]


def split(text: bytes, fold: bytes) -> list[bytes]:
    """The words of one text, in order."""
    return [word for word in text.translate(fold).split(b" ") if word]


def count(texts: Sequence[bytes] | Joined, fold: bytes) -> tuple[list[bytes], NDArray[np.int64]]:
    """Distinct words of all texts with how often they occur, most frequent first, ties in the order of bytes."""
    library = engine()
    counts = _count_split(texts, fold) if library is None else _count_native(library, texts, fold)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [word for word, _ in ordered], np.array([n for _, n in ordered], dtype=np.int64)


class WordTable:
    """A word list to look words up in.

    Args:
        words: distinct words, as `split` gives them.
        ids: int32 (len(words),), what each word becomes; several words may share an id.
        fold: 256 bytes.

    Raises:
        EngineError: a word stands in the list twice.
    """

    def __init__(self, words: Sequence[bytes], ids: NDArray[np.int32], fold: bytes) -> None:
        if len(set(words)) != len(words):
            raise EngineError("A word stands in the list twice, so that its id would be a matter of chance.")
        self._words = words
        self._ids = np.ascontiguousarray(ids, dtype=np.int32)
        self._fold = fold
        self._dict: dict[bytes, int] | None = None
        self._list: _WordList | None = None

    def encode(self, texts: Sequence[bytes] | Joined, *, prefix: int = SKIP, unseen: int = SKIP) -> Ids:
        """Ids of all texts in one array, and where each text begins in it: ids (N,), offsets (len(texts) + 1,).

        Args:
            texts: UTF-8.
            prefix: id put before every text.
            unseen: id of words that are not in the list.
        """
        library = engine()
        if library is None:
            return self._encode_split(texts, prefix, unseen)
        return self._encode_native(library, texts, prefix, unseen)

    def _encode_split(self, texts: Sequence[bytes] | Joined, prefix: int, unseen: int) -> Ids:
        if self._dict is None:
            self._dict = dict(zip(self._words, self._ids.tolist(), strict=True))
        look_up = self._dict.get
        found = ([prefix, *(look_up(word, unseen) for word in split(text, self._fold))] for text in _list(texts))
        rows = [[i for i in row if i != SKIP] for row in found]
        ids = np.fromiter((i for row in rows for i in row), dtype=np.int32)
        return ids, np.cumsum([0, *map(len, rows)], dtype=np.int64)

    def encode_marks(self, library: ctypes.CDLL, texts: Sequence[bytes], unseen: int) -> Ids:
        """The same for the tokens of `texts` by the rule of `kernels.marks`, by the engine."""
        return self._encode_native(library, texts, SKIP, unseen, marks=True)

    def _encode_native(
        self, library: ctypes.CDLL, texts: Sequence[bytes] | Joined, prefix: int, unseen: int, *, marks: bool = False
    ) -> Ids:
        # Other threads may index or read the same list meanwhile: this call holds on to the one that it reads,
        # and sets its own ids in a copy of the descriptor.
        indexed = self._list or self._index(library)
        self._list = indexed
        given = Texts(texts, self._fold)
        wanted = _WordList.from_buffer_copy(indexed)
        wanted.prefix, wanted.unseen = prefix, unseen
        rows = len(given.places) - 1
        size = int(given.places[-1])
        out = np.empty(size + rows if marks else size // 2 + 2 * rows + 1, dtype=np.int32)
        offsets = np.zeros(rows + 1, dtype=np.int64)
        encode = library.unrolled_encode_marks if marks else library.unrolled_encode_words
        encode.restype = c_int64
        n = encode(ctypes.byref(given), ctypes.byref(wanted), pointer(out), pointer(offsets))
        return out[: checked(n)].copy(), offsets

    def _index(self, library: ctypes.CDLL) -> _WordList:
        joined, places = join(self._words)
        slots = np.zeros(_capacity(len(self._words)), dtype=np.int32)
        pointers = [pointer(joined), pointer(places), pointer(self._ids)]
        made = _WordList(*pointers, len(self._words), pointer(slots), len(slots), SKIP, SKIP)
        made.kept = (joined, places, slots)
        library.unrolled_index_words.restype = c_int64
        checked(library.unrolled_index_words(ctypes.byref(made)))
        return made


def _count_split(texts: Sequence[bytes] | Joined, fold: bytes) -> dict[bytes, int]:
    counts: Counter[bytes] = Counter()
    for text in _list(texts):
        counts.update(split(text, fold))
    return counts


def _count_native(library: ctypes.CDLL, texts: Sequence[bytes] | Joined, fold: bytes) -> dict[bytes, int]:
    given = Texts(texts, fold)
    library.unrolled_count_words.restype = c_int64
    capacity, found = 1 << 16, -1
    while found == -1:
        slots = np.zeros(capacity, dtype=np.int32)
        places = np.empty((3, capacity // 2), dtype=np.int64)
        wanted = _WordCounts(pointer(slots), capacity, *map(pointer, places))
        found = library.unrolled_count_words(ctypes.byref(given), ctypes.byref(wanted))
        capacity *= 4
    columns = places[:, : checked(found)].tolist()
    joined = given.joined.tobytes()
    return {joined[b : b + n].translate(fold): times for b, n, times in zip(*columns, strict=True)}


class Texts(ctypes.Structure):
    """unrolled_texts of words.h, with what its pointers point to."""

    _fields_ = (("bytes", _Pointer), ("offsets", _Pointer), ("texts", c_int64), ("fold", _Pointer))

    def __init__(self, texts: Sequence[bytes] | Joined, fold: bytes) -> None:
        self.joined, self.places = texts if isinstance(texts, Joined) else join(texts)
        self.fold_array = np.frombuffer(fold, dtype=np.uint8)
        pointers = [pointer(self.joined), pointer(self.places)]
        super().__init__(*pointers, len(self.places) - 1, pointer(self.fold_array))


class _WordCounts(ctypes.Structure):
    """unrolled_word_counts of words.h."""

    _fields_ = (
        ("slots", _Pointer),
        ("capacity", c_int64),
        ("begins", _Pointer),
        ("lengths", _Pointer),
        ("counts", _Pointer),
    )


class _WordList(ctypes.Structure):
    """unrolled_word_list of words.h, with what its pointers point to."""

    kept: tuple[NDArray[Any], ...] = ()

    _fields_ = (
        ("bytes", _Pointer),
        ("offsets", _Pointer),
        ("ids", _Pointer),
        ("words", c_int64),
        ("slots", _Pointer),
        ("capacity", c_int64),
        ("prefix", c_int32),
        ("unseen", c_int32),
    )


def join(texts: Sequence[bytes]) -> Joined:
    """All of them in one array."""
    return Joined(
        np.frombuffer(b"".join(texts), dtype=np.uint8), np.cumsum([0, *map(len, texts)], dtype=np.int64)
    )


def _list(texts: Sequence[bytes] | Joined) -> Sequence[bytes]:
    return texts.texts() if isinstance(texts, Joined) else texts


def _capacity(words: int) -> int:
    return 1 << max(1, (2 * words - 1).bit_length())


def pointer(array: NDArray[Any]) -> ctypes.c_void_p:
    """Where an array's memory begins."""
    return ctypes.c_void_p(array.ctypes.data)


def checked(result: int) -> int:
    """`result`, unless it says that the engine refused."""
    if result < 0:
        raise EngineError(f"The engine refused to read words (code {result}). Please report this as a bug.")
    return result
