"""TextClassifier keeps scikit-learn's contract, and what it learns is a model like any other."""

from __future__ import annotations

import csv
import pickle
import string

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed (extra 'train')")
pytest.importorskip("sklearn", reason="scikit-learn is not installed (extra 'sklearn')")

from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.validation import validate_data

from unrolled import TextClassifier, load
from unrolled.errors import DataError, UsageError


class Numbers(TextClassifier):
    """Each number of a row as a word of its column and of its place between -4 and 4, so that numeric checks apply."""

    def _texts(self, X, *, fitting):
        X = validate_data(self, X, reset=fitting, dtype=np.float64)
        level = np.clip(np.floor(4 * np.clip(X, -3, 3)) + 13, 0, 25).astype(int)
        columns = [
            string.ascii_lowercase[i // 26 % 26] + string.ascii_lowercase[i % 26] for i in range(X.shape[1])
        ]
        return [
            " ".join(f"{column}{string.ascii_lowercase[k]}" for column, k in zip(columns, row, strict=True))
            for row in level.tolist()
        ]


EXPECTED: dict[str, str] = {}
"""Checks that fail, each with its reason: none does."""


@parametrize_with_checks([Numbers(start="", epochs=10)], expected_failed_checks=lambda estimator: EXPECTED)
@pytest.mark.filterwarnings("ignore")
def test_the_contract_of_scikit_learn(estimator, check):
    check(estimator)


GOOD = ["a lovely film", "lovely and warm", "quiet and lovely", "warm songs", "a warm film"]
BAD = ["a dull film", "dull and cold", "loud and dull", "cold songs", "a cold film"]
TEXTS = [f"{text} {end}" for text in (*GOOD, *BAD) for end in ("indeed", "again", "and so on", "of his")]
CLASSES = np.repeat(["good", "bad"], len(TEXTS) // 2)
SMALL = {"start": "", "epochs": 12}


@pytest.fixture(scope="module")
def fitted():
    return TextClassifier(**SMALL).fit(TEXTS, CLASSES)


def test_columns_are_the_classes_and_the_bundle_says_the_same(fitted, tmp_path):
    p = fitted.predict_proba(["lovely and quiet", "cold and loud"])
    assert fitted.classes_.tolist() == ["bad", "good"]
    assert fitted.predict(["lovely and quiet", "cold and loud"]).tolist() == ["good", "bad"]
    np.testing.assert_allclose(p.sum(1), 1)
    kept = load(fitted.bundle_.save(tmp_path / "kept"))
    answers = kept.predict(["lovely and quiet", "cold and loud"])
    np.testing.assert_allclose([answer.probabilities["good"] for answer in answers], p[:, 1], atol=1e-12)


def test_clone_pickle_and_the_same_seed_give_the_same_answers(fitted):
    p = fitted.predict_proba(TEXTS)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).predict_proba(TEXTS), p)
    np.testing.assert_array_equal(clone(fitted).fit(TEXTS, CLASSES).predict_proba(TEXTS), p)
    assert (clone(fitted).set_params(random_state=5).fit(TEXTS, CLASSES).predict_proba(TEXTS) != p).any()


def test_cross_validation_search_and_pipelines_work():
    shout = make_pipeline(
        FunctionTransformer(lambda texts: [text.upper() for text in texts]), TextClassifier(**SMALL)
    )
    assert cross_val_score(shout, TEXTS, CLASSES, cv=2).mean() > 0.9
    found = GridSearchCV(TextClassifier(**SMALL), {"ngrams": [True, False]}, cv=2).fit(TEXTS, CLASSES)
    assert set(found.best_params_) == {"ngrams"}
    assert found.predict(["a lovely warm film"]).tolist() == ["good"]


def test_classes_may_be_numbers_and_more_than_two(fitted):
    y = np.tile([5, 30, 7, 7], 10)
    texts = np.array([{5: "red rose", 30: "blue sea", 7: "green hill"}[k] + " and more" for k in y.tolist()])
    model = TextClassifier(**SMALL).fit(texts, y)
    assert model.classes_.tolist() == [5, 7, 30]
    assert model.predict(["the blue sea", "a green hill", "one red rose"]).tolist() == [30, 7, 5]


@pytest.mark.parametrize(
    ("change", "x", "y", "error", "said"),
    [
        (
            {},
            ["good", None],
            [0, 1],
            DataError,
            "Text number 1 is None, not a text; expected one string a row.",
        ),
        ({}, ["good", float("nan")], [0, 1], DataError, "Text number 1 is nan, not a text"),
        ({}, "good", [1], DataError, "X is one text; expected a list of texts. Put it into a list: [text]."),
        (
            {},
            ["good", "bad"],
            [1, 1],
            DataError,
            "y holds one class alone, '1'; a classifier needs at least two.",
        ),
        (
            {},
            ["good", "bad"],
            [0, 1, 1],
            DataError,
            "There are 2 texts, but 3 classes; expected one for each text.",
        ),
        (
            {"preset": "quick"},
            ["a", "b"],
            [0, 1],
            UsageError,
            "preset is 'quick'; it must be one of own, fast.",
        ),
    ],
)
def test_what_cannot_be_learned_from_is_said(change, x, y, error, said):
    with pytest.raises(error) as caught:
        TextClassifier(**change).fit(x, y)
    assert said in str(caught.value)


def test_without_scikit_learn_the_package_says_how_to_install_it(run_python):
    source = """
import sys
sys.modules["sklearn"] = None
try:
    from unrolled import TextClassifier
except ImportError as error:
    print(error)
"""
    assert 'pip install "unrolled[sklearn]"' in run_python(source).stdout


@pytest.mark.parametrize("labels", [("negative", "positive"), ("negative", "neutral", "positive")])
def test_few_real_texts_begin_at_the_model_of_the_package(data_folder, labels):
    """300 tweets: what begins at `general` answers far better than what begins at nothing."""
    with open(data_folder / "tweets" / "train.csv", encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["label"] in labels][:300]
    model = TextClassifier(epochs=5).fit([row["text"] for row in rows], [row["label"] for row in rows])
    by_name = {row.name: row for row in model.tried_}
    assert model.tried_[-1].name.startswith("net from general")
    assert by_name["net from general"].log_loss < by_name["net"].log_loss - 0.1
