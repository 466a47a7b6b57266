"""How good forecasts and alarms are, on NumPy arrays; each figure with its formula and source.

Notation: N forecasts, H steps ahead. `truth` and `forecast` are (N, H) or (H,), in the units of the series; a
missing truth (NaN) does not count. A figure that the data cannot give is nan.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ShapeError

Floats = NDArray[np.float64]


def mse(truth: ArrayLike, forecast: ArrayLike) -> float:
    """Mean of (y - f)^2 where y is known, in squared units."""
    return float(np.mean(_errors(truth, forecast) ** 2))


def mae(truth: ArrayLike, forecast: ArrayLike) -> float:
    """Mean of |y - f| where y is known, in units."""
    return float(np.mean(np.abs(_errors(truth, forecast))))


def smape(truth: ArrayLike, forecast: ArrayLike) -> float:
    """Percent, 0 to 200: 200 mean |y - f| / (|y| + |f|), 0 where both are 0 (M4 competition, Makridakis 2018)."""
    t, f = _known(truth, forecast)
    size = np.abs(t) + np.abs(f)
    return float(200 * np.mean(np.divide(np.abs(t - f), size, out=np.zeros_like(size), where=size > 0)))


def seasonal_step(history: ArrayLike, season: int = 1) -> float:
    """Mean |y_t - y_{t-m}| of a history (T,), what MASE divides by; nan where no two values are m steps apart."""
    y = np.asarray(history, dtype=np.float64)
    moved = np.abs(y[season:] - y[:-season])
    known = moved[np.isfinite(moved)]
    return float(known.mean()) if known.size else float("nan")


def mase(truth: ArrayLike, forecast: ArrayLike, history: ArrayLike, season: int = 1) -> float:
    """Mean |y - f| over the mean |y_t - y_{t-m}| of the history (T,) (Hyndman & Koehler 2006); nan if that is 0."""
    step = seasonal_step(history, season)
    return mae(truth, forecast) / step if step else float("nan")


def owa(smape_: float, mase_: float, naive_smape: float, naive_mase: float) -> float:
    """The M4 competition's mean of both ratios to Naive2: (sMAPE/sMAPE_n + MASE/MASE_n) / 2."""
    return (smape_ / naive_smape + mase_ / naive_mase) / 2


def naive2(history: ArrayLike, horizon: int, season: int = 1) -> Floats:
    """The M4 competition's reference (H,): the last value, seasonally adjusted where the season is significant.

    The season counts where |r_m| > 1.645 sqrt((1 + 2 sum_{k<m} r_k^2) / T), r the autocorrelation; it is divided out
    by the classical multiplicative decomposition (Makridakis, Spiliotis & Assimakopoulos 2020).
    """
    y = np.asarray(history, dtype=np.float64)
    index = _seasonal_index(y, season) if _is_seasonal(y, season) else np.ones(max(season, 1))
    phase = np.arange(len(y) + horizon) % len(index)
    return y[-1] / index[phase[len(y) - 1]] * index[phase[len(y) :]]


def pinball(truth: ArrayLike, quantiles: ArrayLike, levels: Sequence[float]) -> float:
    """Mean over levels of 2 max(q (y - f), (q - 1) (y - f)): twice the quantile loss (Koenker & Bassett 1978).

    `quantiles` is (..., Q), its last axis in the order of `levels`. With evenly spaced levels it tends to the CRPS.
    """
    t, f = np.asarray(truth, dtype=np.float64)[..., None], np.asarray(quantiles, dtype=np.float64)
    q = np.asarray(levels)
    loss = 2 * np.maximum(q * (t - f), (q - 1) * (t - f))
    return float(np.nanmean(loss))


def coverage(truth: ArrayLike, low: ArrayLike, high: ArrayLike) -> float:
    """Share of known truths from `low` to `high`, both included."""
    t, a, b = (np.asarray(x, dtype=np.float64) for x in (truth, low, high))
    known = np.isfinite(t)
    return float(np.mean(((a <= t) & (t <= b))[known])) if known.any() else float("nan")


@dataclass(frozen=True)
class AlarmScore:
    """What alarms were worth.

    Attributes:
        events: how many events there were.
        recall: share of events announced by an alarm at most `horizon` steps before.
        lead: mean steps from the first such alarm to the event; nan without one.
        false_per_day: alarms that no event followed, counted once for each run of neighbours, a day.
    """

    events: int
    recall: float
    lead: float
    false_per_day: float


def alarms(alarm: ArrayLike, onsets: ArrayLike, horizon: int, steps_per_day: float) -> AlarmScore:
    """Compare alarms (T,) bool with the steps (E,) at which events begin; an alarm at the onset itself is too late."""
    on, begins = np.asarray(alarm, dtype=bool), np.asarray(onsets, dtype=np.int64)
    leads, excused = [], np.zeros(len(on), dtype=bool)
    for begin in begins:
        first = max(0, begin - horizon)
        excused[first : begin + 1] = True
        raised = np.flatnonzero(on[first:begin])
        if raised.size:
            leads.append(begin - first - raised[0])
    false = on & ~excused
    runs = int(np.sum(false & ~np.append(False, on[:-1])))
    recall = len(leads) / len(begins) if len(begins) else float("nan")
    lead = float(np.mean(leads)) if leads else float("nan")
    return AlarmScore(len(begins), recall, lead, runs * steps_per_day / max(len(on), 1))


def average_precision(truth: ArrayLike, score: ArrayLike) -> float:
    """Sum over falling thresholds of (recall_k - recall_{k-1}) precision_k; equal scores are one threshold."""
    t, s = np.asarray(truth, dtype=bool), np.asarray(score, dtype=np.float64)
    if t.shape != s.shape or t.ndim != 1:
        raise ShapeError(f"truth has shape {t.shape} and score {s.shape}; both must be (N,).")
    if not t.any():
        return float("nan")
    order = np.argsort(-s, kind="stable")
    last = np.append(np.flatnonzero(np.diff(s[order])), len(s) - 1)
    hits = np.cumsum(t[order])[last]
    precision, recall = hits / (last + 1), hits / t.sum()
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def _known(truth: ArrayLike, forecast: ArrayLike) -> tuple[Floats, Floats]:
    t, f = np.asarray(truth, dtype=np.float64), np.asarray(forecast, dtype=np.float64)
    if t.shape != f.shape:
        raise ShapeError(f"truth has shape {t.shape} and forecast {f.shape}; they must be equal.")
    known = np.isfinite(t)
    return t[known], f[known]


def _errors(truth: ArrayLike, forecast: ArrayLike) -> Floats:
    t, f = _known(truth, forecast)
    return t - f if t.size else np.array([np.nan])


def _is_seasonal(y: Floats, season: int) -> bool:
    if season <= 1 or len(y) < 3 * season:
        return False
    z = y - y.mean()
    r = np.array([z[k:] @ z[: len(z) - k] for k in range(1, season + 1)]) / max(z @ z, 1e-300)
    return bool(abs(r[-1]) > 1.645 * np.sqrt((1 + 2 * np.sum(r[:-1] ** 2)) / len(y)))


def _seasonal_index(y: Floats, season: int) -> Floats:
    """Factor of each phase, mean 1: the mean of y over its centred moving average."""
    ends = [0.5] if season % 2 == 0 else []
    kernel = np.array([*ends, *np.ones(season - len(ends)), *ends]) / season
    half = len(kernel) // 2
    trend = np.convolve(y, kernel, mode="valid")
    ratio, phase = y[half : len(y) - half] / trend, np.arange(half, len(y) - half) % season
    index = np.array([ratio[phase == k].mean() for k in range(season)])
    return index / index.mean()
