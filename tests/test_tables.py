"""Tables as people have them: read without options, and written again with nothing changed but the added columns."""

from __future__ import annotations

import csv
import datetime
import io
import json
import os
import sys
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.data import Rows, find_encoding, open_rows
from unrolled.datasets import files, resolve
from unrolled.errors import DataError, MissingExtraError, UnknownNameError, UsageError

TINY = Path(__file__).parent / "tiny"
DIALECTS = {
    "reviews.csv": "utf-8, separated by commas, 4 columns",
    "semicolon-cp1252.csv": "cp1252, separated by semicolons, 4 columns",
    "bom.csv": "utf-8, separated by commas, 4 columns",
    "tabs-utf16.csv": "utf-16-le, separated by tabs, 4 columns",
    "reviews.jsonl": "utf-8, JSON lines, 4 names in the first",
}
Make = Callable[[bytes], Path]


@pytest.fixture
def csv_file(tmp_path: Path) -> Make:
    """Writes its argument into a file and gives the file."""

    def make(content: bytes, name: str = "in.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return make


def predict(
    source: Path | str, output: Path | str, added: tuple[str, ...] = ("label", "p"), **options: str
) -> int:
    """What `unrolled predict` does with the rows."""
    count = 0
    with open_rows(source, **options) as rows, rows.writer(output, added) as writer:
        for row in rows:
            count += 1
            writer.write(row, [f"l{row.number}", '0,5"'])
    return count


def fields_of(rows: Rows) -> list[list[str]]:
    with rows:
        return [row.fields for row in rows]


@pytest.mark.parametrize("name", DIALECTS)
def test_every_dialect_holds_the_same_rows(name: str) -> None:
    found = open_rows(TINY / name)
    assert found.columns == ["id", "film", "text", "label"]
    assert found.note == f"{TINY / name}: {DIALECTS[name]}"
    rows = fields_of(found)
    assert len(rows) == 12
    assert rows == fields_of(open_rows(TINY / "reviews.csv"))
    assert rows[0] == ["007", "tt01", "A quiet, lovely film.\nI would see it again.", "positive"]
    assert rows[4][2] == "The café scene alone is worth the ticket."


def without_added(content: bytes, source: Path, added: tuple[str, str]) -> bytes:
    """`content` without what `predict` wrote into it, once a row."""
    with open_rows(source) as rows:
        encoding, errors = rows.source.encoding, rows.source.errors  # type: ignore[attr-defined]
        delimiter = getattr(getattr(rows, "dialect", None), "delimiter", "")
        count = len(list(rows))
    text = content.decode(encoding, errors).replace(f"{delimiter}{added[0]}{delimiter}{added[1]}", "", 1)
    for i in range(1, count + 1):
        quoted = delimiter + ('0,5"' if '"0,5"""' not in text else '"0,5"""')
        mark = f"{delimiter}l{i}{quoted}" if delimiter else f', "{added[0]}": "l{i}", "{added[1]}": "0,5\\""'
        assert text.count(mark) == 1
        text = text.replace(mark, "")
    return text.encode(encoding, errors)


@pytest.mark.parametrize("name", [*DIALECTS, "quotes.tsv"])
def test_prediction_adds_columns_and_changes_no_byte_else(name: str, tmp_path: Path) -> None:
    source, output = TINY / name, tmp_path / name
    before = fields_of(open_rows(source))
    assert predict(source, output) == len(before)
    after = open_rows(output)
    assert after.columns[-2:] == ["predicted_label", "p"]
    assert fields_of(after) == [[*row, f"l{i}", '0,5"'] for i, row in enumerate(before, start=1)]
    assert without_added(output.read_bytes(), source, ("predicted_label", "p")) == source.read_bytes()


AWKWARD = {
    "leading zeros, quotes that need not be there": b'id,text\n"007","a"\n007,a\n',
    "line ends of three systems": b"a,text\r\n1,x\n2,y\r3,z\r\n",
    "no end of the last line": b"a,text\n1,x",
    "quoted newlines of all kinds": b'a,text\n1,"x\r\ny\n\rz"\n2,w\n',
    "blank lines": b"\na,text\n\n1,x\n\n\n2,y\n\n",
    "rows that are too long": b"a,text,b\n1,2,3\n1,2,3,4\n1,2,3\n",
    "a cell of 300 KiB": b"a,text\n1," + b"word " * 60000 + b"\n2,y\n",
    "bytes that are no UTF-8": "a,text\n1,é\n2,è\n".encode() + b"3,\xff\n",
    "bytes that are nothing in cp1252": b"a,text\n1,\xe9t\xe9\n2,\x81\x8d\n",
    "a NUL": b"a,text\n1,x\0y\n2,z\n",
    "columns of one name": b"text,x,x\n1,2,3\n",
    "one column": b'text\n"Good, really"\n\nbad\n',
    "one column with commas in it": b"text\nGood, really\nbad\n",
    "the separator said": b"sep=;\r\na;text\r\n1,5;x\r\n",
    "a header alone": b"a,text\n",
    "a header without its line end": b"a,text",
    "a half of a surrogate pair": b"\xff\xfea\x00,\x00t\x00\n\x001\x00,\x00\x00\xd8\n\x00",
    "UTF-16 without a mark": "a\ttext\n1\tx\n".encode("utf-16-be"),
    "quotation marks inside a field": b'a,text\n1,5" wide, 6" high\n2,he said "no"\n',
}


@pytest.mark.parametrize("content", AWKWARD.values(), ids=AWKWARD)
def test_prediction_changes_nothing_of_awkward_files(content: bytes, csv_file: Make, tmp_path: Path) -> None:
    source = csv_file(content)
    rows = len(fields_of(open_rows(source)))
    assert predict(source, tmp_path / "out.csv", ("l", "p")) == rows
    assert without_added((tmp_path / "out.csv").read_bytes(), source, ("l", "p")) == content


def test_short_rows_are_filled_so_that_added_fields_stand_in_their_columns(
    csv_file: Make, tmp_path: Path
) -> None:
    predict(csv_file(b"a,text,b\n1\n1,2,3,4\n"), tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == 'a,text,b,label,p\n1,,,l1,"0,5"""\n1,2,3,4,l2,"0,5"""\n'


def test_broken_bytes_and_line_ends_pass_through(csv_file: Make, tmp_path: Path) -> None:
    predict(csv_file(b'a,text\r\n"1",\xe9t\xe9\n2,\x81\r3,\xe8'), tmp_path / "out.csv", ("l", "p"))
    expected = b'a,text,l,p\r\n"1",\xe9t\xe9,l1,"0,5"""\n2,\x81,l2,"0,5"""\r3,\xe8,l3,"0,5"""'
    assert (tmp_path / "out.csv").read_bytes() == expected


def test_json_lines_are_written_as_they_stand(csv_file: Make, tmp_path: Path) -> None:
    content = (
        b'{"text": "a}",  "n": 1.50, "big": 12345678901234567890}\n\n{ }\r\n{"text":null , "x": {"y": []}}'
    )
    source = csv_file(content, "in.jsonl")  # type: ignore[call-arg]
    with open_rows(source) as rows:
        assert rows.columns == ["text", "n", "big"]
        assert [row.fields for row in rows] == [
            ["a}", "1.5", "12345678901234567890"],
            ["", "", ""],
            ["", "", ""],
        ]
    predict(source, tmp_path / "out.jsonl", ("n", "p"))
    written = (tmp_path / "out.jsonl").read_bytes()
    new = [f'"predicted_n": "l{i}", "p": "0,5\\""'.encode() for i in (1, 2, 3)]
    assert written == (
        b'{"text": "a}",  "n": 1.50, "big": 12345678901234567890, ' + new[0] + b"}\n\n{" + new[1] + b"}\r\n"
        b'{"text":null , "x": {"y": []}, ' + new[2] + b"}"
    )


def test_parquet_keeps_types_and_nulls(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = arrow.table(
        {"n": [1, None, 3] * 1000, "text": ["a", "b", None] * 1000, "v": [[1.5], [], None] * 1000}
    )
    parquet.write_table(table, tmp_path / "in.parquet")
    assert predict(tmp_path / "in.parquet", tmp_path / "out.parquet", ("text", "p")) == 3000
    found = parquet.read_table(tmp_path / "out.parquet")
    assert found.select(["n", "text", "v"]).equals(table)
    assert found["predicted_text"].to_pylist() == [f"l{i}" for i in range(1, 3001)]
    assert next(iter(fields_of(open_rows(tmp_path / "in.parquet")))) == ["1", "a", "[1.5]"]


def test_parquet_without_its_package_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "in.parquet").write_bytes(b"PAR1")
    with pytest.raises(MissingExtraError, match=r'Parquet needs.*pip install "unrolled\[parquet\]"'):
        open_rows(tmp_path / "in.parquet")


def workbook(path: Path, rows: list[list[object]], *more: str) -> Path:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.active.title = "Reviews"
    for number, row in enumerate(rows, start=1):
        for column, value in enumerate(row, start=1):
            cell = book.active.cell(number, column, value)
            if isinstance(value, str):
                cell.data_type = "s"
            elif isinstance(value, float):
                cell.number_format = "0.00%"
    for title in more:
        book.create_sheet(title)
    book.save(path)
    return path


def test_excel_keeps_values_types_and_empty_rows(tmp_path: Path) -> None:
    day = datetime.datetime(2024, 2, 29, 12, 30)
    rows: list[list[object]] = [
        [], ["id", "text", "n", "when"], ["007", "=1+1", 0.5, day], [], [None, " a\nb "], ["8", "c", True, None, 3]
    ]  # fmt: skip
    source = workbook(tmp_path / "in.xlsx", rows, "Notes")
    with open_rows(source) as found:
        assert found.note.endswith("in.xlsx: Excel, 'Reviews', the first of 2 sheets, 4 columns")
        read = list(found)
    assert [row.fields for row in read] == [
        ["007", "=1+1", "0.5", "2024-02-29 12:30:00"], ["", " a\nb ", "", ""], ["8", "c", "True", "", "3"],
    ]  # fmt: skip
    assert [row.problem for row in read] == ["", "", "has 5 fields, but the header names 4 columns"]
    assert read[1].place.endswith("in.xlsx, row 2 (line 5)")
    assert predict(source, tmp_path / "out.XLSX", ("text", "p")) == 3
    (sheet,) = pytest.importorskip("openpyxl").load_workbook(tmp_path / "out.XLSX").worksheets
    assert sheet.title == "Reviews"
    assert [list(row) for row in sheet.values] == [
        ["id", "text", "n", "when", "predicted_text", "p", None],
        ["007", "=1+1", 0.5, day, "l1", '0,5"', None],
        [None] * 7,
        [None, " a\nb ", None, None, "l2", '0,5"', None],
        ["8", "c", True, None, 3, "l3", '0,5"'],
    ]
    assert (sheet["B2"].data_type, sheet["C2"].number_format) == ("s", "0.00%")


def test_excel_says_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "no.xlsx").write_bytes(b"PK")
    for path, expected in (
        (workbook(tmp_path / "none.xlsx", []), "none.xlsx is empty; expected a first row with the names"),
        (tmp_path / "no.xlsx", "no.xlsx is not an Excel workbook"),
    ):
        with pytest.raises(DataError, match=expected):
            open_rows(path)
    monkeypatch.setattr(sys, "stdin", Stream(b"PK"))
    with pytest.raises(DataError, match="An Excel workbook cannot be read from the standard input"):
        open_rows("-", kind="xlsx")
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(MissingExtraError, match=r'xlsx needs.*pip install "unrolled\[xlsx\]"'):
        open_rows(tmp_path / "none.xlsx")


def test_excel_streams_its_rows(tmp_path: Path) -> None:
    """A thousand rows more, 8 MB of text, take less than 2 MB more: neither reading nor writing holds them."""
    peaks = []
    for count in (200, 1_200):
        source = workbook(tmp_path / "in.xlsx", [["id", "text"], *([n, "good " * 1600] for n in range(count))])
        tracemalloc.start()
        assert predict(source, tmp_path / "out.xlsx") == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 2e6


def test_a_folder_of_texts_and_a_text_a_line(tmp_path: Path) -> None:
    with open_rows(TINY / "reviews") as rows:
        assert rows.columns == ["file", "text", "label"]
        found = [row.fields for row in rows]
    assert [fields[0] for fields in found][:2] == ["negative/008.txt", "negative/010.txt"]
    assert found[3] == ["positive/007.txt", "A quiet, lovely film.\nI would see it again.\n", "positive"]
    (tmp_path / "in.txt").write_bytes(b"Good, really\n\nb\xe9")
    predict(tmp_path / "in.txt", tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_bytes() == (
        'text,label,p\n"Good, really",l1,"0,5"""\n,l2,"0,5"""\nbé,l3,"0,5"""\n'.encode()
    )


class Stream:
    """Stands for sys.stdin and sys.stdout."""

    def __init__(self, content: bytes = b"") -> None:
        self.buffer = io.BytesIO(content)


@pytest.mark.parametrize("name", ["tabs-utf16.csv", "reviews.jsonl", "semicolon-cp1252.csv"])
def test_standard_input_and_output(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    predict(TINY / name, tmp_path / name)
    output = Stream()
    monkeypatch.setattr(sys, "stdin", Stream((TINY / name).read_bytes()))
    monkeypatch.setattr(sys, "stdout", output)
    assert predict("-", "-") == 12
    assert output.buffer.getvalue() == (tmp_path / name).read_bytes()


def test_prediction_needs_the_same_memory_for_any_number_of_rows(tmp_path: Path) -> None:
    peaks = []
    for rows in (40, 400):
        (tmp_path / "in.csv").write_text("id,text\n" + ("7," + "word " * 20_000 + "\n") * rows)
        tracemalloc.start()
        assert predict(tmp_path / "in.csv", tmp_path / "out.csv") == rows
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + (1 << 20)  # the second file is 36 MB longer


def test_output_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    output = tmp_path / "out.csv"
    output.write_text("before")
    with pytest.raises(RuntimeError, match="stop"), open_rows(TINY / "reviews.csv") as rows:  # noqa: SIM117, PT012
        with rows.writer(output, ["p"]) as writer:
            writer.write(next(iter(rows)), ["1"])
            raise RuntimeError("stop")
    assert output.read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this platform has no named pipes")
def test_pipes_are_read_and_written_and_links_stay(tmp_path: Path) -> None:
    content = (TINY / "semicolon-cp1252.csv").read_bytes()
    for name in ("in", "out"):
        os.mkfifo(tmp_path / name)
    feeding = threading.Thread(target=(tmp_path / "in").write_bytes, args=(content,))
    found: list[bytes] = []
    reading = threading.Thread(target=lambda: found.append((tmp_path / "out").read_bytes()))
    feeding.start(), reading.start()
    assert predict(tmp_path / "in", tmp_path / "out") == 12
    feeding.join(), reading.join()
    (tmp_path / "link.csv").symlink_to(tmp_path / "file.csv")
    assert predict(TINY / "semicolon-cp1252.csv", tmp_path / "link.csv") == 12
    assert (tmp_path / "link.csv").is_symlink()
    assert found == [(tmp_path / "file.csv").read_bytes()]


def test_input_and_output_may_be_one_file(csv_file: Make) -> None:
    path = csv_file(b"text\na\n")
    predict(path, path)
    assert path.read_bytes() == b'text,label,p\na,l1,"0,5"""\n'


cell = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)


@given(
    table=st.lists(st.lists(cell, min_size=2, max_size=2), min_size=1, max_size=6),
    delimiter=st.sampled_from([",", ";", "\t"]),
    end=st.sampled_from(["\n", "\r\n"]),
    quoting=st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_whatever_a_program_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory,
    table: list[list[str]],
    delimiter: str,
    end: str,
    quoting: int,
    encoding: str,
) -> None:
    if quoting == csv.QUOTE_MINIMAL:
        # Before Python 3.13 the module leaves a carriage return without quotation marks, where it ends the row.
        table = [[field.replace("\r", " ") for field in row] for row in table]
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, lineterminator=end, quoting=quoting).writerows(
        [["id", "text"], *table]
    )
    source = tmp_path_factory.mktemp("table") / "in.csv"
    source.write_bytes(text.getvalue().encode(encoding))
    assert fields_of(open_rows(source, delimiter=delimiter)) == table
    output = source.with_name("out.csv")
    assert predict(source, output) == len(table)
    expected = [[*row, f"l{i}", '0,5"'] for i, row in enumerate(table, start=1)]
    assert fields_of(open_rows(output, delimiter=delimiter)) == expected


def test_encodings_are_told_apart() -> None:
    def found(content: bytes, wanted: str | None = None) -> str:
        return find_encoding(content, iter([content]), wanted)[0]

    assert found(b"") == "utf-8"
    assert found("naïve café".encode()) == "utf-8"
    assert found("naïve café".encode("cp1252")) == "cp1252"
    assert found(b"caf\xc3\xa9 \xc3\xa9 \xff") == "utf-8"
    assert found("text".encode("utf-32")) == "utf-32-le"
    assert found("\ufefftext".encode("utf-16-be")) == "utf-16-be"
    assert found("text".encode("utf-16-le")) == "utf-16-le"
    assert found("text".encode("utf-16"), "utf-16") == "utf-16-le"
    assert found("\ufefftext".encode(), "UTF8") == "utf-8"
    assert found(b"text", "latin-1") == "iso8859-1"
    halves = "é".encode()
    assert find_encoding(halves, iter([halves[:1], halves[1:]]))[0] == "utf-8"
    with pytest.raises(UsageError, match="There is no encoding 'utf-9'. Often used: utf-8, cp1252"):
        found(b"text", "utf-9")


def test_training_reads_columns_as_texts() -> None:
    examples = files.read(TINY / "reviews.csv", "text", "label", "film")
    assert len(examples) == 12
    assert examples.labels is not None
    assert set(examples.labels) == {"positive", "negative"}
    assert examples.groups is not None
    assert examples.groups[:3] == ["tt01", "tt01", "tt02"]
    assert examples.skipped == 0
    assert "separated by commas" in examples.note
    assert files.read(TINY / "reviews.csv", label_column="id").labels == [f"{i:03}" for i in range(7, 19)]
    folder = files.read(TINY / "reviews")
    assert folder.labels == ["negative"] * 3 + ["positive"] * 3
    taken = examples.take([2, 0])
    assert taken.groups == ["tt02", "tt01"]
    assert taken.texts[0].startswith("Great acting")


BAD_ROWS = [
    (b"text,label\na,1\nb\n", r"row 2 \(line 3\) has 1 fields, but the header names 2 columns"),
    (b"text,label\na,1\nb,2,3\n", r"row 2 \(line 3\) has 3 fields"),
    (b'text,label\n"a\n\nz",1\nb,\n', r"row 2 \(line 5\) has nothing in the column 'label'"),
    (b"text,label\na,1\n ,2\n", "has nothing in the column 'text'"),
    (b"text,label\na,1\nb\0,2\n", "holds a NUL character"),
    ("text,label\naéé,1\nb".encode() + b"\xff,2\n", r"holds bytes \(after its first 1\) that are not utf-8"),
    (b"text,label\n\xe9,1\n\x81,2\n", "that are not cp1252"),
]


@pytest.mark.parametrize(("content", "expected"), BAD_ROWS)
def test_training_stops_at_the_first_bad_row_or_counts_them(
    content: bytes, expected: str, csv_file: Make
) -> None:
    path = csv_file(content)
    with pytest.raises(
        DataError, match=f"in.csv, .*{expected}.*Correct it, or leave such rows out with --skip-bad"
    ):
        files.read(path, label_column="label")
    examples = files.read(path, label_column="label", skip_bad=True)
    assert examples.labels == ["1"]
    assert examples.skipped == 1


def test_bad_json_stops_or_is_counted_but_cannot_be_predicted(csv_file: Make, tmp_path: Path) -> None:
    path = csv_file(b'{"text": "a"}\n[1]\n{"text": \n', "in.jsonl")  # type: ignore[call-arg]
    with pytest.raises(DataError, match=r"row 2 \(line 2\) is no JSON object but \[1\]"):
        files.read(path)
    assert files.read(path, skip_bad=True).skipped == 2
    with pytest.raises(DataError, match="so that nothing can be added to it"):
        predict(path, tmp_path / "out.jsonl")
    with pytest.raises(DataError, match="line 1 is no JSON object"):
        open_rows(csv_file(b"[\n", "list.json"))  # type: ignore[call-arg]


FILES = [
    ("in.csv", b"", "in.csv is empty; expected a first line with the names of the columns"),
    ("in.csv", b"\n\n", "is empty"),
    ("in.csv", b"text,label\n", "holds no row that can be used"),
    ("in.jsonl", b"\n", "is empty; expected one JSON object a line"),
    ("in.csv", b"Text,label\na,1\n", r"no column 'text'. Did you mean 'Text'\? Its columns: Text, label"),
    ("in.csv", b"text,text\na,1\n", "2 columns called 'text'. Give them different names"),
    (
        "in.csv",
        b'text,label\na,1\n"b,2\nc,3\n',
        "quotation mark that opens a field in the last row is never closed",
    ),
    ("in.csv", "text\na\n".encode("utf-16")[:-1], "after line 2: bytes that are not utf-16-le|utf-16-le"),
    ("in.parquet", b"no", "is not a Parquet file"),
]


@pytest.mark.parametrize(("name", "content", "expected"), FILES)
def test_files_that_cannot_be_used_say_why(name: str, content: bytes, expected: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    with pytest.raises(DataError, match=expected):
        files.read(tmp_path / name, "text")


def test_what_was_asked_wrongly_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There is no file or folder nowhere.csv"):
        open_rows("nowhere.csv")
    with pytest.raises(DataError, match="holds no text. Expected files LABEL/NAME.txt"):
        open_rows(tmp_path)
    with pytest.raises(DataError, match="Say which one holds the texts: --text-column NAME"):
        files.read(TINY / "quotes.tsv", "text").texts and files.read(_renamed(tmp_path))
    with pytest.raises(UsageError, match="The delimiter is ',,'; it must be one character"):
        open_rows(TINY / "reviews.csv", delimiter=",,")
    with pytest.raises(UsageError, match="A delimiter stands in CSV and TSV tables"):
        open_rows(TINY / "reviews.jsonl", delimiter=",")
    with pytest.raises(UsageError, match="read as parquet, which has no encoding to choose"):
        open_rows(_renamed(tmp_path).rename(tmp_path / "x.parquet"), encoding="utf-8")
    with pytest.raises(UnknownNameError, match="no kind of table called 'excel'"):
        open_rows(TINY / "reviews.csv", kind="excel")
    wrong_end = (TINY / "reviews.csv", "out.jsonl", "another kind of table.*a name that ends in .csv or .tsv")
    no_letter = (
        TINY / "semicolon-cp1252.csv",
        "out.csv",
        "cannot be written in cp1252.*Convert that file to UTF-8",
    )
    for source, output, expected in (wrong_end, no_letter):
        with pytest.raises(UsageError, match=expected):
            predict(source, tmp_path / output, ("Привет", "p"))
    assert not (tmp_path / "out.csv").exists()


def _renamed(folder: Path) -> Path:
    path = folder / "two.csv"
    path.write_text("a,b\n1,2\n")
    return path


def test_parquet_is_not_read_from_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Stream(b"PAR1"))
    with pytest.raises(DataError, match="Parquet cannot be read from the standard input"):
        open_rows("-", kind="parquet")


def test_overrides_win(csv_file: Make) -> None:
    path = csv_file("a;b,text\n1;2,é\n".encode())
    with open_rows(path, delimiter=";") as rows:
        assert rows.columns == ["a", "b,text"]
    with open_rows(path, delimiter=",", encoding="latin-1") as rows:
        assert [row.fields for row in rows] == [["1;2", "Ã©"]]


def test_tsv_quotation_marks_are_text_unless_they_quote(csv_file: Make) -> None:
    assert [row[1] for row in fields_of(open_rows(TINY / "quotes.tsv"))] == [
        '"Wow" is all I can say', '"What a mess', "TV at its best",
    ]  # fmt: skip
    assert fields_of(open_rows(csv_file(b'a\ttext\n1\t"x\ty"\n'))) == [["1", "x\ty"]]


def test_a_path_wins_over_a_name_and_options_are_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(resolve(TINY / "reviews.csv", label_column="label").load("all")) == 12
    monkeypatch.chdir(tmp_path)
    Path("imdb").write_text('{"text": "mine"}')
    assert resolve("imdb").load("train").texts == ["mine"]
    with pytest.raises(
        DataError, match="no file, folder or dataset called 'imbd'. Did you mean 'imdb'.*Datasets: flickr8k, imdb"
    ):
        resolve("imbd")
    with pytest.raises(UsageError, match="has no option 'colour'. Known: path, text_column"):
        resolve("imdb", colour="red")


def test_labels_and_numbers_of_real_tweets(data_folder: Path) -> None:
    examples = files.read(data_folder / "tweets" / "train.csv", "text", "label", "source")
    assert examples.labels is not None
    names, counts = np.unique(examples.labels, return_counts=True)
    assert dict(zip(names.tolist(), counts.tolist(), strict=True)) == {
        "negative": 7411, "neutral": 21254, "positive": 18781,
    }  # fmt: skip
    with open(data_folder / "tweets" / "train.csv", encoding="utf-8", newline="") as file:
        assert [row["text"] for row in csv.DictReader(file)] == examples.texts


def test_real_json_escapes_survive(csv_file: Make, tmp_path: Path) -> None:
    path = csv_file(b'{"text": "caf\\u00e9 \\ud83d\\ude00"}\n', "in.jsonl")  # type: ignore[call-arg]
    predict(path, tmp_path / "out.jsonl")
    assert json.loads((tmp_path / "out.jsonl").read_text())["text"] == "café 😀"
