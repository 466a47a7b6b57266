"""The scorer of the Numenta Anomaly Benchmark, from its published definition.

Lavin & Ahmad, "Evaluating Real-Time Anomaly Detection Algorithms" (2015). A detection inside a window of an anomaly
earns a sigmoid of its place in it, once a window, the earliest counting; every detection outside costs a sigmoid of
its distance from the window before it; a window without detection costs one missed anomaly. The first 15% of each
file (at most 750 steps) are probation: nothing there counts. One threshold serves all files, the one with the best
sum. The sum is scaled so that detecting nothing gives 0 and detecting all at once, with no false alarm, 100.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
PROFILES = {"standard": (1.0, 0.11, 1.0), "low_fp": (1.0, 0.22, 1.0), "low_fn": (1.0, 0.11, 2.0)}


@dataclass(frozen=True)
class Scored:
    """One file: a score for each step (T,), from 0 to 1, and its windows as pairs of steps, both included."""

    scores: Floats
    windows: Sequence[tuple[int, int]]


def probation(steps: int) -> int:
    """How many steps at the beginning of a file do not count: 15%, at most 750."""
    return min(int(0.15 * steps), int(0.15 * 5000))


def sigmoid(place: Floats) -> Floats:
    """2 / (1 + e^{5 y}) - 1 at relative place y, -1 at a window's first step and 0 at its last; -1 beyond 3."""
    return np.where(place > 3.0, -1.0, 2 / (1 + np.exp(5 * np.minimum(place, 3.0))) - 1)


def weights(file: Scored, profile: str = "standard") -> tuple[Floats, NDArray[np.int64]]:
    """What a detection at each step brings (T,), and the number of the window it falls in (T,), -1 outside."""
    right, false, _ = PROFILES[profile]
    steps = len(file.scores)
    worth, inside = np.full(steps, -false), np.full(steps, -1)
    best = sigmoid(np.array([-1.0]))[0]
    for number, (first, last) in enumerate(file.windows):
        long = max(last - first, 1)
        after = np.arange(last + 1, steps)
        worth[after] = false * sigmoid((after - last) / long)
        within = np.arange(first, min(last, steps - 1) + 1)
        worth[within] = right * sigmoid(-(last - within + 1) / (last - first + 1)) / best
        inside[within] = number
    return worth, inside


def score(files: Sequence[Scored], profile: str = "standard") -> tuple[float, float]:
    """The normalised score of all files together, and the threshold that gives it.

    A detection is a step whose score is at least the threshold. Thresholds above every score (nothing is detected)
    are tried too, so the result is at least 0.
    """
    _, _, miss = PROFILES[profile]
    gains: list[tuple[Floats, Floats]] = []
    windows = 0
    for file in files:
        worth, inside = weights(file, profile)
        live = np.arange(len(worth)) >= probation(len(worth))
        windows += len(file.windows)
        outside = live & (inside < 0)
        gains.append((file.scores[outside], worth[outside]))
        gains += [
            _window_gains(file.scores, worth, live & (inside == k), miss) for k in range(len(file.windows))
        ]
    heights, steps = (np.concatenate([gain[k] for gain in gains]) for k in (0, 1))
    order = np.argsort(-heights, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(heights[order])), len(order) - 1)
    totals = np.cumsum(steps[order])[ends]
    best = int(totals.argmax())
    nothing, perfect = -miss * windows, float(windows)
    total = max(float(totals[best]), 0.0) + nothing
    threshold = heights[order][ends[best]] if totals[best] > 0 else np.inf
    return 100 * (total - nothing) / (perfect - nothing), float(threshold)


def _window_gains(
    scores: Floats, worth: Floats, within: NDArray[np.bool_], miss: float
) -> tuple[Floats, Floats]:
    """What each lower threshold adds for one window: only its earliest detection counts, so later ones add 0."""
    places = np.flatnonzero(within)
    order = places[np.argsort(-scores[places], kind="stable")]
    if not len(order):
        return np.empty(0), np.empty(0)
    earned = np.maximum.accumulate(worth[order]) + miss
    return scores[order], np.diff(earned, prepend=0.0)
