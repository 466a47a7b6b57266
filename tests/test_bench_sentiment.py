"""`bench sentiment` at a tiny size: both sides answer the same texts, and its numbers have the promised names."""

from __future__ import annotations

import json
import sys

import pytest

from unrolled import cli
from unrolled.bench import sentiment

FAKE = """
def train_supervised(file, **options):
    assert options["dim"] == 10 and options["wordNgrams"] == 2
    lines = open(file, encoding="utf-8").read().splitlines()
    assert all(line.startswith("__label__") for line in lines)
    return Model()
def load_model(file):
    return Model()
class Model:
    def save_model(self, file):
        open(file, "w").close()
    def predict(self, texts):
        assert all(text == text.lower() for text in texts)
        return [["__label__positive"] for text in texts], None
"""


@pytest.fixture
def peer(tmp_path, monkeypatch):
    """The python of an environment whose package `fasttext` answers "positive"."""
    (tmp_path / "fasttext.py").write_text(FAKE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return sys.executable


def test_it_prints_what_is_promised(peer, capsys, monkeypatch):
    monkeypatch.setattr(sentiment, "load", lambda: 99.0)
    arguments = ["bench", "sentiment", "--generated", "--peer-python", peer, "--rounds", "1"]
    assert cli.run([*arguments, "--json"]) == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert set(found) == {"texts_per_s", "accuracy", "ratio", "ratio_small", "machine"}
    speed = found["texts_per_s"]
    assert set(speed) == {"unrolled", "unrolled_small", "fasttext", "fasttext_processes"}
    assert found["ratio_small"] == pytest.approx(speed["unrolled_small"] / speed["fasttext"])
    assert found["ratio"] == pytest.approx(speed["unrolled"] / speed["fasttext"])
    assert found["accuracy"]["fasttext"] == found["accuracy"]["fasttext_processes"] == 0.5
    assert "Other programs were running (load 99.0): do not quote these ratios." in said.err


def test_without_a_peer_only_we_are_measured(capsys):
    assert cli.run(["bench", "sentiment", "--generated", "--rounds", "1", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == {"texts_per_s", "accuracy", "machine"}
