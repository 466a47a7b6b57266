"""The page at the end of a training on somebody's own texts: how good, where, how sure, and which mistakes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from .. import metrics
from ..drawing import line_plot
from ..evaluate import Evaluation
from . import html

LENGTHS = (0, 10, 30, 100, 300)
"""Words from which on a text stands in the next slice by length."""
NEGATION = re.compile(
    r"\b(?:not?|never|nothing|nobody|nowhere|neither|nor|without|hardly|cannot)\b|n['\u2019]t\b",
    re.IGNORECASE,
)
MISTAKES = 20


def page(
    path: Path, name: str, found: Evaluation, texts: Sequence[str], candidates: Sequence[Sequence[object]]
) -> Path:
    """Write the page; returns `path`.

    Args:
        path: where to.
        name: of the model.
        found: truth and answers of texts that were held out.
        texts: those texts, in the same order.
        candidates: rows of name, accuracy, macro F1 and log-loss; the chosen one last.
    """
    shown = f"{found.n:,} texts, each answered by a model that was not shown it."
    said = f"{shown} Intervals are 95% (Wilson; of macro figures by bootstrap)."
    sections = [
        ("", [html.paragraph(said), _figures(found)]),
        ("What was tried", [_candidates(candidates)]),
        ("Confusion matrix", [_confusion(found)]),
        ("By class", [_classes(found)]),
        ("By length and negation", [_slices(found, texts)]),
        (
            "Confidence",
            [html.paragraph(f"Calibration error {found.figures['ece']:.1%}."), _reliability(found)],
        ),
        ("The most confident mistakes", [_mistakes(found, texts)]),
    ]
    return html.write(path, name, sections)


def _figures(found: Evaluation) -> html.Markup:
    names = ("accuracy", "macro_f1", "macro_recall", "roc_auc", "ece", "log_loss")
    rows = [
        (name, f"{found.figures[name]:.4f}", _interval(found, name))
        for name in names
        if name in found.figures
    ]
    return html.table(("figure", "value", "95% interval"), rows)


def _interval(found: Evaluation, name: str) -> str:
    low, high = found.intervals.get(name, (np.nan, np.nan))
    return f"{low:.4f} to {high:.4f}" if np.isfinite(low) else ""


def _candidates(rows: Sequence[Sequence[object]]) -> html.Markup:
    shown = [(name, *(f"{value:.4f}" for value in figures)) for name, *figures in rows[:-1]]
    name, *figures = rows[-1]
    shown.append((f"chosen: {name}", *(f"{value:.4f}" for value in figures)))
    return html.table(("candidate", "accuracy", "macro F1", "log-loss"), shown)


def _confusion(found: Evaluation) -> html.Markup:
    rows = [(label, *row) for label, row in zip(found.labels, found.confusion.tolist(), strict=True)]
    return html.table(("true, predicted:", *found.labels), rows)


def _classes(found: Evaluation) -> html.Markup:
    rows = []
    for k, label in enumerate(found.labels):
        figures = [f"{found.figures[f'{name}_{label}']:.4f}" for name in ("precision", "recall", "f1")]
        rows.append((label, int(found.confusion[k].sum()), *figures, _interval(found, f"f1_{label}")))
    return html.table(("class", "texts", "precision", "recall", "F1", "95% of F1"), rows)


def _slices(found: Evaluation, texts: Sequence[str]) -> html.Markup:
    rows = []
    right = found.probabilities.argmax(1) == found.truth
    for name, chosen in slices(texts):
        if n := int(chosen.sum()):
            low, high = metrics.wilson_interval(int(right[chosen].sum()), n)
            rows.append((name, n, f"{right[chosen].mean():.1%}", f"{low:.1%} to {high:.1%}"))
    return html.table(("texts", "how many", "accuracy", "95% interval"), rows)


def slices(texts: Sequence[str]) -> Iterator[tuple[str, np.ndarray]]:
    """Parts of the texts by name, as masks (N,): by number of words, with and without a negation."""
    words = np.array([len(text.split()) for text in texts])
    for low, high in zip(LENGTHS, (*LENGTHS[1:], None), strict=True):
        name = f"{low} words or more" if high is None else f"{low} to {high - 1} words"
        yield name, (words >= low) & (words < (high or np.inf))
    negated = np.array([bool(NEGATION.search(text)) for text in texts], bool)
    yield "with a negation", negated
    yield "without one", ~negated


def _reliability(found: Evaluation) -> html.Markup:
    confidence, right, _ = found.reliability
    low = min(float(confidence.min()), float(right.min()))
    ends = np.array([low, 1.0])
    lines = {"this model": (confidence, right), "as sure as right": (ends, ends)}
    title = "Share right by confidence, bins of equal count"
    return html.Markup(line_plot(lines, title=title, x_label="mean confidence", y_label="share right").svg())


def _mistakes(found: Evaluation, texts: Sequence[str]) -> html.Markup:
    said = found.probabilities.argmax(1)
    wrong = np.flatnonzero(said != found.truth)
    worst = wrong[np.argsort(-found.probabilities[wrong].max(1), kind="stable")][:MISTAKES]
    rows = []
    for i in worst.tolist():
        text = " ".join(texts[i].split())
        shown = text if len(text) <= 300 else f"{text[:297]}..."
        rows.append(
            (
                shown,
                found.labels[found.truth[i]],
                found.labels[said[i]],
                f"{found.probabilities[i].max():.1%}",
            )
        )
    return html.table(("text", "label", "answer", "confidence"), rows)
