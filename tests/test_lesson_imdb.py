"""The lesson on movie reviews: its whole way on a handful of reviews, its figures on the real ones."""

from __future__ import annotations

import io
import json
import os
import re
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="torch is not installed (extra 'train')")

from unrolled.datasets import imdb
from unrolled.lessons import ClaimError, Narrator, find
from unrolled.lessons import imdb as lesson

GOLDEN = Path(__file__).parent / "golden" / "keras"
TINY = Path(__file__).parent / "tiny" / "aclImdb"
SMALL = {"num_words": 60, "maxlen": 12, "dimension": 8, "units": 6, "epochs": 3, "batch_size": 4}


def told(folder: Path, **options) -> tuple[str, dict, Narrator]:
    out = io.StringIO()
    narrator = Narrator(stream=out, folder=folder)
    return out, find("imdb")(**options).run(narrator), narrator


def test_its_whole_way_on_a_handful_of_reviews(tmp_path, monkeypatch):
    monkeypatch.setenv("UNROLLED_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(imdb, "COUNTS", {"train": 4, "test": 4, "unsupervised": 3})
    out, figures, narrator = told(tmp_path, data=str(TINY), **SMALL)
    text = out.getvalue()
    assert figures["parameters"] == 60 * 8 + (6 * 8 + 6 * 6 + 6) + 7
    assert "480 + 90 + 7 = 577 parameters" in text
    assert "x_train (4,), x_test (4,)" in text
    assert text.count("epoch ") >= 3
    assert narrator.claims == text.count("[ok]") == 5
    assert "NOT SO" not in text
    assert re.search(r"best epoch +[0-9.]+ +85.46 86.20 84.92 81.78 85.89 +84.85\n", text)
    assert re.search(r"last epoch +[0-9.]+ +84.51 81.16 84.07 78.70 85.89 +82.87\n", text)
    assert sorted(path.name for path in tmp_path.glob("*.svg")) == [
        "imdb-confusion.svg",
        "imdb-history.svg",
        "imdb-reading.svg",
    ]


def test_a_claim_that_does_not_hold_stops_it(tmp_path):
    with pytest.raises(ClaimError, match="The text says: two. But this run shows: three"):
        Narrator(stream=io.StringIO(), folder=tmp_path).claim("two", "three", False)


def test_keras_figures_are_those_that_were_recorded():
    recorded = json.loads((GOLDEN / "accuracies-jax.json").read_text(encoding="utf-8"))
    runs = recorded["runs"]
    assert [run["seed"] for run in runs] == [0, 1, 2, 3, 4]
    assert recorded["certificate"]["versions"]["keras"].startswith("3.15")
    assert [round(100 * run["best"], 2) for run in runs] == list(lesson.KERAS_BEST)
    assert [round(100 * run["last"], 2) for run in runs] == list(lesson.KERAS_LAST)


@pytest.mark.skipif(
    not (Path(os.environ.get("UNROLLED_DATA", "")) / "imdb").is_dir(),
    reason="the reviews are not here: set UNROLLED_DATA to the folder that holds imdb/",
)
def test_on_the_real_reviews(tmp_path):
    out, figures, _ = told(tmp_path)
    text = out.getvalue()
    assert figures["parameters"] == 643_137
    # One seed may miss the text's 83.25%, which the mean over seeds passes: the lesson itself claims 80%.
    assert figures["test_accuracy"] > 0.8
    assert "8.4% are longer than 500" in text
    assert "640,000 + 3,104 + 33" in text
    assert "<start>  this  film  was  just  brilliant" in text
