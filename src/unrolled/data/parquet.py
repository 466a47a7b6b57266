"""Parquet tables, a batch of rows at a time; columns keep their types, added ones are texts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, final

from ..errors import DataError, need
from . import Row, Rows, Source, Writer

_BATCH = 1024


@final
class Parquet(Rows):
    """A Parquet file. Fields are texts as they are and other values as JSON; nulls are ""."""

    output_kind = "parquet"

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        if source.path is None:
            raise DataError("Parquet cannot be read from the standard input. Give a file.")
        arrow = need("pyarrow", "parquet", "Reading Parquet")
        parquet = need("pyarrow.parquet", "parquet", "Reading Parquet")
        try:
            self._file = parquet.ParquetFile(source.stream)
        except (arrow.ArrowInvalid, OSError) as error:
            raise DataError(f"{self.name} is not a Parquet file ({error}).") from error
        self.schema = self._file.schema_arrow
        self.columns = list(self.schema.names)
        self.note = f"{self.name}: Parquet, {len(self.columns)} columns"

    def __iter__(self) -> Iterator[Row]:
        number = 0
        for batch in self._file.iter_batches(_BATCH):
            columns = [list(map(_as_text, column.to_pylist())) for column in batch.columns]
            for at in range(batch.num_rows):
                number += 1
                yield Row(number, [c[at] for c in columns], f"{self.name}, row {number}", "", (batch, at))

    def start(self, file: BinaryIO, added: Sequence[str]) -> Writer:
        return _ParquetWriter(self.schema, file, added)


@final
class _ParquetWriter(Writer):
    def __init__(self, schema: Any, file: BinaryIO, added: Sequence[str]) -> None:
        self._arrow = need("pyarrow", "parquet", "Writing Parquet")
        for name in added:
            schema = schema.append(self._arrow.field(name, self._arrow.string()))
        self._schema = schema
        self._writer = need("pyarrow.parquet", "parquet", "Writing Parquet").ParquetWriter(file, schema)
        self._batch: Any = None
        self._values: list[Sequence[str]] = []

    def write(self, row: Row, values: Sequence[str]) -> None:
        self._batch = row.raw[0]
        self._values.append(values)
        if row.raw[1] + 1 == self._batch.num_rows:
            self._flush()

    def finish(self) -> None:
        if self._values:
            self._flush()
        self._writer.close()

    def _flush(self) -> None:
        added = [
            self._arrow.array(column, self._arrow.string()) for column in zip(*self._values, strict=True)
        ]
        columns = [*self._batch.slice(0, len(self._values)).columns, *added]
        self._writer.write_batch(self._arrow.RecordBatch.from_arrays(columns, schema=self._schema))
        self._values = []


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
