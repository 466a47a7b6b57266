"""How good predictions are: small functions on NumPy arrays, each with its formula and source.

Notation: N examples, K classes. `truth` and `predicted` are (N,) whole numbers in 0..K-1, `probabilities` is
(N, K) with rows that sum to 1. Every result is a float or a float64 array; a figure that the data cannot give
(the area under a curve with one class only) is nan.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ShapeError

Floats = NDArray[np.float64]

#: The 97.5% point of the normal distribution: intervals are 95% unless another `z` is given.
Z95 = 1.959963984540054


def accuracy(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Share of examples predicted rightly: sum(truth = predicted) / N."""
    t, p = _pair(truth, predicted)
    return float(np.mean(t == p))


def confusion_matrix(truth: ArrayLike, predicted: ArrayLike, classes: int) -> NDArray[np.int64]:
    """Counts (K, K): row the true class, column the predicted one.

    Raises:
        ShapeError: unequal lengths, no examples, or a class outside 0..classes-1.
    """
    t, p = _pair(truth, predicted)
    largest, smallest = int(max(t.max(), p.max())), int(min(t.min(), p.min()))
    if smallest < 0 or largest >= classes:
        bad = smallest if smallest < 0 else largest
        raise ShapeError(f"Class {bad} found; with {classes} classes they must be 0 to {classes - 1}.")
    return np.bincount(t * classes + p, minlength=classes * classes).reshape(classes, classes)


def precision_recall_f1(confusion: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Per class, from counts (..., K, K): each (..., K); 0 where nothing was predicted or nothing is there.

    precision = TP / (TP + FP), recall = TP / (TP + FN), F1 = 2 TP / (2 TP + FP + FN)
    (van Rijsbergen 1979, ch. 7). The macro figure is the plain mean over classes.
    """
    counts = np.asarray(confusion, dtype=np.float64)
    right = np.diagonal(counts, axis1=-2, axis2=-1)
    predicted, true = counts.sum(axis=-2), counts.sum(axis=-1)
    return _ratio(right, predicted), _ratio(right, true), _ratio(2 * right, predicted + true)


def roc_auc(truth: ArrayLike, score: ArrayLike) -> float:
    """Area under the ROC curve of a yes/no question; `truth` (N,) of 0 and 1, `score` (N,) any real numbers.

    The chance that a positive scores above a negative, ties counting half: the Mann-Whitney statistic
    U / (P N) (Hanley & McNeil 1982). nan if one of the two classes is missing.
    """
    above, _ = _placements(truth, score)
    return float(above.mean()) if above.size else float("nan")


def roc_auc_interval(truth: ArrayLike, score: ArrayLike, z: float = Z95) -> tuple[float, float]:
    """Interval of `roc_auc`: AUC ± z sqrt(S10/P + S01/N), cut to [0, 1].

    DeLong, DeLong & Clarke-Pearson 1988; S10 is the variance over positives of the share of negatives
    below each, S01 the same for negatives. (nan, nan) with fewer than two of a class.
    """
    above, below = _placements(truth, score)
    if min(above.size, below.size) < 2:
        return float("nan"), float("nan")
    spread = z * np.sqrt(above.var(ddof=1) / above.size + below.var(ddof=1) / below.size)
    area = above.mean()
    return float(max(0.0, area - spread)), float(min(1.0, area + spread))


def log_loss(truth: ArrayLike, probabilities: ArrayLike) -> float:
    """Mean of -ln p(true class), in nats; probabilities are clipped to [eps, 1 - eps], eps of float64."""
    t, p = _table(truth, probabilities)
    eps = np.finfo(np.float64).eps
    return float(-np.mean(np.log(np.clip(p[np.arange(t.size), t], eps, 1 - eps))))


def brier(truth: ArrayLike, probabilities: ArrayLike) -> float:
    """Half the mean squared distance to the truth written as 0s and one 1, in 0..1 (Brier 1950, halved).

    With two classes this is the mean of (p - y)^2.
    """
    t, p = _table(truth, probabilities)
    return float(np.mean(np.sum((p - np.eye(p.shape[1])[t]) ** 2, axis=1)) / 2)


def expected_calibration_error(truth: ArrayLike, probabilities: ArrayLike, bins: int = 15) -> float:
    """How far stated confidence is from being right, in 0..1: sum_b n_b / N |accuracy_b - confidence_b|.

    Naeini, Cooper & Hauskrecht 2015, with bins of (nearly) equal count as `reliability` makes them.
    """
    confidence, right, count = reliability(truth, probabilities, bins)
    return float(np.sum(count * np.abs(confidence - right)) / count.sum())


def reliability(truth: ArrayLike, probabilities: ArrayLike, bins: int = 15) -> tuple[Floats, Floats, Floats]:
    """Mean confidence, share right and count of each bin that is not empty, by rising confidence.

    Confidence is the largest probability of a row. The edges are the sorted confidences number N b / bins
    (rounded down), b = 1..bins-1; a value equal to an edge belongs above it, so that ties stay together and
    the order of examples does not matter.
    """
    t, p = _table(truth, probabilities)
    top = p.max(axis=1)
    edges = np.sort(top)[np.arange(1, bins) * t.size // bins]
    place = np.searchsorted(edges, top, side="right")
    count = np.bincount(place, minlength=bins).astype(np.float64)
    confidence = np.bincount(place, weights=top, minlength=bins)
    right = np.bincount(place, weights=(p.argmax(axis=1) == t), minlength=bins)
    used = count > 0
    return confidence[used] / count[used], right[used] / count[used], count[used]


def wilson_interval(successes: float, n: int, z: float = Z95) -> tuple[float, float]:
    """Interval of a share successes/n (Wilson 1927); 95% by default, (nan, nan) for n = 0.

    (p + z²/2n ± z sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n)
    """
    if n == 0:
        return float("nan"), float("nan")
    p, scale = successes / n, 1 + z * z / n
    middle = (p + z * z / (2 * n)) / scale
    spread = z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / scale
    return float(np.clip(middle - spread, 0, p)), float(np.clip(middle + spread, p, 1))


def bootstrap_counts(confusion: ArrayLike, rounds: int = 1000, seed: int = 0) -> NDArray[np.int64]:
    """(rounds, K, K) confusion matrices of examples drawn again with replacement (Efron 1979).

    Drawing N examples again and counting them is one multinomial draw of the N counts, which is what is done.
    """
    counts = np.asarray(confusion)
    total = counts.sum()
    drawn = np.random.default_rng(seed).multinomial(total, counts.ravel() / total, size=rounds)
    return drawn.reshape(rounds, *counts.shape)


def _placements(truth: ArrayLike, score: ArrayLike) -> tuple[Floats, Floats]:
    """For each positive the share of negatives below it; for each negative that of positives above it."""
    t, s = np.asarray(truth), np.asarray(score, dtype=np.float64)
    if t.shape != s.shape or t.ndim != 1:
        raise ShapeError(f"truth has shape {t.shape} and score {s.shape}; both must be (N,).")
    positive, negative = np.sort(s[t == 1]), np.sort(s[t != 1])
    if not positive.size or not negative.size:
        return np.empty(0), np.empty(0)
    return _share_below(positive, negative), 1 - _share_below(negative, positive)


def _share_below(values: Floats, others: Floats) -> Floats:
    """For each value the share of (sorted) others below it, equal ones counting half."""
    twice = np.searchsorted(others, values, "left") + np.searchsorted(others, values, "right")
    return twice / (2 * others.size)


def _ratio(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.zeros_like(whole), where=whole > 0)


def _pair(truth: ArrayLike, predicted: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    t, p = np.asarray(truth), np.asarray(predicted)
    if t.shape != p.shape or t.ndim != 1 or t.size == 0:
        raise ShapeError(f"truth has shape {t.shape} and predicted {p.shape}; both must be (N,), N > 0.")
    return t.astype(np.int64), p.astype(np.int64)


def _table(truth: ArrayLike, probabilities: ArrayLike) -> tuple[NDArray[np.int64], Floats]:
    t, p = np.asarray(truth), np.asarray(probabilities, dtype=np.float64)
    if p.ndim != 2 or t.shape != p.shape[:1] or t.size == 0:
        raise ShapeError(
            f"truth has shape {t.shape} and probabilities {p.shape}; they must be (N,) and (N, K), N > 0."
        )
    return t.astype(np.int64), p
