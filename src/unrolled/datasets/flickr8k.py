"""Flickr8k: 8,000 photographs of people and animals that do something, five captions each.

It is given out for research and education, on request to its authors, and may not be passed on: nothing is downloaded.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import final

from ..data import Progress
from ..data.fetch import cache_folder
from ..errors import DataError, DownloadError
from . import Dataset, Examples
from ._pictures import Said, pictured, rows

TOKENS = ("Flickr8k.token.txt", "captions.txt")
PICTURES = ("Flicker8k_Dataset", "Flickr8k_Dataset", "Images", "images")
SPLITS = {"train": "train", "dev": "dev", "validation": "dev", "test": "test"}


@final
class Flickr8k(Dataset):
    """Photographs with captions, in the official split of 6,000, 1,000 and 1,000.

    Args:
        data: a folder with the captions (`Flickr8k.token.txt`, or the table `captions.txt`), the pictures (a folder
            `Flicker8k_Dataset` or `Images`, or a tar archive) and the official split (`Flickr_8k.trainImages.txt`
            and so on; without it there is one split, "all"). By default `flickr8k` in $UNROLLED_DATA or in the cache.
        skip_bad: leave out captions that are empty or whose picture is missing, and count them. The published
            captions name one picture that never was in the archive.
    """

    kind = "picture"
    licence = "For research and education, not to be passed on; the photographs belong to their authors."
    citation = (
        "Micah Hodosh, Peter Young and Julia Hockenmaier. Framing image description as a ranking task. JAIR 47, 2013."
    )
    checksum = ""

    def __init__(self, data: str | Path | None = None, *, skip_bad: bool = False) -> None:
        self.folder = find(data)
        self._skip_bad = skip_bad
        self._lists = {name: path for name, part in SPLITS.items() if (path := self._list(part)) is not None}

    @property
    def splits(self) -> tuple[str, ...]:
        """train, dev (also called validation) and test; without the official lists, all."""
        return tuple(self._lists) or ("all",)

    def load(self, split: str = "all") -> Examples:
        """The captions of a split in the order of its list, five after five; each picture is a group."""
        if split != "all":
            self.check_split(split)
        tokens = _first(self.folder, TOKENS)
        assert tokens is not None
        said = list(rows(tokens) if tokens.name == "captions.txt" else _lines(tokens))
        if split != "all":
            wanted = self._lists[split].read_text(encoding="utf-8").split()
            by_name: dict[str, list[Said]] = {name: [] for name in wanted}
            for one in said:
                if one.image in by_name:
                    by_name[one.image].append(one)
            said = [one for name in wanted for one in by_name[name]]
        return pictured(said, _pictures(self.folder), str(tokens), skip_bad=self._skip_bad)

    def _list(self, part: str) -> Path | None:
        return _first(self.folder, (f"Flickr_8k.{part}Images.txt",))


def find(data: str | Path | None = None) -> Path:
    """The folder with the captions. Raises DataError where there is none."""
    root = os.environ.get("UNROLLED_DATA")
    places = [Path(data)] if data else [cache_folder() / "flickr8k"]
    if root and not data:
        places = [Path(root) / "flickr8k", Path(root), *places]
    for place in places:
        if place.is_dir() and _first(place, TOKENS):
            return place
    raise DataError(
        f"There is no Flickr8k in {' or '.join(map(str, places))}. Expected a folder with {' or '.join(TOKENS)} and "
        "the pictures; its authors give it out on request. Say where it is: --data FOLDER."
    )


def download(output: str | Path, *, progress: Progress | None = None) -> Path:
    """Flickr8k may not be passed on. Raises DownloadError, which says so."""
    raise DownloadError(
        "Flickr8k is given out by its authors on request and cannot be downloaded here. Ask for it at "
        f"hockenmaier.cs.illinois.edu/8k-pictures.html, unpack it into {output}, and give that folder: --data {output}."
    )


def _first(folder: Path, names: tuple[str, ...]) -> Path | None:
    """The first of `names` in `folder` or a folder in it."""
    places = [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]
    return next((place / name for place in places for name in names if (place / name).is_file()), None)


def _pictures(folder: Path) -> Path:
    found = [path for path in folder.rglob("*") if path.is_dir() and path.name in PICTURES]
    found += sorted(folder.glob("*.tar"))
    if not found:
        raise DataError(
            f"{folder} holds no pictures. Expected the folder {' or '.join(PICTURES[:3])}, or a tar archive."
        )
    inner = (
        [path for path in found[0].glob("*") if path.is_dir() and path.name in PICTURES] if found[0].is_dir() else []
    )
    return (inner or found)[0]


def _lines(tokens: Path) -> Iterator[Said]:
    """The lines `name#number<TAB>caption`."""
    for number, line in enumerate(tokens.read_text(encoding="utf-8").splitlines(), start=1):
        name, found, caption = line.partition("\t")
        problem = "" if found else "has no tab between picture and caption"
        yield Said(f"{tokens}, line {number}", name.partition("#")[0], caption, problem)
