r"""Text to token ids, by the rules of the lesson (those of Keras's IMDB arrays).

ASCII letters become lower-case, each of ``!"#$%&()*+,-./:;<=>?@[\]^_`{|}~``, tab and newline becomes a space, and
words are what stands between spaces; every other byte of the UTF-8 text belongs to a word as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from ..errors import BundleError, DataError
from ..kernels import words as native

PAD_ID, START_ID, UNKNOWN_ID, INDEX_FROM = 0, 1, 2, 3
_SEPARATORS = '!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n '
_WORD = re.compile(f"[^{re.escape(_SEPARATORS)}]+")
_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}
FOLD = bytes(ord(" ") if chr(byte) in _SEPARATORS else _LOWER.get(byte, byte) for byte in range(256))
"""What each byte of a text is read as: the rules above as a table."""


class Span(NamedTuple):
    """A word and where it stands: text[start:end] is the word as it was written (code points)."""

    word: str
    start: int
    end: int


def spans(text: str) -> list[Span]:
    """The words of `text` with their places in it."""
    return [Span(m.group().translate(_LOWER), m.start(), m.end()) for m in _WORD.finditer(text)]


def split_words(text: str) -> list[str]:
    """The words of `text`, in order."""
    return [span.word for span in spans(text)]


def _to_bytes(text: str) -> bytes:
    # Half of a surrogate pair is no character, but a review that holds one must still get its answer.
    return text.encode("utf-8", "surrogatepass")


def count_words(texts: Iterable[str]) -> dict[str, int]:
    """How often each word occurs, most frequent first; ties in the order of their UTF-8 bytes."""
    found, counts = native.count([_to_bytes(text) for text in texts], FOLD)
    return dict(zip((word.decode("utf-8", "surrogatepass") for word in found), counts.tolist(), strict=True))


@final
class Vocabulary:
    """Words and their ids, as Keras numbers them: word number r (from 1) has the id r + index_from.

    Args:
        words: distinct words, most frequent first.
        num_words: ids from this one on become `unknown_id`; None keeps all.
        index_from: how many ids stand before the first word: padding 0, start 1, unknown 2 (and 3, never used).
        unknown_id: id of the words that `num_words` cuts off.

    Raises:
        DataError: a word stands there twice.
    """

    def __init__(
        self,
        words: Sequence[str],
        *,
        num_words: int | None = None,
        index_from: int = INDEX_FROM,
        unknown_id: int = UNKNOWN_ID,
    ) -> None:
        self.words = tuple(words)
        self.index_from = index_from
        self.unknown_id = unknown_id
        everything = len(self.words) + index_from + 1
        self.size = everything if num_words is None else min(num_words, everything)
        """How many ids there are: the rows of an embedding."""
        ids = np.arange(index_from + 1, everything, dtype=np.int32)
        self._id_array = np.where(ids < self.size, ids, np.int32(unknown_id))
        self._ids = dict(zip(self.words, self._id_array.tolist(), strict=True))
        if len(self._ids) != len(self.words):
            twice = next(word for i, word in enumerate(self.words) if word in self.words[:i])
            raise DataError(
                f"The vocabulary holds the word '{twice}' twice; every word must stand there once."
            )

    @classmethod
    def build(cls, texts: Iterable[str], *, num_words: int | None = None) -> Vocabulary:
        """The words of `texts` (the training texts only), cut to what `num_words` ids can name."""
        words = list(count_words(texts))
        return cls(words if num_words is None else words[: max(0, num_words - INDEX_FROM - 1)])

    def __len__(self) -> int:
        return self.size

    def __contains__(self, word: str) -> bool:
        return word in self._ids

    def id(self, word: str) -> int | None:
        """The id of `word`, or None where the list does not hold it."""
        return self._ids.get(word)

    def word(self, token: int) -> str:
        """The word with the id `token`; "<pad>", "<start>", "<unknown>" for the ids before the first word."""
        rank = token - self.index_from - 1
        if rank >= 0 and token < self.size:
            return self.words[rank]
        return {PAD_ID: "<pad>", START_ID: "<start>"}.get(token, "<unknown>")

    @cached_property
    def table(self) -> native.WordTable:
        """The same list for the engine."""
        return native.WordTable([_to_bytes(word) for word in self.words], self._id_array, FOLD)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "table"}


@final
class Tokenizer:
    """Texts to rows of token ids.

    Args:
        vocabulary: the words it knows.
        start_id: put before every text; None puts nothing.
        unseen_id: id of words that the vocabulary does not hold; None leaves them out, as Keras's test arrays do.
    """

    def __init__(
        self, vocabulary: Vocabulary, *, start_id: int | None = START_ID, unseen_id: int | None = UNKNOWN_ID
    ) -> None:
        self.vocabulary = vocabulary
        self.start_id = start_id
        self.unseen_id = unseen_id

    @property
    def size(self) -> int:
        """How many ids there are."""
        return self.vocabulary.size

    @property
    def unknown_id(self) -> int:
        """The id of words that it does not know."""
        return self.vocabulary.unknown_id

    def word(self, token: int) -> str:
        """The word with the id `token`."""
        return self.vocabulary.word(token)

    def encode(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        """One int32 array of ids per text, of any length; an empty text gives the start mark alone."""
        ids, offsets = self.encode_flat(texts)
        return [ids[begin:end].copy() for begin, end in pairwise(offsets.tolist())]

    def encode_flat(self, texts: Sequence[str]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """The same ids in one array with the places where texts begin: ids (N,), offsets (len(texts) + 1,)."""
        prefix, unseen = (native.SKIP if i is None else i for i in (self.start_id, self.unseen_id))
        given = [_to_bytes(text) for text in texts]
        return self.vocabulary.table.encode(given, prefix=prefix, unseen=unseen)

    def token_spans(self, text: str) -> list[Span | None]:
        """Where each id of `encode([text])[0]` comes from; None for the start mark."""
        kept = (s for s in spans(text) if self.unseen_id is not None or s.word in self.vocabulary)
        return [*kept] if self.start_id is None else [None, *kept]

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON can hold it; `from_dict` is the way back."""
        v = self.vocabulary
        return {
            "rule": "ascii-lower-words",
            "words": list(v.words),
            "num_words": v.size,
            "index_from": v.index_from,
            "unknown_id": v.unknown_id,
            "start_id": self.start_id,
            "unseen_id": self.unseen_id,
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Tokenizer:
        """Raises BundleError where a name is missing or unknown, or a value has the wrong type."""
        _check_stored(stored)
        vocabulary = Vocabulary(
            stored["words"],
            num_words=stored["num_words"],
            index_from=stored["index_from"],
            unknown_id=stored["unknown_id"],
        )
        return cls(vocabulary, start_id=stored["start_id"], unseen_id=stored["unseen_id"])


def _is_id(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**31


_STORED = {
    "rule": ("'ascii-lower-words'", lambda v: v == "ascii-lower-words"),
    "words": ("a list of words", lambda v: isinstance(v, list) and all(isinstance(word, str) for word in v)),
    "num_words": ("a whole number from 0", _is_id),
    "index_from": ("a whole number from 0", _is_id),
    "unknown_id": ("a whole number from 0", _is_id),
    "start_id": ("a whole number from 0, or null", lambda v: v is None or _is_id(v)),
    "unseen_id": ("a whole number from 0, or null", lambda v: v is None or _is_id(v)),
}


def _check_stored(stored: Mapping[str, Any]) -> None:
    if set(stored) != set(_STORED):
        raise BundleError(
            f"A tokenizer is stored as {', '.join(_STORED)}; found: {', '.join(stored) or 'nothing'}."
        )
    for name, (expected, holds) in _STORED.items():
        if not holds(stored[name]):
            raise BundleError(f"The tokenizer's '{name}' is {str(stored[name])[:60]!r}; expected {expected}.")
