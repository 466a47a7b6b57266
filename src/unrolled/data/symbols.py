"""Text to the symbols of a language model and back: characters, bytes or words, each with its id.

Every level reads every text. What the training text did not hold is read as the nearest thing it did hold (the
letter without its accent, the word in lower case), else as `unknown`, the last id, which is never written.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, final

import numpy as np

from ..errors import BundleError, UsageError

LEVELS = ("char", "byte", "word")
UNKNOWN = {"char": "\ufffd", "word": "<unk>"}
RULES: dict[str, re.Pattern[str]] = {
    "spaced": re.compile(r"[^ \t\r\f\v\n]+|\n"),
    "words": re.compile("<\\w+>|\\w+(?:['\u2019]\\w+)*|[^\\w\\s]|\n"),
}
"""How words are found: in a text whose tokens are set apart by spaces already, and in any other."""
_TIGHT = frozenset(".,;:!?)]}%\u2019'\n")
_OPENING = frozenset("([{\n")


@final
class Symbols:
    """The symbols that a language model reads and writes.

    Args:
        level: "char", "byte" or "word".
        symbols: distinct characters or words, by id, without the unknown one; empty for bytes.
        rule: how words are found, a name in RULES; "" for the other levels.

    Raises:
        UsageError: an unknown level or rule, or a symbol that stands there twice.
    """

    def __init__(self, level: str, symbols: Sequence[str] = (), rule: str = "") -> None:
        if level not in LEVELS:
            raise UsageError(f"The level is '{level}'; it must be one of {', '.join(LEVELS)}.")
        if (rule in RULES) != (level == "word"):
            raise UsageError(
                f"The rule '{rule}' does not fit the level {level}; words need one of {[*RULES]}."
            )
        self.level, self.rule = level, rule
        self.names = (*symbols, UNKNOWN[level]) if level in UNKNOWN else tuple(map(chr, range(256)))
        self._ids = {name: i for i, name in enumerate(self.names)}
        if len(self._ids) != len(self.names):
            raise UsageError(
                "A symbol stands twice in the list, or is the mark of unknown ones; give each once."
            )

    @classmethod
    def build(cls, texts: Iterable[str], level: str, *, most: int = 30_000) -> Symbols:
        """The symbols of `texts`: every character; or words that occur twice, the `most` frequent of them."""
        if level == "byte":
            return cls(level)
        counts: Counter[str] = Counter()
        rule = ""
        for text in texts:
            if level == "word":
                rule = rule or _rule(text)
                counts.update(RULES[rule].findall(text))
            else:
                counts.update(text)
        counts.pop(UNKNOWN.get(level, ""), None)
        if level == "char":
            return cls(level, sorted(counts))
        kept = [word for word, count in counts.most_common(most) if count > 1]
        return cls(level, kept, rule or "words")

    @property
    def unknown(self) -> int | None:
        """The id of what the training text did not hold; None for bytes, of which all are known."""
        return len(self.names) - 1 if self.level in UNKNOWN else None

    def __len__(self) -> int:
        return len(self.names)

    def encode(self, text: str) -> np.ndarray:
        """Ids (N,) int32."""
        if self.level == "byte":
            return np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8).astype(np.int32)
        if self.level == "char":
            codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
            found, place = np.unique(codes, return_inverse=True)
            ids = [self._id(chr(code)) for code in found.tolist()]
            return np.array(ids, np.int32)[place] if len(codes) else np.zeros(0, np.int32)
        return np.fromiter(map(self._id, self.pieces(text)), np.int32)

    def pieces(self, text: str) -> list[str]:
        """What `encode` gives one id each, as it is written in the text; of bytes, one character each."""
        if self.level == "byte":
            return [chr(byte) for byte in text.encode("utf-8", "surrogatepass")]
        return list(text) if self.level == "char" else RULES[self.rule].findall(text)

    def strangers(self, text: str) -> list[str]:
        """The pieces of `text` that are read as unknown, each once."""
        return [] if self.unknown is None else [
            piece for piece in dict.fromkeys(self.pieces(text)) if self._id(piece) == self.unknown
        ]  # fmt: skip

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids; bytes that are no UTF-8 become the replacement character."""
        return "".join(self.stream(ids))

    def stream(self, ids: Iterable[int]) -> Iterator[str]:
        """The text of ids as they come: one piece for each, which may be empty where a character is not whole yet."""
        writer = self.writer()
        for i in ids:
            yield writer(i)
        yield writer(None)

    def writer(self, before: int | None = None) -> Callable[[int | None], str]:
        """A function from each next id to what it adds to the text after the id `before`; None ends the text."""
        if self.level == "char":
            return lambda i: "" if i is None else self.names[i]
        if self.level == "byte":
            decoder = codecs.getincrementaldecoder("utf-8")("replace")
            return lambda i: decoder.decode(b"", True) if i is None else decoder.decode(bytes([i]))
        last = "\n" if before is None else self.names[before]

        def word(i: int | None) -> str:
            nonlocal last
            if i is None:
                return ""
            name, before = self.names[i], last
            last = name
            glued = before in _OPENING or name == "\n" or (self.rule == "words" and name in _TIGHT)
            return name if glued else f" {name}"

        return word

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON can hold it; `from_dict` is the way back."""
        names = [] if self.level == "byte" else list(self.names[:-1])
        return {"level": self.level, "names": names, "rule": self.rule}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Symbols:
        """Raises BundleError where something is missing or of a wrong type."""
        names = stored.get("names")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise BundleError(f"The symbols' 'names' are {str(names)[:60]!r}; a list of texts was expected.")
        try:
            return cls(stored.get("level", ""), names, stored.get("rule", ""))
        except UsageError as error:
            raise BundleError(f"The symbols cannot be read: {error}") from error

    def _id(self, piece: str) -> int:
        found = self._ids.get(piece)
        return self._nearest[piece] if found is None else found

    @cached_property
    def _nearest(self) -> _Nearest:
        return _Nearest(self._ids, len(self.names) - 1)


class _Nearest(dict[str, int]):
    """Ids of pieces that the list does not hold, found once each."""

    def __init__(self, ids: Mapping[str, int], unknown: int) -> None:
        super().__init__()
        self.ids, self.unknown = ids, unknown

    def __missing__(self, piece: str) -> int:
        plain = "".join(c for c in unicodedata.normalize("NFKD", piece) if not unicodedata.combining(c))
        tried = (piece.lower(), piece.capitalize(), piece.upper(), plain, plain.lower(), plain.upper())
        self[piece] = next((self.ids[t] for t in (*tried, _PLAIN.get(piece, piece)) if t in self.ids), self.unknown)
        return self[piece]


_PLAIN = {
    "\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2013": "-", "\u2014": "-", "\u2026": ".",
    "\t": " ", "\r": "\n",
}  # fmt: skip


def _rule(text: str) -> str:
    """The rule "spaced" where most commas and full stops stand alone, as in texts made for language models."""
    marks = re.findall(r"(\s?)[.,](?=\s)", text[:200_000])
    return "spaced" if marks and sum(map(bool, marks)) > 0.9 * len(marks) else "words"
