"""How good a trained classifier is on labelled texts, with counts and 95% intervals.

evaluate(unrolled.load("reviews"), examples).to_dict()
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from . import metrics
from .bundle import Bundle
from .datasets import Examples
from .errors import DataError

Interval = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Truth and answers for N examples of K classes; every figure follows from them.

    A text that cannot be judged (empty, or without a known word) counts with what the network says all the same:
    a classifier may not choose its questions.

    Attributes:
        labels: names of the classes, in the order of the columns.
        truth: true classes, (N,) int64.
        probabilities: (N, K) float64.
        undecided: how many texts were empty or held no known word.
    """

    labels: tuple[str, ...]
    truth: np.ndarray
    probabilities: np.ndarray
    undecided: int = 0

    @property
    def n(self) -> int:
        """How many examples."""
        return len(self.truth)

    @cached_property
    def confusion(self) -> np.ndarray:
        """Counts (K, K): row the true class, column the predicted one."""
        return metrics.confusion_matrix(self.truth, self.probabilities.argmax(axis=1), len(self.labels))

    @cached_property
    def figures(self) -> dict[str, float]:
        """Every figure, 0 to 1 (log_loss in nats).

        With two classes roc_auc is that of the second label, with more the mean over classes against the rest;
        it is left out where a class is missing from the truth.
        """
        t, p = self.truth, self.probabilities
        found: dict[str, Any] = {
            "accuracy": metrics.accuracy(t, p.argmax(axis=1)),
            **_from_counts(self.confusion, self.labels),
            "roc_auc": np.mean([metrics.roc_auc(t == k, p[:, k]) for k in self._columns]),
            "ece": metrics.expected_calibration_error(t, p),
            "brier": metrics.brier(t, p),
            "log_loss": metrics.log_loss(t, p),
        }
        return {name: float(value) for name, value in found.items() if np.isfinite(value)}

    @cached_property
    def intervals(self) -> dict[str, Interval]:
        """95% intervals of the figures that counts decide, and of roc_auc with two classes.

        Shares (accuracy, precision, recall) by Wilson. F1 = 2J / (1 + J), where J = TP / (TP + FP + FN) is a share
        too, so its ends follow from J's. Macro figures by bootstrap: the examples are drawn again 1,000 times, seed
        0, and the 2.5% and 97.5% points taken. roc_auc by DeLong.
        """
        counts, found = self.confusion, {}
        for k, label in enumerate(self.labels):
            right, true, said = int(counts[k, k]), int(counts[k].sum()), int(counts[:, k].sum())
            found[f"recall_{label}"] = metrics.wilson_interval(right, true)
            found[f"precision_{label}"] = metrics.wilson_interval(right, said)
            low, high = metrics.wilson_interval(right, true + said - right)
            found[f"f1_{label}"] = (2 * low / (1 + low), 2 * high / (1 + high))
        found["accuracy"] = metrics.wilson_interval(int(np.trace(counts)), self.n)
        drawn = _from_counts(metrics.bootstrap_counts(counts), self.labels)
        for name in ("macro_f1", "macro_recall"):
            low, high = np.percentile(drawn[name], [2.5, 97.5])
            found[name] = float(low), float(high)
        if len(self.labels) == 2:
            found["roc_auc"] = metrics.roc_auc_interval(self.truth, self.probabilities[:, 1])
        return {name: pair for name, pair in found.items() if np.isfinite(pair).all()}

    @property
    def reliability(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mean confidence, share right and count of each bin of `metrics.reliability`."""
        return metrics.reliability(self.truth, self.probabilities)

    def to_dict(self) -> dict[str, float | int]:
        """Everything flat: `n`, `undecided`, figures, "accuracy_low", "accuracy_high", "count_<true>_as_<said>"."""
        flat: dict[str, float | int] = {"n": self.n, "undecided": self.undecided, **self.figures}
        for name, (low, high) in self.intervals.items():
            flat |= {f"{name}_low": low, f"{name}_high": high}
        for i, true in enumerate(self.labels):
            flat |= {
                f"count_{true}_as_{said}": int(self.confusion[i, j]) for j, said in enumerate(self.labels)
            }
        return flat

    @property
    def _columns(self) -> Sequence[int]:
        return [1] if len(self.labels) == 2 else range(len(self.labels))


def evaluate(
    bundle: Bundle,
    examples: Examples,
    *,
    batch_size: int = 256,
    on_batch: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Let `bundle` answer every example.

    Args:
        bundle: a model that classifies texts.
        examples: labelled texts.
        batch_size: texts scored at once.
        on_batch: called with how many are done and how many there are.

    Raises:
        DataError: no examples, no labels, or a label that the model does not know.
    """
    if examples.labels is None:
        raise DataError(
            "The examples have no labels, so nothing can be compared. Name their column: --label-column NAME."
        )
    if not len(examples):
        raise DataError("There are no examples to evaluate on.")
    truth = bundle.task.targets(examples.labels)
    scores, undecided = [], 0
    for start in range(0, len(examples), batch_size):
        ids = bundle.encode(examples.texts[start : start + batch_size])
        undecided += sum(bundle.task.status(row) != "ok" for row in ids)
        scores.append(bundle.score_ids(ids))
        if on_batch:
            on_batch(start + len(ids), len(examples))
    return Evaluation(bundle.labels, truth, np.concatenate(scores), undecided)


def _from_counts(confusion: np.ndarray, labels: Sequence[str]) -> dict[str, np.ndarray]:
    """The figures that counts (..., K, K) decide, each of shape (...)."""
    precision, recall, f1 = metrics.precision_recall_f1(confusion)
    found = {"macro_f1": f1.mean(axis=-1), "macro_recall": recall.mean(axis=-1)}
    for k, label in enumerate(labels):
        found |= {
            f"f1_{label}": f1[..., k],
            f"precision_{label}": precision[..., k],
            f"recall_{label}": recall[..., k],
        }
    return found
