"""Windows on a series: what stood before a moment (the context), and what came after it (the future).

Notation: N windows, L steps of context, H steps of future. A missing value (NaN) of a context is filled before
anything is computed from it; a missing value of a future stays NaN and never counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..errors import DataError, UnknownNameError
from .series import Clock, Panel

Array = np.ndarray
_DAY, _WEEK = 86_400, 604_800


def season_of(clock: Clock) -> int:
    """Steps in the commonest cycle: a day of steps shorter than it, 7 days, 52 weeks, a year of months; else 1."""
    if clock.unit == "month":
        return max(12 // clock.step, 1)
    if clock.unit != "second":
        return 1
    if clock.step < _DAY:
        return max(round(_DAY / clock.step), 1)
    return {_DAY: 7, _WEEK: 52}.get(clock.step, 1)


def picked(panel: Panel, columns: Sequence[str]) -> Panel:
    """The same series with these columns in this order. Raises UnknownNameError for one that was not read."""
    for column in columns:
        if column not in panel.columns:
            raise UnknownNameError("column", column, panel.columns)
    places = [panel.columns.index(column) for column in columns]
    series = tuple(replace(one, values=one.values[:, places]) for one in panel.series)
    return replace(panel, series=series, columns=tuple(columns))


def filled(values: Array, season: int = 1) -> Array:
    """Series (T,) without gaps: a missing value is that of one season before, else the last known, else the next.

    Raises:
        DataError: nothing is known.
    """
    y = np.array(values, dtype=np.float64)
    missing = np.flatnonzero(~np.isfinite(y))
    if not missing.size:
        return y
    if len(missing) == len(y):
        raise DataError(
            f"All {len(y)} values of a series are missing. Leave the series out, or check the column's name."
        )
    first = np.flatnonzero(np.isfinite(y))[0]
    y[:first] = y[first]
    for i in missing[missing > first]:
        y[i] = y[i - season] if i >= first + season else y[i - 1]
    return y


def seasonal_naive(context: Array, horizon: int, season: int = 1) -> Array:
    """What came one season before, again and again: (N, L) to (N, H); with a shorter context the last value."""
    c = np.asarray(context)
    period = season if season <= c.shape[-1] else 1
    return c[..., c.shape[-1] - period + np.arange(horizon) % period]


@dataclass(frozen=True, eq=False)
class Windows:
    """N windows of several series.

    Attributes:
        context: (N, L) float64, filled.
        future: (N, H) float64, NaN where nothing is known.
        series: (N,) which series each is from.
        known: (N, H, K) columns that are known ahead, over the future; K may be 0.
        observed: (N, L, K + O) columns over the context, those known ahead first.
    """

    context: Array
    future: Array
    series: Array
    known: Array
    observed: Array

    def __len__(self) -> int:
        return len(self.context)

    def take(self, rows: Array) -> Windows:
        """Some of the windows: positions or a mask."""
        return Windows(
            self.context[rows], self.future[rows], self.series[rows], self.known[rows], self.observed[rows]
        )

    def tail(self, steps: int) -> Windows:
        """The same windows with the last `steps` of their contexts."""
        return Windows(
            self.context[:, -steps:], self.future, self.series, self.known, self.observed[:, -steps:]
        )


def join(parts: list[Windows]) -> Windows:
    """The windows of several cuts, one after the other."""
    columns = zip(*((w.context, w.future, w.series, w.known, w.observed) for w in parts), strict=True)
    return Windows(*(np.concatenate(column) for column in columns))


def cut(
    values: Array,
    look: int,
    horizon: int,
    origins: Array,
    *,
    known: int = 0,
    season: int = 1,
    number: int = 0,
) -> Windows:
    """Windows of one series.

    Args:
        values: (T, 1 + K + O): the target, K columns known ahead, O that are not.
        look: L. Before the first value a context repeats it.
        horizon: H. After the last value the target is missing; a column known ahead keeps its last value.
        origins: (N,) step of each future's first value, 1 to T.
        known: K.
        season: for filling.
        number: of the series.
    """
    target, covariates = values[:, 0], values[:, 1:]
    full = np.column_stack([filled(target, season), *(filled(column, season) for column in covariates.T)])
    front = np.repeat(full[:1], look, axis=0)
    padded = np.concatenate([front, full, np.repeat(full[-1:], horizon, axis=0)])
    ahead = np.concatenate([target, np.full(horizon, np.nan)])
    back = np.lib.stride_tricks.sliding_window_view(padded, look, axis=0)[origins]  # (N, 1 + K + O, L)
    after = np.lib.stride_tricks.sliding_window_view(padded[look:, 1 : 1 + known], horizon, axis=0)[origins]
    future = np.lib.stride_tricks.sliding_window_view(ahead, horizon)[origins]
    return Windows(
        np.ascontiguousarray(back[:, 0]), np.ascontiguousarray(future), np.full(len(origins), number),
        after.swapaxes(1, 2).copy(), back[:, 1:].swapaxes(1, 2).copy(),
    )  # fmt: skip
