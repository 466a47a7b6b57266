"""Series as they are read, cut and kept: checks, the last steps as arrays of a bundle, new steps behind them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..data.series import Clock, Panel, Series
from ..data.windows import Windows
from ..errors import DataError
from ..tasks.forecast import Forecast

Array = np.ndarray


def begun(one: Series, clock: Clock) -> Series:
    """A stored series without the empty steps in front."""
    start = int(np.flatnonzero(np.isfinite(one.values).any(1))[0])
    return Series(one.name, one.first + start * clock.step, one.values[start:])


def stored(series: list[Series], rows: int, clock: Clock) -> dict[str, Array]:
    """The last rows of each series as arrays; what began later has NaN in front."""
    history = np.full((len(series), rows, series[0].values.shape[1]), np.nan)
    first = np.zeros(len(series), np.int64)
    for i, one in enumerate(series):
        kept = one.values[-rows:]
        history[i, rows - len(kept) :] = kept
        first[i] = one.first + (len(one) - rows) * clock.step
    return {"history": history, "first": first}


def continued(old: Series, new: Series, clock: Clock) -> Series:
    """A known series with new steps, which begin inside it or right behind it. Raises DataError for a hole."""
    place = (new.first - old.first) // clock.step
    if place > len(old) or (new.first - old.first) % clock.step:
        raise DataError(
            f"Series '{old.name}' is known up to {clock.label(old.first + (len(old) - 1) * clock.step)}, but the new "
            f"rows begin at {clock.label(new.first)}. Give them from the step after, or from before."
        )
    values = np.full((max(len(old), place + len(new)), old.values.shape[1]), np.nan)
    values[: len(old)] = old.values
    values[max(place, 0) : place + len(new)] = new.values[max(-place, 0) :]
    return Series(old.name, old.first, values)


def later(series: Array) -> Array:
    """Which rows belong to the later half of their series' rows; of series with a single row every second."""
    later = np.zeros(len(series), bool)
    for number in np.unique(series):
        rows = np.flatnonzero(series == number)
        later[rows[(len(rows) + 1 - number % 2) // 2 :]] = True
    return later if (~later).any() else np.arange(len(series)) % 2 == 1


def panel_of(data: Panel | Sequence[Array]) -> Panel:
    """A panel as it is, or one of arrays."""
    return data if isinstance(data, Panel) else Panel.from_arrays(data)


def trimmed(one: Series, known_ahead: bool) -> Array:
    """The values up to the last known target, where rows after it only tell what is known ahead; else all."""
    there = np.flatnonzero(np.isfinite(one.values[:, 0]))
    who = f"Series '{one.name}'" if one.name else "The series"
    if len(there) < 2:
        raise DataError(
            f"{who} has {len(there)} known values; at least two are needed. Leave it out or complete it."
        )
    return one.values[: there[-1] + 1] if known_ahead else one.values


def check_log(task: Forecast, windows: Windows) -> None:
    """Raise DataError where a model in logarithms meets a value of 0 or less."""
    if task.log and (windows.context <= 0).any():
        bad = windows.series[(windows.context <= 0).any(1)][0]
        raise DataError(
            f"Series number {bad + 1} holds a value of 0 or less, but in training all were above 0, so that the model "
            "works in logarithms. Train it again with such values among the data."
        )
