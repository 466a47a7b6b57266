"""What an encoder made of pictures, kept on disk: rows of float16, memory-mapped, found by the picture's digest.

One folder an encoder. Each writer appends to a segment of its own, first the row and then its key, so that a run
that is killed loses at most one picture and two runs at once do not disturb each other.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

KEY = 32
"""Bytes of a picture's digest."""

Half = NDArray[np.float16]


class FeatureStore:
    """Rows of one shape by key.

    Args:
        folder: where the segments lie, made when the first row is written.
        shape: of each row.
    """

    def __init__(self, folder: Path, shape: tuple[int, ...]) -> None:
        self.folder, self.shape = folder, shape
        self._size = int(np.prod(shape)) * 2
        self._where: dict[bytes, tuple[Path, int]] = {}
        self._maps: dict[Path, Half] = {}
        self._files: tuple[BinaryIO, BinaryIO] | None = None
        for keys in sorted(folder.glob("*.keys")):
            self._index(keys)

    def __contains__(self, key: bytes) -> bool:
        return key in self._where

    def __len__(self) -> int:
        return len(self._where)

    def add(self, key: bytes, row: Half) -> None:
        """Keep `row` under `key`."""
        if self._files is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._segment = self.folder / f"{secrets.token_hex(6)}.rows"
            self._count = 0
            self._files = open(self._segment, "xb"), open(self._segment.with_suffix(".keys"), "xb")  # noqa: SIM115
        rows, keys = self._files
        for file, content in ((rows, np.ascontiguousarray(row, np.float16).tobytes()), (keys, key)):
            file.write(content)
            file.flush()
        self._where[key] = self._segment, self._count
        self._count += 1
        self._maps.pop(self._segment, None)

    def rows(self, keys: Sequence[bytes]) -> Half:
        """The rows of `keys`, (N, ...), copied into memory. Raises KeyError for a key that is not kept."""
        found = np.empty((len(keys), *self.shape), np.float16)
        for i, key in enumerate(keys):
            segment, number = self._where[key]
            if segment not in self._maps:
                count = segment.stat().st_size // self._size
                self._maps[segment] = np.memmap(segment, np.float16, "r", shape=(count, *self.shape))
            found[i] = self._maps[segment][number]
        return found

    def close(self) -> None:
        """Let the files go."""
        for file in self._files or ():
            file.close()
        self._files = None
        self._maps.clear()

    def _index(self, keys: Path) -> None:
        segment, known = keys.with_suffix(".rows"), keys.read_bytes()
        whole = segment.stat().st_size // self._size if segment.exists() else 0
        for i in range(min(whole, len(known) // KEY)):
            self._where.setdefault(known[i * KEY : (i + 1) * KEY], (segment, i))
