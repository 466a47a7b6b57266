"""Excel workbooks (.xlsx): a table in the first sheet, a row at a time; cells keep values, types and number formats."""

from __future__ import annotations

import itertools
import zipfile
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, final

from ..errors import DataError, need
from . import Row, Rows, Source, Writer


@final
class Xlsx(Rows):
    """The first sheet of a workbook; its first row that holds something names the columns.

    Fields are texts as they are and other values as Python writes them; of a formula its value, as last computed.
    Empty rows are no rows; they are written again where they stood. Rows stream, but a workbook keeps its
    distinct texts apart from its sheets, and those are held in memory.
    """

    output_kind = "xlsx"

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        if source.path is None:
            raise DataError("An Excel workbook cannot be read from the standard input. Give a file.")
        excel = need("openpyxl", "xlsx", "Reading .xlsx")
        try:
            book = excel.load_workbook(source.stream, read_only=True, data_only=True)
            self._sheet = book.worksheets[0]
        except (zipfile.BadZipFile, LookupError, ValueError, OSError, SyntaxError) as error:
            raise DataError(f"{self.name} is not an Excel workbook ({error}).") from error
        self._sheet.reset_dimensions()  # what is written there may be less than there is
        self._lines = enumerate(self._sheet.iter_rows(), start=1)
        self._line, self.header = self._next()
        if not self.header:
            raise DataError(f"{self.name} is empty; expected a first row with the names of the columns.")
        self.columns = [_as_text(cell.value).strip() for cell in self.header]
        sheets = len(book.sheetnames)
        which = f"'{self._sheet.title}'" + (f", the first of {sheets} sheets" if sheets > 1 else "")
        self.note = f"{self.name}: Excel, {which}, {len(self.columns)} columns"

    def __iter__(self) -> Iterator[Row]:
        before, wanted = self._line, len(self.columns)
        for number in itertools.count(1):
            line, cells = self._next()
            if not cells:
                return
            fields = [_as_text(cell.value) for cell in cells] + [""] * (wanted - len(cells))
            problem = f"has {len(fields)} fields, but the header names {wanted} columns"
            place = f"{self.name}, row {number} (line {line})"
            yield Row(number, fields, place, problem * (len(fields) > wanted), (line - before - 1, cells))
            before = line

    def _next(self) -> tuple[int, list[Any]]:
        """The next row that holds something: where it stands, and its cells up to the last one that does."""
        for line, cells in self._lines:
            if filled := [at for at, cell in enumerate(cells) if cell.value is not None]:
                return line, list(cells[: filled[-1] + 1])
        return 0, []

    def start(self, file: BinaryIO, added: Sequence[str]) -> Writer:
        return _XlsxWriter(self, file, added, self._sheet.title)


@final
class _XlsxWriter(Writer):
    def __init__(self, rows: Xlsx, file: BinaryIO, added: Sequence[str], title: str) -> None:
        excel = need("openpyxl", "xlsx", "Writing .xlsx")
        self._cell = need("openpyxl.cell", "xlsx", "Writing .xlsx").WriteOnlyCell
        self._book, self._file, self._columns = excel.Workbook(write_only=True), file, len(rows.columns)
        self._sheet = self._book.create_sheet(title)
        self._append(rows.header, added)

    def write(self, row: Row, values: Sequence[str]) -> None:
        empty, cells = row.raw
        for _ in range(empty):
            self._sheet.append([])
        self._append(cells, values)

    def _append(self, cells: Sequence[Any], values: Sequence[str]) -> None:
        missing = [None] * (self._columns - len(cells))
        self._sheet.append([*map(self._copy, cells), *missing, *values])

    def _copy(self, cell: Any) -> Any:
        if cell.value is None:
            return None
        new = self._cell(self._sheet, cell.value)
        new.data_type = cell.data_type  # a text that begins with "=" stays a text
        new.number_format = cell.number_format
        return new

    def finish(self) -> None:
        self._book.save(self._file)


def _as_text(value: Any) -> str:
    return "" if value is None else str(value)
