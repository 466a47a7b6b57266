"""What nobody should send and somebody will: each gets a clear answer or a clear error, and nothing gets a guess."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest

from unrolled import cli, load


@pytest.fixture(scope="module", params=["reviews-small", "general"])
def model(request):
    return load(request.param)


ODD = {
    "": "empty",
    " \t\r\n\u00a0": "empty",
    "\0\0\0": "empty",
    "... !!! ?": "empty",
    "2001 10 7": "empty",
    "<br /><br />": "empty",
    "http://example.org/good": "empty",
    "!" * 10_000_000: "empty",
    "a" * 10_000_000: "unknown_words",
    "\u2603" * 100_000: "unknown_words",
    "\U0001f9ff\U0001f9ff": "unknown_words",
    "Das ist ja gar nicht schlecht gewesen": "unknown_words",
    "\u042d\u0442\u043e \u043e\u0447\u0435\u043d\u044c \u0445\u043e\u0440\u043e\u0448\u043e": "unknown_words",
    "\ud800\udfff": "unknown_words",
    "<p>A <b>wonderful</b> film&nbsp;&amp; great songs.</p>": "ok",
    "\0A wonderful film\0": "ok",
}


@pytest.mark.parametrize("text", ODD, ids=lambda text: f"{len(text)} {text[:12]!a}")
def test_odd_texts_are_judged_or_say_why_not(model, text):
    (answer,) = model.predict([text])
    assert answer.status == ODD[text]
    assert (answer.label is None) == (answer.status != "ok")
    assert sum(answer.probabilities.values()) == pytest.approx(1)
    if answer.label is None:
        assert set(answer.probabilities.values()) == {1 / len(model.labels)}


def test_a_text_of_a_megabyte_is_read_whole(model):
    """A million letters after a long beginning still change the answer."""
    begin = "the film is about a town . " * 40_000
    plain, bad = model.probabilities([begin, begin + "awful , terrible , dull . " * 4_000])
    assert bad[0] > plain[0] + 0.05


def test_odd_texts_change_nothing_for_their_neighbours(model):
    alone = model.probabilities(["A wonderful film."])
    among = model.probabilities([*ODD, "A wonderful film."])
    np.testing.assert_array_equal(among[-1], alone[0])


def test_odd_rows_come_back_where_they_stood(tmp_path, capsys):
    rows = [
        b"good film",
        b"",
        b"caf\xe9 \xff\xfe",
        b"\0nul",
        b'"two\nlines, good"',
        "\U0001f9ff".encode(),
        b"<b>good</b> film",
    ]
    many = b"".join(
        b"a quiet caf\xc3\xa9\n" for _ in range(20)
    )  # so that the file is UTF-8 with a broken row in it
    (tmp_path / "odd.csv").write_bytes(
        b"text,n\n" + b"".join(row + b",1\n" for row in rows) + many.replace(b"\n", b",1\n")
    )
    assert (
        cli.run(
            ["predict", str(tmp_path / "odd.csv"), "-o", str(tmp_path / "out.csv"), "--text-column", "text"]
        )
        == 0
    )
    said = capsys.readouterr().err
    written = (tmp_path / "out.csv").read_bytes()
    assert all(row in written for row in rows)
    answers = list(csv.reader(io.StringIO(written.decode("utf-8", "replace").replace("\0", ""))))
    head, *found = answers
    status = [row[head.index("status")] for row in found[: len(rows)]]
    assert status == ["ok", "empty", "invalid", "invalid", "ok", "unknown_words", "ok"]
    assert "2 of them are not as they should be; the first:" in said
    assert "status: ok 23, invalid 2, empty 1, unknown_words 1" in said


@pytest.mark.parametrize(
    ("content", "arguments", "sentence"),
    [
        (
            "text,text\na,b\n",
            ["--text-column", "text"],
            "has 2 columns called 'text'. Give them different names.",
        ),
        ("a,b\nx,y\n", [], "has the columns a, b. Say which one holds the texts: --text-column NAME."),
        ("", [], "is empty; expected a first line with the names of the columns."),
        ('text,n\n"never closed,1\n', [], "a quotation mark that opens a field in the last row is never closed."),
    ],
)
def test_odd_tables_are_refused_with_a_sentence(tmp_path, capsys, content, arguments, sentence):
    (tmp_path / "odd.csv").write_text(content, encoding="utf-8")
    assert cli.run(["predict", str(tmp_path / "odd.csv"), "-o", str(tmp_path / "out.csv"), *arguments]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out.csv").exists()


def test_one_class_cannot_be_trained(tmp_path, capsys):
    pytest.importorskip("torch", reason="torch is not installed (extra 'train')")
    (tmp_path / "one.csv").write_text("text,label\ngood film,fine\nbad film,fine\n", encoding="utf-8")
    arguments = ["train", "sentiment", str(tmp_path / "one.csv"), "--label-column", "label"]
    assert cli.run([*arguments, "-o", str(tmp_path / "run")]) == 2
    assert (
        "Every example has the same label, ['fine']; a classifier needs at least two."
        in capsys.readouterr().err
    )


def test_cells_that_hold_nothing_are_empty(tmp_path):
    arrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra 'parquet')")
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed (extra 'parquet')")
    parquet.write_table(arrow.table({"text": ["good film", None, ""]}), tmp_path / "t.parquet")
    assert cli.run(["predict", str(tmp_path / "t.parquet"), "-o", str(tmp_path / "out.parquet")]) == 0
    assert parquet.read_table(tmp_path / "out.parquet")["status"].to_pylist() == ["ok", "empty", "empty"]


def test_a_workbook_is_answered_measured_and_written(tmp_path, capsys):
    openpyxl = pytest.importorskip("openpyxl", reason="openpyxl is not installed (extra 'xlsx')")
    book = openpyxl.Workbook()
    for row in (["id", "text", "label"], ["007", "a wonderful film", "positive"], ["008", "dull", "negative"]):
        book.active.append(row)
    book.save(tmp_path / "t.xlsx")
    assert cli.run(["predict", str(tmp_path / "t.xlsx"), "-o", str(tmp_path / "out.xlsx")]) == 0
    rows = list(openpyxl.load_workbook(tmp_path / "out.xlsx").active.values)
    assert [row[:4] for row in rows] == [
        ("id", "text", "label", "sentiment"),
        ("007", "a wonderful film", "positive", "positive"),
        ("008", "dull", "negative", "negative"),
    ]
    assert cli.run(["sentiment", str(tmp_path / "t.xlsx"), "--words", "0"]) == 0
    assert cli.run(["evaluate", str(tmp_path / "t.xlsx"), "--label-column", "label", "--json"]) == 0
    assert '"accuracy": 1.0' in capsys.readouterr().out
