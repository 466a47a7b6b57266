"""Texts to token ids by the rule "words-marks-1" (`kernels/marks.py`): words with their apostrophes, numbers, every
mark of punctuation, links, names and line breaks; letters of ASCII in lower case.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from ..errors import BundleError
from ..kernels import marks
from ..kernels import words as native
from .sequence import Sequences
from .text import Span

PAD_ID, UNKNOWN_ID, START_ID = 0, 1, 2
SPECIAL = ("<pad>", "<unk>", "<start>")


def count_tokens(texts: Iterable[str]) -> dict[str, int]:
    """How often each token occurs, most frequent first; ties in the order of their UTF-8 bytes."""
    found, counts = native.count(marks.rewrite([_to_bytes(text) for text in texts]), marks.FOLD)
    return dict(zip((word.decode("utf-8", "surrogatepass") for word in found), counts.tolist(), strict=True))


@final
class MarkTokenizer:
    """Texts to ids by the rule; the id of a token is its place in `words`.

    Args:
        words: `SPECIAL`, then distinct tokens, most frequent first.
        alias: tokens that are read as another one of `words`.

    Raises:
        BundleError: `words` does not begin with `SPECIAL`, or an alias leads nowhere.
    """

    start_id: int | None = None
    unknown_id = UNKNOWN_ID

    def __init__(self, words: Sequence[str], alias: Mapping[str, str] | None = None) -> None:
        self.words, self.alias = tuple(words), dict(alias or {})
        if self.words[:3] != SPECIAL:
            raise BundleError(
                f"The words begin with {', '.join(self.words[:3])}; expected {', '.join(SPECIAL)}."
            )
        if lost := [name for name in self.alias.values() if name not in self.words]:
            raise BundleError(f"An alias leads to '{lost[0]}', which is not among the words.")

    @classmethod
    def build(cls, texts: Iterable[str], *, num_words: int, least: int = 1) -> MarkTokenizer:
        """The `num_words` most frequent tokens of `texts` (the training texts only) that occur `least` times."""
        found = [token for token, times in count_tokens(texts).items() if times >= least]
        return cls((*SPECIAL, *found[: max(0, num_words - len(SPECIAL))]))

    @property
    def size(self) -> int:
        """How many ids there are."""
        return len(self.words)

    def word(self, token: int) -> str:
        """The token with this id."""
        return self.words[token]

    @cached_property
    def table(self) -> native.WordTable:
        """The words for the engine."""
        place = {word: i for i, word in enumerate(self.words)}
        listed = list(self.words[3:]) + [name for name in self.alias if name not in place]
        ids = [place[self.alias.get(word, word)] for word in listed]
        return native.WordTable([_to_bytes(word) for word in listed], np.array(ids, np.int32), marks.FOLD)

    @cached_property
    def says(self) -> NDArray[np.bool_]:
        """Which ids are words or symbols, rather than numbers and marks of punctuation, (V,)."""
        known = np.array([word[:1].isalpha() or word[:1] > "~" for word in self.words])
        known[: len(SPECIAL)] = False
        return known

    def encode_flat(self, texts: Sequence[str]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """The ids of all texts in one array (N,), and where each text begins in it, (len(texts) + 1,)."""
        return marks.encode(self.table, [_to_bytes(text) for text in texts], unseen=UNKNOWN_ID)

    def encode(self, texts: Sequence[str]) -> Sequences:
        """One int32 array of ids per text."""
        return Sequences(*self.encode_flat(texts))

    def token_spans(self, text: str) -> list[Span]:
        """Each token of `encode([text])[0]` as it is read, and where it stands in the text (code points)."""
        pieces = [_to_bytes(marks.REPLACED.get(character, character)) for character in text]
        origin = np.repeat(np.arange(len(pieces)), [len(piece) for piece in pieces])
        return [
            Span(
                marks.name(m.group()).decode("utf-8", "surrogatepass"),
                int(origin[m.start()]),
                int(origin[m.end() - 1]) + 1,
            )
            for m in marks.RULE.finditer(b"".join(pieces).lower())
        ]

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON can hold it; `from_dict` is the way back."""
        return {"rule": "words-marks-1", "words": list(self.words), "alias": self.alias}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> MarkTokenizer:
        """Raises BundleError where a name is missing or a value has the wrong type."""
        words, alias = stored.get("words"), stored.get("alias", {})
        if (
            not isinstance(words, list)
            or not isinstance(alias, dict)
            or not all(isinstance(w, str) for w in words)
        ):
            raise BundleError(
                "A tokenizer of the rule 'words-marks-1' needs 'words', a list of texts, and 'alias'."
            )
        return cls(words, alias)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("table", "says")}


def _to_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
