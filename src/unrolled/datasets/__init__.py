"""Where examples come from. A dataset is one file here, and the file's name is the name that users type."""

from __future__ import annotations

import difflib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from .. import shelf
from ..data.images import Picture
from ..errors import DataError, UnknownNameError, UsageError


@dataclass(frozen=True)
class Examples:
    """Texts with what is known of each, row by row.

    Attributes:
        texts: N texts.
        labels: N labels as they are written, or None where nobody labelled the texts.
        groups: N names of what must not be torn apart between training and validation (the film, the author),
            or None.
        skipped: rows of the source that could not be used and were left out on request.
        note: one sentence on how the source was read, to be said once.
        pictures: N pictures that the texts describe, or None; several texts may describe one.
    """

    texts: list[str]
    labels: list[str] | None = None
    groups: list[str] | None = None
    skipped: int = 0
    note: str = ""
    pictures: list[Picture] | None = None

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: Sequence[int]) -> Examples:
        """The examples with these row numbers, in this order."""
        pick = [self.texts, self.labels, self.groups]
        texts, labels, groups = (None if column is None else [column[i] for i in rows] for column in pick)
        pictures = None if self.pictures is None else [self.pictures[i] for i in rows]
        return Examples(texts or [], labels, groups, self.skipped, self.note, pictures)


class Dataset(ABC):
    """One collection of examples in named splits that share no example.

    Loading a split twice gives the same examples in the same order.
    """

    kind: ClassVar[str]
    """What an example is: "text", or "picture" with what people said of it."""
    licence: ClassVar[str]
    """Under which terms the data may be used, in words."""
    citation: ClassVar[str]
    """Whom to cite; empty where nobody asks for it."""
    checksum: ClassVar[str]
    """Of the published file, as "md5:..."; empty where there is no published file."""

    @property
    @abstractmethod
    def splits(self) -> tuple[str, ...]:
        """Names of the splits."""

    @abstractmethod
    def load(self, split: str) -> Examples:
        """The examples of one split.

        Raises:
            UsageError: there is no such split.
            DataError: the data cannot be used.
        """

    def check_split(self, split: str) -> str:
        """`split` itself, if there is one of that name."""
        if split not in self.splits:
            raise UnknownNameError("split", split, self.splits)
        return split


def resolve(source: str | Path, **options: Any) -> Dataset:
    """The dataset that `source` means: a path, "-" for the standard input, or a name on the shelf.

    A path wins over a name. `options` go to the dataset's class; see `datasets/files.py` for those of a path.

    Raises:
        DataError: neither a path nor a name.
        UsageError: an option that this dataset does not have.
    """
    name = str(source)
    if name == "-" or Path(source).exists():
        options, name = {"path": source, **options}, "files"
    elif name == "files" or name.lower() not in shelf.names("datasets"):
        known = [n for n in shelf.names("datasets") if n != "files"]
        near = difflib.get_close_matches(name, known, n=1)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        raise DataError(
            f"There is no file, folder or dataset called '{name}'.{hint} Datasets: {', '.join(known)}."
        )
    found = shelf.find("datasets", name, Dataset)
    known_options = list(inspect.signature(found).parameters)
    for option in options:
        if option not in known_options:
            raise UsageError(f"{source} has no option '{option}'. Known: {', '.join(known_options)}.")
    return found(**options)
