"""Texts without a table: a file with one text a line, or a folder with one file a text, in folders named by label."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import BinaryIO, final

from ..errors import DataError
from . import Row, Rows, Source, Writer


@final
class Plain(Rows):
    """The lines of a file as the column "text"; or the .txt files of a folder and its subfolders, sorted by name.

    A folder has the columns "file", "text" and, where the files are in subfolders, "label": the subfolder's name.
    Rows are written as CSV.
    """

    output_kind = "delimited"

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._paths: list[Path] | None = None
        if source.path is None or not source.path.is_dir():
            self.columns = ["text"]
            self._file = source.text()
            self.note = f"{self.name}: {source.encoding}, a text a line"
            return
        found = [*source.path.glob("*.txt"), *source.path.glob("*/*.txt")]
        self._paths = sorted(path for path in found if path.is_file())
        labels = {path.parent.name for path in self._paths if path.parent != source.path}
        self.columns = ["file", "text", "label"] if labels else ["file", "text"]
        self.note = f"{self.name}: a folder of {len(self._paths)} texts, {len(labels)} labels"
        if not self._paths:
            raise DataError(f"{self.name} holds no text. Expected files LABEL/NAME.txt or NAME.txt in it.")

    def __iter__(self) -> Iterator[Row]:
        if self._paths is not None:
            yield from map(self._from_file, range(1, len(self._paths) + 1), self._paths)
            return
        for number, line in enumerate(self._file, start=1):
            text = line.rstrip("\r\n")
            yield Row(number, [text], f"{self.name}, line {number}", self.source.damage(text), None)

    def _from_file(self, number: int, path: Path) -> Row:
        assert self.source.path is not None
        with closing(Source(path)) as source:
            text = source.text().read()
        label = path.parent.name if path.parent != self.source.path else ""
        fields = [path.relative_to(self.source.path).as_posix(), text, label][: len(self.columns)]
        return Row(number, fields, str(path), source.damage(text), None)

    def start(self, file: BinaryIO, added: Sequence[str]) -> Writer:
        return _PlainWriter(file, [*self.columns, *added])


@final
class _PlainWriter(Writer):
    def __init__(self, file: BinaryIO, columns: Sequence[str]) -> None:
        self._text = io.TextIOWrapper(file, "utf-8", "surrogateescape", newline="", write_through=True)
        self._csv = csv.writer(self._text, lineterminator="\n")
        self._csv.writerow(columns)

    def write(self, row: Row, values: Sequence[str]) -> None:
        self._csv.writerow([*row.fields, *values])

    def finish(self) -> None:
        self._text.detach()
