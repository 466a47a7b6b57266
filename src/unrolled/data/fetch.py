"""The only code that touches the network, and where its files are kept."""

from __future__ import annotations

import hashlib
import os
import sys
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO

from ..errors import DownloadError
from . import Progress

_BLOCK = 1 << 18
_ATTEMPTS = 4


def cache_folder() -> Path:
    """Where downloads and parsed data are kept: $UNROLLED_CACHE, else the platform's own place for caches."""
    if chosen := os.environ.get("UNROLLED_CACHE"):
        return Path(chosen)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "unrolled"


def download(
    url: str, target: Path, *, md5: str, size: int, progress: Progress | None = None, timeout: float = 30.0
) -> Path:
    """Fetch `url` into the file `target`, which appears only when it is complete and its checksum is right.

    What an earlier, interrupted call left in `<target>.part` is continued. A connection that breaks is opened
    again as long as each attempt brings new bytes.

    Args:
        md5: expected checksum, in hex.
        size: expected number of bytes.
        timeout: seconds without an answer after which a connection counts as broken.

    Raises:
        DownloadError: no network, an error page, or a file that is not the expected one.
    """
    part = target.with_name(target.name + ".part")
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(part, "ab") as file:
        _fill(url, file, size, progress, timeout)
    _check(url, part, md5, size)
    os.replace(part, target)
    return target


def _fill(url: str, file: BinaryIO, size: int, progress: Progress | None, timeout: float) -> None:
    failures = 0
    while file.tell() < size:
        before = file.tell()
        problem: object = "the server closed the connection"
        try:
            _continue(url, file, size, progress, timeout)
        except urllib.error.HTTPError as error:
            raise DownloadError(f"{url} answered {error.code} {error.reason}. {_BY_HAND}") from error
        except (OSError, HTTPException) as error:
            problem = getattr(error, "reason", None) or error
        failures = 0 if file.tell() > before else failures + 1
        if failures == _ATTEMPTS or (failures and not file.tell()):
            raise DownloadError(f"{url} cannot be reached: {problem}. Check the network. {_BY_HAND}")


_BY_HAND = "You can also fetch the file by hand and give its path."


def _continue(url: str, file: BinaryIO, size: int, progress: Progress | None, timeout: float) -> None:
    request = urllib.request.Request(
        url, headers={"Range": f"bytes={file.tell()}-", "User-Agent": "unrolled"}
    )
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        if answer.status != 206:
            file.seek(0)
            file.truncate()
        while file.tell() <= size and (block := answer.read(_BLOCK)):
            file.write(block)
            if progress:
                progress(file.tell(), size)


def _check(url: str, part: Path, md5: str, size: int) -> None:
    digest = hashlib.md5(usedforsecurity=False)
    with open(part, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    found = part.stat().st_size
    if found != size or digest.hexdigest() != md5:
        part.unlink()
        raise DownloadError(
            f"{url} sent {found:,} bytes with the MD5 checksum {digest.hexdigest()}; "
            f"expected {size:,} bytes and {md5}. "
            f"Try again; if it happens again, the published file has changed. {_BY_HAND}"
        )
