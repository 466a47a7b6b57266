"""Answers for the rows of a file: columns, undecided rows, collisions, the page; and the account of one answer."""

import json
import re
from html.parser import HTMLParser

import pytest

from test_sentiment_steps import make
from unrolled.cli import run as unrolled_run


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(make(("negative", "neutral", "positive")).save(tmp_path_factory.mktemp("models") / "steps"))


@pytest.fixture
def run(capsys):
    def run(*arguments):
        status = unrolled_run([str(argument) for argument in arguments])
        return status, *capsys.readouterr()

    return run


class Page(HTMLParser):
    """The text of a page; anything that asks the outside for something is an error."""

    def __init__(self, path):
        super().__init__()
        self.said = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        assert tag not in ("script", "link", "img", "iframe")
        assert not [value for name, value in attributes if name in ("src", "href")]

    def handle_data(self, data):
        self.said += data + "\n"


ROWS = "id,text,shop\n007,good good film,a\n008,bad film,b\n009,,a\n010,das ist nichts gutes,b\n011,the film,a\n"


def test_a_file_gets_sentiment_score_probabilities_and_status(run, model, tmp_path):
    (tmp_path / "in.csv").write_text(ROWS)
    status, _, err = run("predict", tmp_path / "in.csv", "-o", tmp_path / "out.csv", "-m", model)
    assert status == 0
    head, *rows = [line.split(",") for line in (tmp_path / "out.csv").read_text().splitlines()]
    names = ["sentiment", "score", "confidence", "p_negative", "p_neutral", "p_positive", "status"]
    assert head == ["id", "text", "shop", *names]
    assert [row[0] for row in rows] == ["007", "008", "009", "010", "011"]
    assert [row[-1] for row in rows] == ["ok", "ok", "empty", "unknown_words", "ok"]
    for row in rows:
        negative, neutral, positive = map(float, row[6:9])
        assert negative + neutral + positive == pytest.approx(1, abs=2e-4)
        assert float(row[4]) == pytest.approx(positive - negative, abs=2e-4)
        assert (row[3] == "") == (row[-1] != "ok")
        if row[3]:
            assert float(row[5]) == max(negative, neutral, positive) == float(row[names.index(f"p_{row[3]}") + 3])
    assert "status: ok 3, empty 1, unknown_words 1" in err


def test_answers_below_the_least_confidence_are_undecided(run, model, tmp_path):
    (tmp_path / "in.csv").write_text(ROWS)
    run("predict", tmp_path / "in.csv", "-o", tmp_path / "out.csv", "-m", model, "--min-confidence", "0.999999")
    rows = [line.split(",") for line in (tmp_path / "out.csv").read_text().splitlines()[1:]]
    assert [row[-1] for row in rows] == ["undecided", "undecided", "empty", "unknown_words", "undecided"]
    assert all(row[3] == "" for row in rows)
    status, _, err = run("predict", tmp_path / "in.csv", "-o", "-", "-m", model, "--min-confidence", "1.5")
    assert status == 2
    assert "--min-confidence is 1.5; it must be between 0 and 1." in err


def test_a_name_that_the_table_has_is_refused_unless_prefixed(run, model, tmp_path):
    (tmp_path / "in.csv").write_text("text,status\ngood,x\n")
    status, _, err = run("predict", tmp_path / "in.csv", "-o", tmp_path / "out.csv", "-m", model)
    assert status == 2
    assert "has a column 'status' already. Give the new columns other names: --prefix unrolled_" in err
    assert not (tmp_path / "out.csv").exists()
    status, *_ = run("predict", tmp_path / "in.csv", "-o", tmp_path / "out.csv", "-m", model, "--prefix", "u_")
    assert status == 0
    assert (tmp_path / "out.csv").read_text().startswith("text,status,u_sentiment,u_score,")


def test_bytes_that_are_no_text_are_invalid(run, model, tmp_path):
    (tmp_path / "in.csv").write_bytes(b"n,text\n1,good \xff\xfe film\n2,a\0b good\n3,good film\n")
    status, _, err = run("predict", tmp_path / "in.csv", "-o", tmp_path / "out.csv", "-m", model, "--encoding", "utf-8")
    assert status == 0
    rows = (tmp_path / "out.csv").read_bytes().splitlines()[1:]
    assert [row.rsplit(b",", 1)[1] for row in rows] == [b"invalid", b"invalid", b"ok"]
    assert b"good \xff\xfe film" in rows[0]
    assert "status: invalid 2, ok 1" in err


def test_the_page_counts_compares_and_shows(run, model, tmp_path):
    rows = "".join(f"{i},not good,<b>\n{i},the bad film!,b & c\n" for i in range(30))
    (tmp_path / "in.csv").write_text("id,text,shop\n" + rows)
    status, _, err = run("predict", tmp_path / "in.csv", "-o", tmp_path / "out.csv", "-m", model,
                         "--report", tmp_path / "out.html", "--by", "shop")  # fmt: skip
    assert (status, "report: " in err) == (0, True)
    said = Page(tmp_path / "out.html").said
    assert "60 answers" in said
    labels = {line.split(",")[3] for line in (tmp_path / "out.csv").read_text().splitlines()[1:]}
    assert len(labels) == 2  # otherwise there is nothing to tell apart
    assert re.search(r"\n30\n50\.0%\n37\.7% to 62\.3%", said)
    assert "By shop" in said
    assert "b & c\n30\n" in said
    assert re.search(r"\nphrase\n.*\nthe bad\n30\n30\n", said, re.DOTALL)
    assert re.search(r"\nword\n.*\ngood\n30\n30\n", said, re.DOTALL)
    assert "\n<b>\n30\n" in said
    status, _, err = run("predict", tmp_path / "in.csv", "-o", "-", "-m", model, "--by", "shop")
    assert (status, "--by compares values on a page" in err) == (2, True)


def test_an_account_says_what_its_numbers_leave(run, model, tmp_path):
    text = "The film \u2014 not good!"
    status, out, _ = run("explain", text, "-m", model, "--json", "--html", tmp_path / "why.html")
    found = json.loads(out)
    assert status == 0
    assert [text[w["start"] : w["end"]] for w in found["influences"]] == ["The", "film", "not", "good"]
    total = sum(word["contribution"] for word in found["influences"])
    assert found["log_odds"] == pytest.approx(found["base"] + total + found["rest"])
    assert "occlusion" in found["method"]
    assert len(found["reading"]) == 6
    assert "not explained" not in Page(tmp_path / "why.html").said
    status, out, _ = run("explain", text, "-m", model)
    assert f"not explained {found['rest']:+.2f}" in out
    assert run("explain", "\U0001f600", "-m", model)[1] == "no answer: unknown_words\n"
