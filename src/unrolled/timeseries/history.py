"""The last steps of series as arrays of a bundle, and new steps behind them."""

from __future__ import annotations

import numpy as np

from ..data.series import Clock, Series
from ..errors import DataError

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
