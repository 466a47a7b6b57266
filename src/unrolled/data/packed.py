"""Many texts in two arrays, and arrays in one file: how parsed data is cached (plain .npz, nothing pickled)."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import replacing

Arrays = Mapping[str, NDArray[Any]]


def pack(texts: Sequence[bytes]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """All texts one after the other, uint8 (N,), and where each begins and the last ends, (len(texts) + 1,)."""
    offsets = np.zeros(len(texts) + 1, dtype=np.int64)
    np.cumsum([len(text) for text in texts], out=offsets[1:])
    return np.frombuffer(b"".join(texts), dtype=np.uint8), offsets


def unpack(joined: NDArray[np.uint8], offsets: NDArray[np.int64]) -> list[str]:
    """The texts again."""
    data, places = joined.tobytes(), offsets.tolist()
    return [data[begin:end].decode("utf-8") for begin, end in pairwise(places)]


def fingerprint(path: Path) -> str:
    """A short name for what `path` holds now, found without reading all of it.

    A file by its size, time and both ends; a folder by the names, sizes and times of its files.
    """
    digest = hashlib.sha256(str(path.stat().st_mtime_ns if path.is_file() else path.resolve()).encode())
    if path.is_file():
        with open(path, "rb") as file:
            digest.update(file.read(1 << 16))
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - (1 << 16)))
            digest.update(file.read() + str(size).encode())
    else:
        for folder, folders, names in os.walk(path):
            folders.sort()
            for entry in sorted(os.path.join(folder, name) for name in names):
                state = os.stat(entry)
                digest.update(
                    f"{entry}\0{state.st_size}\0{state.st_mtime_ns}\n".encode("utf-8", "surrogateescape")
                )
    return digest.hexdigest()[:16]


def cached(path: Path, build: Callable[[], Arrays]) -> Arrays:
    """The arrays in the file `path`, each read when it is asked for; `build` makes them where the file is missing.

    A cache that cannot be written, or was damaged, costs time and nothing else.
    """
    try:
        return _open(path)
    except (OSError, ValueError, zipfile.BadZipFile):
        arrays = build()
    try:
        with replacing(path) as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
    except OSError:
        pass
    return arrays


def _open(path: Path) -> Arrays:
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is missing or damaged")
    found: Arrays = np.load(path, allow_pickle=False)
    return found
