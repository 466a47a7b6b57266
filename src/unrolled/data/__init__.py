"""From raw things to arrays: text, tables, downloads. This page holds what the files of the room share.

`open_rows` reads a table row by row in constant memory, whatever its kind; each kind is one file beside this
one: `delimited` (CSV, TSV), `jsonlines`, `parquet`, `xlsx`, `plain` (a text a line, or a folder of texts).
"""

from __future__ import annotations

import codecs
import difflib
import io
import itertools
import os
import re
import secrets
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TextIO

from .. import shelf
from ..errors import DataError, UnknownNameError, UsageError

Progress = Callable[[int, "int | None"], None]
"""Called with the bytes that are done and the bytes that there will be (None where nobody knows)."""

KINDS = {
    "delimited": (".csv", ".tsv", ".tab"),
    "jsonlines": (".jsonl", ".ndjson", ".json"),
    "parquet": (".parquet", ".pq"),
    "xlsx": (".xlsx",),
    "plain": (".txt", ".text"),
}


class Row(NamedTuple):
    """One row of a table.

    Attributes:
        number: from 1; the header does not count.
        fields: one text per column; a row with too few fields has fewer, one with too many has more.
        place: where to find it, for messages: "reviews.csv, row 3 (line 5)".
        problem: what is wrong with it, as the end of a sentence; empty for a good row.
        raw: the row as it stands in the source, which only its own writer reads.
    """

    number: int
    fields: list[str]
    place: str
    problem: str
    raw: Any

    def field(self, index: int) -> str:
        """The field of column `index`; "" where a short row has none."""
        return self.fields[index] if index < len(self.fields) else ""


class Writer(ABC):
    """Writes rows as they were read, with fields added at their end."""

    @abstractmethod
    def write(self, row: Row, values: Sequence[str]) -> None:
        """Write `row` with one value for each added column."""

    @abstractmethod
    def finish(self) -> None:
        """Write what follows the last row."""


class Rows(AbstractContextManager["Rows"], ABC):
    """A table that is read once from its first row to its last.

    Attributes:
        source: what it is read from.
        name: of the source, for messages.
        columns: names of the columns.
        note: how the source is read ("utf-8, separated by commas, 3 columns"), to be said once.
        output_kind: the kind of table that its writer writes.
    """

    columns: list[str]
    note: str
    output_kind: str

    def __init__(self, source: Source) -> None:
        self.source = source
        self.name = source.name

    @abstractmethod
    def __iter__(self) -> Iterator[Row]:
        """The rows in order."""

    @abstractmethod
    def start(self, file: BinaryIO, added: Sequence[str]) -> Writer:
        """Write what precedes the first row into `file`; gives the writer of the rows."""

    def __exit__(self, *_: object) -> None:
        self.source.close()

    def column(self, name: str) -> int:
        """Where the column `name` stands.

        Raises:
            DataError: there is none, or more than one.
        """
        if self.columns.count(name) == 1:
            return self.columns.index(name)
        if name in self.columns:
            raise DataError(
                f"{self.name} has {self.columns.count(name)} columns called '{name}'. Give them different names."
            )
        near = difflib.get_close_matches(name, self.columns, n=1, cutoff=0.5)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        raise DataError(
            f"{self.name} has no column '{name}'.{hint} Its columns: {', '.join(self.columns) or 'none'}."
        )

    def free_names(self, wanted: Sequence[str]) -> list[str]:
        """Names for added columns: those wanted, with "predicted_" before a name that the table has already."""
        names: list[str] = []
        for name in wanted:
            while name in self.columns or name in names:
                name = f"predicted_{name}"  # noqa: PLW2901 - tried until it is free
            names.append(name)
        return names

    @contextmanager
    def writer(self, output: str | Path, added: Sequence[str]) -> Iterator[Writer]:
        """Where to write the rows again, with the columns `added`: a file that appears when the block ends well.

        Every row is written as it was read, in the same encoding, separated and quoted in the same way. "-" is
        the standard output.

        Raises:
            UsageError: `output` is named as another kind of table.
        """
        kind = _kind_by_name(Path(output))
        if kind not in (None, self.output_kind):
            raise UsageError(
                f"{output} is the name of another kind of table, but rows of {self.name} are written as they "
                f"are read. Give the output a name that ends in {' or '.join(KINDS[self.output_kind])}."
            )
        with _sink(output) as file:
            writer = self.start(file, self.free_names(added))
            yield writer
            writer.finish()


class Source:
    """What a table is read from, opened: a file, a folder, or the standard input.

    Attributes:
        name: for messages.
        path: None for the standard input.
        stream: what is left after the head.
        head: its first bytes, at most 1 MiB (of a stream 64 KiB); none of a folder.
        encoding: how its text is read; found out by `text`.
        mark: the byte order mark that it begins with, or nothing.
        errors: how bytes that are no text pass through `text` and back again unchanged.
    """

    def __init__(self, path: str | Path, encoding: str | None = None) -> None:
        self.path = None if str(path) == "-" else Path(path)
        self.name = str(path) if self.path else "the standard input"
        if self.path and not self.path.exists():
            raise DataError(f"There is no file or folder {path}.")
        self._wanted = encoding
        self._is_file = self.path is not None and self.path.is_file()
        if self.path is not None and self.path.is_dir():
            self.stream: BinaryIO = io.BytesIO()
        else:
            self.stream = open(self.path, "rb") if self.path else sys.stdin.buffer  # noqa: SIM115 - see close
        self.head = self.stream.read(_HEAD if self._is_file else _STREAM_HEAD)

    def text(self) -> TextIO:
        """Its text from the start, line ends as they are."""
        self.encoding, self.mark = find_encoding(self.head, self._chunks(), self._wanted)
        # Neither way changes a byte, and both leave a mark in the text that `damage` finds.
        self.errors = "surrogatepass" if self.encoding.startswith(("utf-16", "utf-32")) else "surrogateescape"
        binary = io.BufferedReader(_Joined(self.head[len(self.mark) :], self.stream))
        return io.TextIOWrapper(binary, self.encoding, self.errors, newline="")

    def _chunks(self) -> Iterator[bytes]:
        """All of a file; of a stream whole lines of its head."""
        if self.path is None or not self._is_file:
            yield self.head if len(self.head) < _STREAM_HEAD else self.head[: self.head.rfind(b"\n") + 1]
            return
        with open(self.path, "rb") as file:
            while chunk := file.read(_HEAD):
                yield chunk

    def damage(self, text: str) -> str:
        """What in `text` cannot stand in a text, as the end of a sentence; "" where all is well."""
        if "\0" in text:
            return "holds a NUL character"
        if text.isascii() or not (found := _NO_TEXT.search(text)):
            return ""
        before = len(text[: found.start()].encode(self.encoding, self.errors))
        return f"holds bytes (after its first {before}) that are not {self.encoding}; try another encoding"

    def close(self) -> None:
        """Let the file go."""
        if self.path:
            self.stream.close()


class _Joined(io.RawIOBase):
    """A stream that gives `head` first and then what `rest` still holds."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        self._head, self._rest = head, rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        block = self._head[: len(buffer)] or self._rest.read(len(buffer))
        self._head = self._head[len(block) :]
        buffer[: len(block)] = block
        return len(block)


_HEAD, _STREAM_HEAD = 1 << 20, 1 << 16
_NO_TEXT = re.compile("[\ud800-\udfff]")
_MARKS = {
    "utf-32-le": codecs.BOM_UTF32_LE,  # before utf-16-le, whose mark it begins with
    "utf-32-be": codecs.BOM_UTF32_BE,
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
    "utf-8": codecs.BOM_UTF8,
}


def find_encoding(head: bytes, chunks: Iterator[bytes], wanted: str | None = None) -> tuple[str, bytes]:
    """The encoding of a text and the byte order mark that it begins with.

    A mark says it; else zeros at every other place mean UTF-16; else it is UTF-8, unless most of what is not ASCII
    is not UTF-8 either: then it is cp1252, which Windows programs write in western Europe and America.

    Args:
        head: the beginning.
        chunks: all of it.
        wanted: the encoding that somebody gave.

    Raises UsageError where `wanted` is no encoding.
    """
    try:
        name = codecs.lookup(wanted).name.removesuffix("-sig") if wanted else ""
    except LookupError:
        raise UsageError(
            f"There is no encoding '{wanted}'. Often used: utf-8, cp1252, utf-16, latin-1."
        ) from None
    for encoding, mark in _MARKS.items():
        if head.startswith(mark) and encoding.startswith(name):
            return encoding, mark
    if name:
        return name + "-le" * (name in ("utf-16", "utf-32")), b""
    even, odd = head[::2].count(0), head[1::2].count(0)
    if max(even, odd) > len(head) / 5 and min(even, odd) < len(head) / 50:
        return ("utf-16-be" if even > odd else "utf-16-le"), b""
    return _utf8_or_cp1252(chunks), b""


def _utf8_or_cp1252(chunks: Iterator[bytes]) -> str:
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    good = bad = 0
    for chunk in itertools.chain(chunks, [b""]):
        text = decoder.decode(chunk, final=not chunk)
        if not text.isascii():
            broken = len(_NO_TEXT.findall(text))
            bad += broken
            good += len(text) - broken - len(text.encode("ascii", "ignore"))
    return "cp1252" if bad > good else "utf-8"


def open_rows(
    path: str | Path, *, encoding: str | None = None, delimiter: str | None = None, kind: str | None = None
) -> Rows:
    """The rows of a table: CSV, TSV, JSON lines, Parquet, Excel, a text a line, a folder of texts, "-" for stdin.

    Args:
        path: the table.
        encoding: how its bytes are to be read; by default found out.
        delimiter: what stands between fields; by default found out.
        kind: one of `KINDS`; by default by the file's name, and where that says nothing by its first character.

    Raises:
        DataError: there is no such file, or it is no such table.
        UsageError: an unknown kind, or an option that the kind does not have.
    """
    if kind is not None and kind not in KINDS:
        raise UnknownNameError("kind of table", kind, KINDS)
    source = Source(path, encoding)
    try:
        kind = kind or _kind_of(source)
        if delimiter is not None and kind != "delimited":
            raise UsageError(f"A delimiter stands in CSV and TSV tables; {source.name} is read as {kind}.")
        if encoding is not None and kind in ("parquet", "xlsx"):
            raise UsageError(f"{source.name} is read as {kind}, which has no encoding to choose.")
        options = [delimiter] if kind == "delimited" else []
        return shelf.find("data", kind, Rows)(source, *options)
    except BaseException:
        source.close()
        raise


def _kind_by_name(path: Path) -> str | None:
    return next((kind for kind, endings in KINDS.items() if path.suffix.lower() in endings), None)


def _kind_of(source: Source) -> str:
    if source.path is not None and source.path.is_dir():
        return "plain"
    by_name = _kind_by_name(source.path) if source.path else None
    first = source.head[:64].replace(b"\0", b"").lstrip(b"".join(_MARKS.values()) + b" \t\r\n")[:1]
    return by_name or ("jsonlines" if first == b"{" else "delimited")


@contextmanager
def _sink(output: str | Path) -> Iterator[BinaryIO]:
    path = Path(output)
    if str(output) == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    elif (
        path.exists() and not path.is_file()
    ):  # a pipe or a device: nothing that a file could take the place of
        with open(path, "wb") as file:
            yield file
    else:
        with replacing(path) as file:
            yield file


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A new file that takes the place of `path` when the block ends well, and leaves no trace when it does not."""
    path = path.resolve()  # the file behind a link is replaced, not the link
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with open(part, "xb") as file:
            yield file
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
