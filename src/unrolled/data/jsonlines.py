"""JSON lines: one object a line. Rows are written again as they stand, with names added before the last brace."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, final

from ..errors import DataError
from . import Row, Rows, Source, Writer

_NO_OBJECT = "is no JSON object"


@final
class JsonLines(Rows):
    """A table of one JSON object a line; its columns are the names in the first one.

    Fields are texts as they are and other values as JSON; null and missing names are "". Blank lines are no rows;
    they are written again where they stood.
    """

    output_kind = "jsonlines"

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._file = source.text()
        self._lines = 0
        self.tail = ""
        self._first = self._next()
        if self._first is None:
            raise DataError(f"{self.name} is empty; expected one JSON object a line.")
        if self._first[2]:
            raise DataError(f"{self.name}, line {self._lines} {self._first[2]}.")
        self.columns = list(self._first[1])
        self.note = f"{self.name}: {source.encoding}, JSON lines, {len(self.columns)} names in the first"

    def __iter__(self) -> Iterator[Row]:
        number, found = 0, self._first
        while found is not None:
            number += 1
            raw, values, problem = found
            fields = [_as_text(values.get(name)) for name in self.columns]
            place = f"{self.name}, row {number} (line {self._lines})"
            problem = problem or self.source.damage(raw + "".join(fields))
            yield Row(number, fields, place, problem, raw)
            found = self._next()

    def _next(self) -> tuple[str, dict[str, Any], str] | None:
        """The next object as it stands (after the blank lines before it) and read, and what is wrong with it."""
        raw = ""
        while line := self._file.readline():
            self._lines += 1
            raw += line
            if line.strip():
                return raw, *_parsed(line)
        self.tail = raw
        return None

    def start(self, file: BinaryIO, added: Sequence[str]) -> Writer:
        file.write(self.source.mark)
        return _JsonLinesWriter(self, file, added)


@final
class _JsonLinesWriter(Writer):
    def __init__(self, rows: JsonLines, file: BinaryIO, added: Sequence[str]) -> None:
        self._rows, self._file, self._added = rows, file, added

    def write(self, row: Row, values: Sequence[str]) -> None:
        body = row.raw.rstrip()
        if row.problem.startswith(_NO_OBJECT):
            raise DataError(f"{row.place} {row.problem}, so that nothing can be added to it. Correct it.")
        opened = body[:-1].rstrip()
        comma = "" if opened.endswith("{") else ", "
        new = json.dumps(dict(zip(self._added, values, strict=True)))[1:-1]
        self._put(opened + comma + new + "}" + row.raw[len(body) :])

    def finish(self) -> None:
        self._put(self._rows.tail)

    def _put(self, text: str) -> None:
        self._file.write(text.encode(self._rows.source.encoding, self._rows.source.errors))


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _parsed(line: str) -> tuple[dict[str, Any], str]:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        return {}, f"{_NO_OBJECT} ({error})"
    if isinstance(values, dict):
        return values, ""
    return {}, f"{_NO_OBJECT} but {line.strip()[:40]}"
