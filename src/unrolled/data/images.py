"""Pictures as arrays: one way to decode and one way to resize, so that training and use cannot differ."""

from __future__ import annotations

import hashlib
import io
import tarfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, need

ENDINGS = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff")
LARGEST = 100_000_000
"""Pixels from which a picture is refused before it is decoded: a small file can hold one that fills the memory."""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Picture:
    """Where a picture's bytes lie: a file, or a part of one (of a tar archive).

    Attributes:
        path: the file.
        name: the picture's own; by default the path.
        offset: where its bytes begin.
        size: how many they are; -1: up to the end.
    """

    path: Path
    name: str = ""
    offset: int = 0
    size: int = -1

    def __str__(self) -> str:
        return self.name or str(self.path)

    def read(self) -> bytes:
        """Its bytes. Raises DataError where there are none."""
        try:
            with open(self.path, "rb") as file:
                file.seek(self.offset)
                return file.read(self.size)
        except OSError as error:
            raise DataError(f"{self} cannot be read: {error.strerror or error}. Check the name.") from error


def find(place: Path) -> dict[str, Picture]:
    """The pictures of a folder and its subfolders, or of a tar archive, by the last part of their names.

    Raises:
        DataError: a compressed archive, which has no place to read one picture from; or no archive.
    """
    if place.is_dir():
        return {path.name: Picture(path) for path in files_in(place)}
    try:
        with tarfile.open(place, "r:") as archive:
            members = [one for one in archive if one.isfile() and one.name.lower().endswith(ENDINGS)]
    except (tarfile.TarError, OSError) as error:
        raise DataError(
            f"{place} is no plain tar archive ({error}). Unpack it, and give the folder of the pictures."
        ) from error
    names = [(one, PurePosixPath(one.name).name) for one in members]
    return {name: Picture(place, name, one.offset_data, one.size) for one, name in names}


def digest(content: bytes) -> bytes:
    """What tells pictures apart: the SHA-256 of the file's bytes (32 bytes)."""
    return hashlib.sha256(content).digest()


def decode(content: bytes, size: tuple[int, int], name: str = "The picture") -> Pixels:
    """A picture as RGB of `size` (width, height): (height, width, 3) uint8, squashed and not cropped.

    Turned as its EXIF data say; of an animation the first frame; what is transparent becomes white; 16 bits a channel
    are cut to the upper 8. A JPEG of more than twice the size is decoded at the smallest eighth of its own size that
    is still twice as large. Resizing is bilinear over the area that a pixel covers (Pillow's, with antialiasing).

    Args:
        content: the file's bytes.
        size: width and height to resize to.
        name: of the picture, for messages.

    Raises:
        DataError: no picture, a damaged or truncated one, or one of more than LARGEST pixels.
        MissingExtraError: Pillow is not installed.
    """
    image, ops = (need("PIL.Image", "caption", "Reading pictures"), need("PIL.ImageOps", "caption", "Reading pictures"))
    if not content:
        raise DataError(f"{name} is empty (0 bytes). Restore the file, or leave it out.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of bombs, which are counted here, and of odd metadata
            with image.open(io.BytesIO(content)) as opened:
                _check_size(opened.size, name)
                opened.draft("RGB", (2 * size[0], 2 * size[1]))
                upright = ops.exif_transpose(opened)
                return np.asarray(_rgb(upright, image).resize(size, image.Resampling.BILINEAR))
    except image.DecompressionBombError:
        raise _too_large("so many", name) from None
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, MemoryError) as error:
        raise DataError(
            f"{name} is no picture that can be read ({error or type(error).__name__}). "
            "It may be damaged or cut off: restore the file, or leave it out."
        ) from error


def files_in(folder: Path) -> list[Path]:
    """The pictures of a folder and its subfolders, by the endings of their names, in order."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS and path.is_file())


def _check_size(size: Sequence[int], name: str) -> None:
    if size[0] * size[1] > LARGEST:
        raise _too_large(f"{size[0]:,} x {size[1]:,}", name)


def _too_large(size: str, name: str) -> DataError:
    return DataError(
        f"{name} has {size} pixels; at most {LARGEST // 1_000_000} million are decoded, because a small file can "
        "fill the memory. Make it smaller."
    )


def _rgb(picture: Any, image: Any) -> Any:
    """Any mode as RGB, as `decode` says."""
    if picture.mode.startswith("I;16") or picture.mode in ("I", "F"):
        values = np.asarray(picture, np.float64)
        # Numbers with a fraction have no range laid down: they are taken as they are, or as 0 to 1.
        unit = 255 if picture.mode == "F" and values.max(initial=0) <= 1 else 1
        values = values * unit if picture.mode == "F" else values / 256
        picture = image.fromarray(np.clip(values, 0, 255).astype(np.uint8))
    if picture.mode in ("LA", "PA", "RGBA", "RGBa", "La") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        white = image.new("RGBA", picture.size, "white")
        picture = image.alpha_composite(white, picture)
    return picture.convert("RGB")
