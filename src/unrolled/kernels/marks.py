"""The rule "words-marks-1": words, numbers, punctuation, links, names and line breaks of a text as tokens.

`tokens` is the definition, on the bytes of the UTF-8 text. `rewrite` gives every text as its tokens, each followed by a
space, which is what `words` counts and looks up; the engine does it over all threads without the interpreter's lock.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Sequence

import numpy as np

from . import words
from .library import engine

REPLACED = {
    "\u2018": "'", "\u2019": "'", "\u00b4": "'", "`": "'", "\u201c": '"', "\u201d": '"', "\u2026": "...",
    "\u0085": "...", "\u2013": "-", "\u2014": "-", "\u0096": "-", "\u0097": "-", "\u00a0": " ", "\ufe0f": "",
}  # fmt: skip
"""Characters that are read as others; then ASCII letters become lower-case."""
_LETTER = rb"(?:[a-z]|[\xc3-\xdf][\x80-\xbf]|[\xe0\xe1\xe3-\xef][\x80-\xbf]{2})"
RULE = re.compile(
    rb"<br ?/?>|(?:https?://|www\.)[^\s<]*|@[a-z0-9_]+|%b+(?:'%b+)*|[0-9]+|[.!?]+|[\xc2\xe2\xf0-\xf4][\x80-\xbf]+|[!-~]"
    % (_LETTER, _LETTER)
)
"""The first alternative that fits; what fits none separates tokens."""
FOLD = bytes(range(256))
"""Of rewritten texts: only the space separates."""


def name(token: bytes) -> bytes:
    """What a match of RULE is called: one name for all links, names and line breaks; runs of . ! ? end at three."""
    if token.startswith((b"http://", b"https://", b"www.")):
        return b"<url>"
    if len(token) > 1 and token[:1] in (b"<", b"@"):
        return b"<br>" if token[:1] == b"<" else b"<user>"
    return token[:3] if token[:1] in (b".", b"!", b"?") else token


def tokens(text: bytes) -> list[bytes]:
    """The tokens of one text, in order."""
    for old, new in REPLACED.items():
        text = text.replace(old.encode(), new.encode())
    return [name(token) for token in RULE.findall(text.lower())]


def rewrite(texts: Sequence[bytes]) -> words.Joined:
    """Every text as its tokens, each followed by a space."""
    library = engine()
    if library is None:
        return words.join([b"".join(token + b" " for token in tokens(text)) for text in texts])
    given = words.Texts(texts, FOLD)
    out = np.empty(4 * int(given.places[-1]) + 1, np.uint8)
    offsets = np.zeros(len(texts) + 1, np.int64)
    library.unrolled_mark_words.restype = ctypes.c_int64
    n = words.checked(
        library.unrolled_mark_words(ctypes.byref(given), words.pointer(out), words.pointer(offsets))
    )
    return words.Joined(out[:n], offsets)


def encode(table: words.WordTable, texts: Sequence[bytes], *, unseen: int) -> words.Ids:
    """The ids of the tokens of all texts, and where each text begins, as `WordTable.encode` gives them."""
    library = engine()
    if library is None:
        return table.encode(rewrite(texts), unseen=unseen)
    return table.encode_marks(library, texts, unseen)
