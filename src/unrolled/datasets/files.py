"""Your own data: a table, a folder of texts, or the standard input, whose columns you name."""

from __future__ import annotations

from pathlib import Path
from typing import final

from ..data import Row, Rows, open_rows
from ..errors import DataError
from . import Dataset, Examples
from ._pictures import captions

__all__ = ["Files", "captions", "read", "text_column"]


@final
class Files(Dataset):
    """One source as one split, "all".

    Args:
        path: see `unrolled.data.open_rows`.
        text_column: name of the column that holds the texts; by default the one called "text", or the only one.
        label_column: name of the column that holds the labels; None: there are no labels. Of a folder that is
            divided into subfolders the labels are read without it.
        group_column: name of the column of what must not be torn apart between training and validation.
        encoding: of text files; by default found out.
        delimiter: of CSV files; by default found out.
        skip_bad: leave rows out that cannot be used, and count them, instead of stopping at the first.
    """

    kind = "text"
    licence = "Yours."
    citation = ""
    checksum = ""

    def __init__(
        self,
        path: str | Path,
        text_column: str | None = None,
        label_column: str | None = None,
        group_column: str | None = None,
        *,
        encoding: str | None = None,
        delimiter: str | None = None,
        skip_bad: bool = False,
    ) -> None:
        self._open = lambda: open_rows(path, encoding=encoding, delimiter=delimiter)
        self._names = (text_column, label_column, group_column)
        self._skip_bad = skip_bad
        self._read: Examples | None = None

    @property
    def splits(self) -> tuple[str, ...]:
        """All of it is one split."""
        return ("all",)

    def load(self, split: str = "all") -> Examples:
        """All rows, in order, whatever part is asked for; the source is read once.

        Raises:
            DataError: no such file or column, no usable row, or (unless `skip_bad`) a row that cannot be used.
        """
        if self._read is None:
            with self._open() as rows:
                self._read = _examples(rows, *self._names, self._skip_bad)
        return self._read


def read(
    path: str | Path,
    text_column: str | None = None,
    label_column: str | None = None,
    group_column: str | None = None,
    *,
    encoding: str | None = None,
    delimiter: str | None = None,
    skip_bad: bool = False,
) -> Examples:
    """The examples of a table, a folder or the standard input; arguments and errors as in `Files`."""
    options = {"encoding": encoding, "delimiter": delimiter}
    return Files(path, text_column, label_column, group_column, skip_bad=skip_bad, **options).load()


def text_column(rows: Rows, name: str | None = None) -> int:
    """Where the texts stand: in the column `name`, else in "text", else in the only column.

    Raises:
        DataError: there is no such column, or nobody can tell which one it is.
    """
    if name is None and len(rows.columns) != 1 and "text" not in rows.columns:
        raise DataError(
            f"{rows.name} has the columns {', '.join(rows.columns)}. "
            "Say which one holds the texts: --text-column NAME."
        )
    return rows.column(name or ("text" if "text" in rows.columns else rows.columns[0]))


def _examples(rows: Rows, text: str | None, label: str | None, group: str | None, skip_bad: bool) -> Examples:
    if label is None and rows.columns == ["file", "text", "label"]:
        label = "label"
    places = [text_column(rows, text), *(rows.column(name) for name in (label, group) if name is not None)]
    names = [rows.columns[place] for place in places]
    kept: list[list[str]] = [[] for _ in places]
    skipped = 0
    for row in rows:
        if problem := _problem(row, places, names):
            if not skip_bad:
                raise DataError(f"{row.place} {problem}. Correct it, or leave such rows out with --skip-bad.")
            skipped += 1
            continue
        for column, place in zip(kept, places, strict=True):
            column.append(row.fields[place])
    if not kept[0]:
        raise DataError(
            f"{rows.name} holds no row that can be used ({skipped} left out); expected at least one."
        )
    texts = kept.pop(0)
    labels = kept.pop(0) if label is not None else None
    return Examples(texts, labels, kept.pop(0) if group is not None else None, skipped, rows.note)


def _problem(row: Row, places: list[int], names: list[str]) -> str:
    if row.problem:
        return row.problem
    empty = (name for name, place in zip(names, places, strict=True) if not row.field(place).strip())
    return next((f"has nothing in the column '{name}'" for name in empty), "")
