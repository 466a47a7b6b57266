"""Tables with a time column to arrays on an even grid: what forecasting and alarms read.

Every series of a file shares one clock (one row every 5 minutes, every month, ...). A row that is absent and a
field that is empty both become NaN; nothing is ever guessed. What does not fit the grid is an error that names
the row; `repair=True` sorts, keeps the last of two rows at one time and moves a row to the nearest step, and
says how often in `notes`.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import DataError, ShapeError
from . import Row, Rows, open_rows

MISSING = frozenset({"", "-", "?", "na", "n/a", "nan", "nil", "none", "null"})
_DAY = 86_400
_UNITS = (("week", 7 * _DAY), ("day", _DAY), ("hour", 3600), ("minute", 60), ("second", 1))
_MONTHS = ((12, "year"), (3, "quarter"), (1, "month"))
_NUMERIC_DATE = re.compile(
    r"(\d{1,2}|\d{4})[./-](\d{1,2})[./-](\d{1,2}|\d{4})(?:[ T]+(\d{1,2}:\d\d(?::\d\d)?))?$"
)
_MONTH = re.compile(r"\d{4}-\d\d$")


@dataclass(frozen=True)
class Clock:
    """How far apart the steps of a series are.

    Attributes:
        unit: "second" (since 1970), "month" (since January 1970) or "step" (a count, where there is no calendar).
        step: units from one value to the next.
    """

    unit: str = "step"
    step: int = 1

    def __str__(self) -> str:
        known = _UNITS if self.unit == "second" else [(n, size) for size, n in _MONTHS]
        if self.unit == "step":
            return "step" if self.step == 1 else f"{self.step} steps"
        name, size = next((n, size) for n, size in known if self.step % size == 0)
        return name if self.step == size else f"{self.step // size} {name}s"

    def label(self, tick: int) -> str:
        """A time as text: "2016-07-01 00:00:00", "2016-07-01", "2016-07" or the number itself."""
        if self.unit == "step":
            return str(tick)
        if self.unit == "month":
            return str(np.datetime64(tick, "M"))
        text = str(np.datetime64(tick, "s")).replace("T", " ")
        return text.removesuffix(" 00:00:00") if self.step % _DAY == 0 else text


@dataclass(frozen=True, eq=False)
class Series:
    """One series on the grid of its clock.

    Attributes:
        name: its id in the file; "" where there is only one.
        first: time of the first value, in units of the clock.
        values: (T, C) float64, NaN where there is none.
    """

    name: str
    first: int
    values: np.ndarray

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True, eq=False)
class Panel:
    """Series that share one clock and their columns.

    Attributes:
        series: in the order of their first rows.
        columns: names of the C columns.
        clock: the step that all series have.
        notes: what was filled or repaired while reading, one sentence each.
    """

    series: tuple[Series, ...]
    columns: tuple[str, ...]
    clock: Clock = Clock()
    notes: tuple[str, ...] = ()

    def times(self, series: Series, start: int = 0, stop: int | None = None) -> list[str]:
        """The times of steps `start` to `stop` as texts; steps past the end are its future."""
        steps = range(start, len(series) if stop is None else stop)
        return [self.clock.label(series.first + i * self.clock.step) for i in steps]

    @classmethod
    def from_arrays(cls, values: Sequence[np.ndarray], columns: Sequence[str] = ()) -> Panel:
        """Series without a calendar from arrays of shape (T,) or (T, C), NaN where a value is missing.

        Raises:
            ShapeError: an array of another shape, or of other columns than the first.
        """
        arrays = [np.asarray(array, dtype=np.float64) for array in values]
        arrays = [array[:, None] if array.ndim == 1 else array for array in arrays]
        width = len(columns) or (arrays[0].shape[-1] if arrays else 0)
        for i, array in enumerate(arrays):
            if array.ndim != 2 or array.shape[1] != width:
                raise ShapeError(f"Series {i} has shape {array.shape}; (T,) or (T, {width}) was expected.")
        names = tuple(columns) or tuple(f"x{i}" for i in range(width))
        named = tuple(Series(str(i) if len(arrays) > 1 else "", 0, array) for i, array in enumerate(arrays))
        return cls(named, names)


@dataclass
class _Raw:
    """The rows of one series as they stand in the file."""

    name: str
    times: list[str] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    values: list[list[float]] = field(default_factory=list)


def read_series(
    path: str | Path,
    *,
    time: str | None = None,
    columns: Sequence[str] | None = None,
    name: str | None = None,
    repair: bool = False,
) -> Panel:
    """Read a table whose rows are moments.

    Args:
        path: any table that `open_rows` reads.
        time: column that holds the time: ISO 8601, a month (2016-07), a year, day/month/year or month/day/year,
            or a count. None: the rows follow each other evenly.
        columns: columns to read; by default all others.
        name: column that says which series a row belongs to; by default there is one.
        repair: sort rows, keep the last of two at one time, move rows to the nearest step.

    Raises:
        DataError: names the row, what is wrong with it, and what to do.
    """
    with open_rows(path) as rows:
        picked = [c for c in rows.columns if c not in (time, name)] if columns is None else list(columns)
        raw = _collect(rows, [rows.column(c) for c in picked], picked, *(
            None if c is None else rows.column(c) for c in (time, name)
        ))  # fmt: skip
        source = rows.name
    if not raw:
        raise DataError(f"{source} holds no rows below its header; a series needs at least two.")
    notes: list[str] = []
    clock, ticks = _ticks(list(raw.values()), source, timed=time is not None)
    series = tuple(
        _grid(one, when, clock, repair, notes) for one, when in zip(raw.values(), ticks, strict=True)
    )
    return Panel(series, tuple(picked), clock, tuple(notes))


def _collect(
    rows: Rows, places: list[int], names: list[str], time: int | None, name: int | None
) -> dict[str, _Raw]:
    found: dict[str, _Raw] = {}
    for row in rows:
        if row.problem:
            raise DataError(f"{row.place} {row.problem}. Correct the row or remove it.")
        key = "" if name is None else row.field(name).strip()
        one = found.setdefault(key, _Raw(key))
        one.times.append("" if time is None else row.field(time).strip())
        one.places.append(row.place)
        one.values.append([_number(row, i, column) for i, column in zip(places, names, strict=True)])
    return found


def _number(row: Row, index: int, column: str) -> float:
    text = row.field(index).strip()
    if text.lower() in MISSING:
        return np.nan
    try:
        value = float(text)
    except ValueError:
        hint = " Write decimals with a point and thousands without a mark." if "," in text else ""
        raise DataError(
            f"{row.place}: '{text}' in column '{column}' is not a number.{hint} Correct it, "
            "or leave the field empty where the value is missing."
        ) from None
    if np.isinf(value):
        raise DataError(f"{row.place}: '{text}' in column '{column}' is not finite. Leave the field empty.")
    return value


def _ticks(raw: list[_Raw], source: str, *, timed: bool) -> tuple[Clock, list[np.ndarray]]:
    """The clock of all series, and the times of each in its units."""
    if not timed:
        return Clock(), [np.arange(len(one.times)) for one in raw]
    times, places = [t for one in raw for t in one.times], [p for one in raw for p in one.places]
    unit, flat = _parse(times, places)
    parts = np.split(flat, np.cumsum([len(one.times) for one in raw])[:-1])
    unit, parts = _as_months(unit, parts)
    steps = [_step(part) for part in parts]
    known = [(one, step) for one, step in zip(raw, steps, strict=True) if step]
    if not known:
        raise DataError(
            f"Every series of {source} has a single moment ({times[0]}), which gives no step. "
            "Give at least two rows a series, or name the column that tells the series apart."
        )
    first, step = known[0]
    for one, other in known:
        if other != step:
            raise DataError(
                f"{one.places[0]}: series '{one.name}' has one row every {Clock(unit, other)}, but series "
                f"'{first.name}' one every {Clock(unit, step)}. Bring them to one step, or read one file each."
            )
    return Clock(unit, step), parts


def _parse(times: list[str], places: list[str]) -> tuple[str, np.ndarray]:
    for text, place in zip(times, places, strict=True):
        if text.lower() in MISSING:
            raise DataError(f"{place} has no time. Fill it in or remove the row.")
    if all(text.lstrip("-").isdigit() for text in times):
        numbers = np.array([int(text) for text in times])
        years = all(len(text) == 4 for text in times) and (numbers >= 1600).all() and (numbers <= 2200).all()
        return ("month", (numbers - 1970) * 12) if years else ("step", numbers)
    month_first = _month_first(times, places)
    return "second", np.array([_seconds(t, p, month_first) for t, p in zip(times, places, strict=True)])


def _month_first(times: list[str], places: list[str]) -> bool:
    """Whether 1/2/1981 is in January: decided by a number above 12 anywhere in the column."""
    found = [(m, p) for t, p in zip(times, places, strict=True) if (m := _NUMERIC_DATE.match(t))]
    found = [(m, p) for m, p in found if len(m[1]) < 4]
    day = next((p for m, p in found if int(m[1]) > 12), None)
    month = next((p for m, p in found if int(m[2]) > 12), None)
    if found and (day is None) == (month is None):
        why = f"{day} begins with a day and {month} with a month" if day else "no number in it is above 12"
        raise DataError(
            f"{found[0][1]}: '{found[0][0][0]}' may be day/month or month/day, and {why}. "
            "Write the times as year-month-day."
        )
    return month is not None


def _seconds(text: str, place: str, month_first: bool) -> int:
    iso = text.replace("Z", "+00:00") + ("-01" if _MONTH.match(text) else "")
    if m := _NUMERIC_DATE.match(text):
        year, month, day = (m[1], m[2], m[3]) if len(m[1]) == 4 else (m[3], m[1], m[2])
        if len(m[1]) < 4 and not month_first:
            month, day = day, month
        iso = f"{year.zfill(4)}-{month.zfill(2)}-{day.zfill(2)} {(m[4] or '00:00').zfill(5)}"
    try:
        moment = datetime.datetime.fromisoformat(iso)
    except ValueError:
        raise DataError(
            f"{place}: '{text}' is not a time. Write times as 2016-07-01 13:00:00, 2016-07-01 or 2016-07."
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.timezone.utc)
    return round(moment.timestamp())


def _as_months(unit: str, parts: list[np.ndarray]) -> tuple[str, list[np.ndarray]]:
    """Months, quarters and years are counted in months, since they are not equally many days."""
    flat = np.concatenate(parts)
    if unit != "second" or (flat % _DAY).any():
        return unit, parts
    gaps = np.concatenate([np.diff(np.unique(part)) for part in parts])
    days = flat.astype("datetime64[s]").astype("datetime64[D]")
    months = days.astype("datetime64[M]")
    firsts, lasts = days - months.astype("datetime64[D]"), (days + 1).astype("datetime64[M]") != months
    if not len(gaps) or gaps.min() < 28 * _DAY or not (lasts.all() or (firsts == firsts[0]).all()):
        return unit, parts
    return "month", [part.astype("datetime64[s]").astype("datetime64[M]").astype(int) for part in parts]


def _step(ticks: np.ndarray) -> int:
    """The commonest distance between neighbours in time; 0 for a single moment."""
    distances, counts = np.unique(np.diff(np.unique(ticks)), return_counts=True)
    return int(distances[counts.argmax()]) if len(distances) else 0


def _grid(one: _Raw, ticks: np.ndarray, clock: Clock, repair: bool, notes: list[str]) -> Series:
    """The rows of one series on the grid that begins at its earliest row."""
    order = np.argsort(ticks, kind="stable")
    first = int(ticks[order[0]])
    steps = np.rint((ticks - first) / clock.step).astype(np.int64)
    back = np.flatnonzero(np.diff(ticks) < 0) + 1
    moved = np.flatnonzero(steps * clock.step != ticks - first)
    again = np.flatnonzero(np.diff(steps[order]) == 0) + 1
    if not repair:
        _refuse(one, back, moved, [(order[i], order[i - 1]) for i in again[:1]], clock)
    _check_density(one, steps, clock)
    values = np.full((int(steps.max()) + 1, len(one.values[0])), np.nan)
    for i in order:
        values[steps[i]] = one.values[i]
    counts = {
        "rows stood before an earlier one and were sorted": len(back),
        "rows were moved to the nearest step": len(moved),
        "rows gave way to a later one at the same time": len(again),
        "steps have no row and are missing": len(values) - len(steps) + len(again),
    }
    who = f"Series '{one.name}': " if one.name else ""
    notes.extend(f"{who}{count} {what}." for what, count in counts.items() if count)
    return Series(one.name, first, values)


def _refuse(
    one: _Raw, back: np.ndarray, moved: np.ndarray, again: list[tuple[int, int]], clock: Clock
) -> None:
    """Raise DataError for the first row that is out of order, off the grid or at the time of another."""
    hint = "or read the file with repair=True (--repair), which"
    if len(back):
        raise DataError(
            f"{one.places[back[0]]}: its time, {one.times[back[0]]}, is before that of the row above it. "
            f"Sort the rows by time, {hint} does so."
        )
    if len(moved):
        raise DataError(
            f"{one.places[moved[0]]}: its time, {one.times[moved[0]]}, is not a whole number of steps of one "
            f"{clock} after the first, {one.times[0]}; so are {len(moved)} rows. Correct them, "
            f"{hint} moves them to the nearest step."
        )
    for row, earlier in again:
        raise DataError(
            f"{one.places[row]}: its time, {one.times[row]}, is already that of {one.places[earlier]}. Remove "
            f"one, name the column that tells the series apart, {hint} keeps the last."
        )


def _check_density(one: _Raw, steps: np.ndarray, clock: Clock) -> None:
    """Rows that leave most of their grid empty come at several steps, or around a hole that nothing can fill."""
    if len(np.unique(steps)) * 2 > steps.max():
        return
    order = np.argsort(steps, kind="stable")
    at = int(np.diff(steps[order]).argmax())
    raise DataError(
        f"{one.places[order[at + 1]]}: {np.diff(steps[order])[at]} steps of one {clock} lie between it and "
        f"{one.places[order[at]]}, and more than half of all steps have no row. Bring the rows to one step, or "
        "split the file at the hole."
    )
