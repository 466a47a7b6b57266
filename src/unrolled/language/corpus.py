"""From files to token ids that stay on disk: a text of any length is read block by block, once for its symbols and
once for its ids.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ..data import Source, replacing
from ..data.symbols import Symbols
from ..errors import DataError
from ..tasks.language import smallest_type

Array = np.ndarray
BLOCK = 1 << 22
"""Characters that are read at once, to the end of the line."""
ENDINGS = (".txt", ".text", ".md")


def blocks(source: str | os.PathLike[str] | Sequence[str]) -> Iterator[str]:
    """The text of a file, or of all text files below a folder, in blocks that end with a line; or texts as given.

    Raises:
        DataError: nothing there, no text in it, or bytes that are no text; the file is named.
    """
    if not isinstance(source, (str, os.PathLike)):
        yield from source
        return
    files = [Path(source)]
    if files[0].is_dir():
        files = sorted(p for p in files[0].rglob("*") if p.is_file() and p.suffix.lower() in ENDINGS)
        if not files:
            known = ", ".join(ENDINGS)
            raise DataError(f"The folder {source} holds no text files ({known}). Give another.")
    some = False
    for file in files:
        opened = Source(file)
        try:
            stream = opened.text()
            while lines := stream.readlines(BLOCK):
                text = "".join(lines).replace("\r\n", "\n")
                if problem := opened.damage(text):
                    raise DataError(f"{file} {problem}. A language model reads plain text.")
                some = True
                yield text
        finally:
            opened.close()
    if not some:
        raise DataError(f"{source} is empty. Give a file or a folder with text.")


def encoded(source: str | os.PathLike[str] | Sequence[str], symbols: Symbols, to: Path) -> Array:
    """The ids of a text (N,), written to the file `to` and mapped from there."""
    kind = smallest_type(len(symbols))
    with replacing(to) as file:
        for text in blocks(source):
            file.write(symbols.encode(text).astype(kind).tobytes())
    size = to.stat().st_size // kind.itemsize
    return np.memmap(to, kind, "r", shape=(size,)) if size else np.zeros(0, kind)
