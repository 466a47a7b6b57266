"""CSV and TSV as spreadsheets and programs write them, found out from the file itself.

Every row keeps the characters it was read from, so that it can be written again unchanged, with fields added.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from typing import BinaryIO, NamedTuple, TextIO, final

from ..errors import DataError, UsageError
from . import Row, Rows, Source, Writer

_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_HINT = re.compile(
    r"sep=(.)\r?\n"
)  # the first line by which a spreadsheet tells another what separates fields


class _Dialect(NamedTuple):
    delimiter: str
    quoting: int = csv.QUOTE_MINIMAL

    def read(self, lines: Iterator[str], *, strict: bool = False) -> Iterator[list[str]]:
        # A text may be longer than the 128 KiB to which the module limits a field; the limit is the process's.
        csv.field_size_limit(max(csv.field_size_limit(), 2**31 - 1))
        return csv.reader(lines, delimiter=self.delimiter, quoting=self.quoting, strict=strict)  # type: ignore[arg-type]


class _Tape:
    """The lines of a file for csv.reader, which remembers those it gave since the last `cut`."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._taken: list[str] = []
        self.lines = 0
        self.ended = False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._file.readline()
        self.ended = not line
        if not line:
            raise StopIteration
        self._taken.append(line)
        self.lines += 1
        return line.replace("\0", "\ufffd")  # which the module refuses before Python 3.11

    def cut(self) -> str:
        taken, self._taken = "".join(self._taken), []
        return taken


@final
class Delimited(Rows):
    """A CSV or TSV table with a header.

    Blank lines are no rows, except in a table of one column; they are written again where they stood.
    """

    output_kind = "delimited"

    def __init__(self, source: Source, delimiter: str | None = None) -> None:
        if delimiter is not None and len(delimiter) != 1:
            raise UsageError(f"The delimiter is '{delimiter}'; it must be one character.")
        super().__init__(source)
        self._tape = _Tape(source.text())
        sample = io.TextIOWrapper(
            io.BytesIO(source.head[len(source.mark) :]), source.encoding, "replace", newline=""
        )
        hint = _HINT.match(sample.read(8))
        sample.seek(0)
        if hint:
            delimiter = delimiter or hint[1]
            next(self._tape), next(sample)
        lines = sample.readlines()
        self.dialect = _choose(
            lines if len(source.head) < 1 << 16 or len(lines) < 2 else lines[:-1], delimiter
        )
        self._reader = self.dialect.read(self._tape)
        self.preamble = self._tape.cut()
        while (names := self._next()) == []:
            pass
        if names is None:
            raise DataError(f"{self.name} is empty; expected a first line with the names of the columns.")
        self.columns = [name.strip() for name in names]
        self.header = self._tape.cut()
        self.tail = ""
        separated = _NAMES.get(self.dialect.delimiter, f"'{self.dialect.delimiter}'")
        columns = f"{len(self.columns)} column{'s' * (len(self.columns) != 1)}"
        self.note = f"{self.name}: {source.encoding}, separated by {separated}, {columns}"

    def __iter__(self) -> Iterator[Row]:
        number = 0
        while (line := self._tape.lines + 1) and (fields := self._next()) is not None:
            if not fields and len(self.columns) > 1:
                continue
            number += 1
            place = f"{self.name}, row {number} (line {line})"
            raw = self._tape.cut()
            yield Row(number, fields, place, self._problem(fields, raw), raw)
        self.tail = self._tape.cut()

    def _next(self) -> list[str] | None:
        try:
            fields = next(self._reader, None)
        except csv.Error as error:
            raise DataError(f"{self.name}, line {self._tape.lines} cannot be read ({error}).") from error
        except UnicodeDecodeError as error:
            raise DataError(
                f"{self.name}, after line {self._tape.lines}: bytes that are not {error.encoding}. "
                "Give the right encoding."
            ) from error
        if fields is not None and self._tape.ended:
            raise DataError(
                f"{self.name}: a quotation mark that opens a field in the last row is never closed. "
                "Close it, or double it if it belongs to the text."
            )
        return fields

    def _problem(self, fields: list[str], raw: str) -> str:
        if len(fields) != max(1, len(self.columns)) and (fields or len(self.columns) > 1):
            return f"has {len(fields)} fields, but the header names {len(self.columns)} columns"
        return self.source.damage(raw)

    def start(self, file: BinaryIO, added: Sequence[str]) -> Writer:
        return _DelimitedWriter(self, file, added)


@final
class _DelimitedWriter(Writer):
    def __init__(self, rows: Delimited, file: BinaryIO, added: Sequence[str]) -> None:
        self._rows = rows
        self._file = file
        file.write(rows.source.mark)
        self._put(rows.preamble)
        self._write(rows.header, len(rows.columns), added)

    def write(self, row: Row, values: Sequence[str]) -> None:
        self._write(row.raw, max(1, len(row.fields)), values)

    def finish(self) -> None:
        self._put(self._rows.tail)

    def _write(self, raw: str, fields: int, values: Sequence[str]) -> None:
        body = raw.rstrip("\r\n")  # blank lines before it stay where they are
        missing = [""] * (len(self._rows.columns) - fields)
        delimiter = self._rows.dialect.delimiter
        self._put(delimiter.join([body, *missing, *map(self._quoted, values)]) + raw[len(body) :])

    def _quoted(self, value: str) -> str:
        if self._rows.dialect.quoting == csv.QUOTE_NONE:
            return re.sub(r"[\t\r\n]", " ", value)
        if any(c in value for c in (self._rows.dialect.delimiter, '"', "\r", "\n")):
            return '"' + value.replace('"', '""') + '"'
        return value

    def _put(self, text: str) -> None:
        source = self._rows.source
        try:
            self._file.write(text.encode(source.encoding, source.errors))
        except UnicodeEncodeError as error:
            raise DataError(
                f"{text[error.start : error.end]!r} cannot be written in {source.encoding}, "
                f"the encoding of {source.name}. Convert that file to UTF-8."
            ) from error


def _choose(lines: list[str], delimiter: str | None) -> _Dialect:
    """How the first lines of a file are best read: the header has columns, and rows have as many fields."""
    dialects = [_Dialect(d) for d in ([delimiter] if delimiter else _NAMES)]
    if delimiter in (None, "\t"):
        # Programs that separate by tabs often give quotation marks no meaning.
        dialects.append(_Dialect("\t", csv.QUOTE_NONE))
    return max(dialects, key=lambda dialect: _fit(lines, dialect))


def _fit(lines: list[str], dialect: _Dialect) -> tuple[bool, float, bool]:
    counts: list[int] = []
    wrong = 0
    try:
        counts.extend(len(fields) for fields in dialect.read(iter(lines), strict=True) if fields)
    except csv.Error:
        wrong = 1
    columns = counts[0] if counts else 0
    marks = any('"' in line for line in lines) == (dialect.quoting != csv.QUOTE_NONE)
    return columns > 1, counts.count(columns) / (len(counts) + wrong or 1), columns > 1 and marks
