"""Evaluation of a real, tiny model, its figures against scikit-learn's and its pictures on disk."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tiny_model import tiny_bundle
from unrolled import metrics, report
from unrolled.datasets import Examples
from unrolled.errors import DataError, UsageError
from unrolled.evaluate import Evaluation, evaluate

TEXTS = [
    "good film",
    "great",
    "bad film",
    "awful bad good",
    "fine bad",
    "",
    "never seen",
    "good awful",
    "great bad fine",
]
LABELS = [
    "positive",
    "positive",
    "negative",
    "negative",
    "positive",
    "negative",
    "positive",
    "negative",
    "positive",
]


@pytest.fixture
def found() -> Evaluation:
    return evaluate(tiny_bundle(), Examples(TEXTS, LABELS), batch_size=2)


def three_classes(n: int = 240) -> Evaluation:
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 3, n)
    p = rng.dirichlet([1, 1, 1], n) + 0.6 * np.eye(3)[truth]
    return Evaluation(("bad", "so so", "good"), truth, p / p.sum(axis=1, keepdims=True), 0)


def test_every_example_is_answered_as_predict_answers_it(found):
    bundle = tiny_bundle()
    np.testing.assert_array_equal(found.probabilities, bundle.probabilities(TEXTS))
    assert [found.labels[i] for i in found.truth] == LABELS
    assert (found.n, found.undecided) == (len(TEXTS), 2)


def test_figures_equal_scikit_learns():
    sk = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed (extra 'sklearn')")
    found = three_classes()
    t, p = found.truth, found.probabilities
    said = p.argmax(axis=1)
    theirs = {
        "accuracy": sk.accuracy_score(t, said),
        "macro_f1": sk.f1_score(t, said, average="macro"),
        "macro_recall": sk.balanced_accuracy_score(t, said),
        "f1_so so": sk.f1_score(t, said, average=None)[1],
        "roc_auc": sk.roc_auc_score(t, p, multi_class="ovr"),
        "log_loss": sk.log_loss(t, p),
    }
    assert {name: found.figures[name] for name in theirs} == pytest.approx(theirs, rel=1e-12)


def test_two_classes_take_the_second_label_as_the_positive_one(found):
    positive = np.array(LABELS) == "positive"
    assert found.figures["roc_auc"] == metrics.roc_auc(positive, found.probabilities[:, 1])
    assert found.figures["roc_auc"] > 0.5


def test_the_dictionary_is_flat_and_holds_n_intervals_and_counts(found):
    flat = json.loads(json.dumps(found.to_dict()))
    assert flat["n"] == 9
    assert flat["undecided"] == 2
    counts = [flat[f"count_{t}_as_{p}"] for t in found.labels for p in found.labels]
    np.testing.assert_array_equal(np.reshape(counts, (2, 2)), found.confusion)
    assert sum(counts) == 9
    assert all(type(value) in (int, float) for value in flat.values())
    for name in ("accuracy", "macro_f1", "macro_recall", "f1_negative", "f1_positive", "roc_auc"):
        assert 0 <= flat[f"{name}_low"] <= flat[name] <= flat[f"{name}_high"] <= 1, name
    assert (flat["accuracy_low"], flat["accuracy_high"]) == metrics.wilson_interval(
        round(9 * flat["accuracy"]), 9
    )


def test_the_interval_of_f1_is_that_of_the_share_it_follows_from():
    found = three_classes()
    counts = found.confusion
    right, union = counts[1, 1], counts[1].sum() + counts[:, 1].sum() - counts[1, 1]
    ends = [2 * share / (1 + share) for share in metrics.wilson_interval(right, union)]
    assert found.intervals["f1_so so"] == pytest.approx(ends)
    assert found.figures["f1_so so"] == pytest.approx(2 * right / (union + right))
    assert ends[0] < found.figures["f1_so so"] < ends[1]
    assert found.intervals["recall_so so"] == metrics.wilson_interval(right, counts[1].sum())
    assert found.intervals["precision_so so"] == metrics.wilson_interval(right, counts[:, 1].sum())


def test_a_perfect_answer_on_few_examples_is_not_certain():
    found = Evaluation(("a", "b"), np.array([0, 0, 1, 1]), np.array([[0.9, 0.1]] * 2 + [[0.2, 0.8]] * 2))
    for name in ("accuracy", "recall_a", "precision_b", "f1_a"):
        low, high = found.intervals[name]
        assert low < 0.75, name
        assert high == 1


def test_the_bootstrap_covers_what_resampling_examples_gives():
    found = three_classes()
    rng = np.random.default_rng(11)
    said, resampled = found.probabilities.argmax(axis=1), []
    for _ in range(600):
        rows = rng.integers(0, found.n, found.n)
        resampled.append(
            metrics.precision_recall_f1(metrics.confusion_matrix(found.truth[rows], said[rows], 3))[2].mean()
        )
    assert found.intervals["macro_f1"] == pytest.approx(np.percentile(resampled, [2.5, 97.5]), abs=0.015)


def test_a_class_that_is_missing_leaves_the_roc_figures_out():
    found = evaluate(tiny_bundle(), Examples(["good", "bad"], ["positive", "positive"]))
    assert not [name for name in found.to_dict() if name.startswith("roc_auc")]
    assert found.figures["accuracy"] == 0.5


def test_progress_reaches_the_end():
    seen: list[tuple[int, int]] = []
    evaluate(
        tiny_bundle(), Examples(TEXTS, LABELS), batch_size=4, on_batch=lambda done, n: seen.append((done, n))
    )
    assert seen == [(4, 9), (8, 9), (9, 9)]


def test_examples_that_cannot_be_compared():
    with pytest.raises(
        DataError, match="have no labels, so nothing can be compared. Name their column: --label-column NAME."
    ):
        evaluate(tiny_bundle(), Examples(["good"]))
    with pytest.raises(DataError, match="There are no examples to evaluate on"):
        evaluate(tiny_bundle(), Examples([], []))
    with pytest.raises(
        DataError, match="The label 'meh' does not occur in training. Known: negative, positive"
    ):
        evaluate(tiny_bundle(), Examples(["good"], ["meh"]))


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_pictures_are_written_and_say_what_they_show(tmp_path, ending):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra 'plot')")
    found = three_classes()
    rows = [
        {"epoch": e, "loss": 1 / e, "accuracy": 0.5, "val_loss": 1.0, "val_accuracy": 0.4} for e in (1, 2, 3)
    ]
    files = [
        report.confusion_matrix(tmp_path / "new" / f"c.{ending}", found.confusion, found.labels),
        report.reliability(tmp_path / f"r.{ending}", found.reliability),
        report.history(tmp_path / f"h.{ending}", rows),
    ]
    beginning = b"\x89PNG" if ending == "png" else b"<?xml"
    assert [file.read_bytes()[: len(beginning)] for file in files] == [beginning] * 3
    if ending == "svg":  # matplotlib draws text as shapes and names each in a comment
        words = (
            ["predicted", "so so", "n = 240"],
            ["mean confidence", "share right"],
            ["validation", "epoch", "loss"],
        )
        for file, expected in zip(files, words, strict=True):
            assert [word for word in expected if word not in file.read_text(encoding="utf-8")] == []


def test_pictures_refuse_what_they_cannot_draw(tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra 'plot')")
    with pytest.raises(UsageError, match="'a.jpg' names no kind of picture; end it in .png, .svg or .pdf."):
        report.reliability(tmp_path / "a.jpg", three_classes().reliability)
    with pytest.raises(UsageError, match="The history is empty; there is no epoch to show."):
        report.history(tmp_path / "a.png", [])
