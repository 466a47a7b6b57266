"""The published collections that series are measured on, as arrays, and small generated ones of the same form."""

from __future__ import annotations

import csv
import gzip
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..data.series import Clock, Panel, Series
from ..errors import DataError

Array = np.ndarray
ROOM = ("Occupancy", "Temperature", "Humidity", "CO2", "HumidityRatio")
_MINUTE = Clock("second", 60)


class M4(NamedTuple):
    """One frequency of the M4 competition: S series to learn from, and the values that came (S, H)."""

    train: list[Array]
    test: list[Array]


def _lines(path: Path) -> list[list[str]]:
    if not path.is_file():
        raise DataError(
            f"There is no {path}. Name the folder of the data with --data, or try generated ones (--generated)."
        )
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        return list(csv.reader(file))[1:]


def ett(folder: Path, name: str) -> Array:
    """Electricity transformers (Zhou et al. 2021): 14,400 hours of 7 columns, in deviations of the first 8,640."""
    values = np.array([[float(v) for v in row[1:]] for row in _lines(folder / f"series/{name}.csv.gz")])[
        :14_400
    ]
    return (values - values[:8640].mean(0)) / values[:8640].std(0)


def m4(folder: Path, kind: str) -> M4:
    """M4 (Makridakis, Spiliotis & Assimakopoulos 2020); `kind` is "Hourly" or "Weekly"."""
    parts = (_lines(folder / f"series/m4/{kind}-{part}.csv.gz") for part in ("train", "test"))
    return M4(*([np.array([float(v) for v in row[1:] if v]) for row in rows] for rows in parts))


def nab(folder: Path) -> list[tuple[Array, list[tuple[int, int]]]]:
    """The Numenta Anomaly Benchmark: for each of 58 files its values and its windows as steps."""
    path = folder / "series/nab.tar.gz"
    if not path.is_file():
        _lines(path)
    found = []
    with tarfile.open(path) as archive:

        def text(name: str) -> str:
            file = archive.extractfile(f"nab/{name}")
            assert file
            return file.read().decode("utf-8")

        for name, windows in sorted(json.loads(text("labels/combined_windows.json")).items()):
            rows = [line.split(",") for line in text(f"data/{name}").splitlines()[1:]]
            times = np.array([row[0] for row in rows], dtype="datetime64[s]")
            edges = [[np.datetime64(edge[:19]) for edge in window] for window in windows]
            spans = [(int(np.argmax(times >= a)), int(np.flatnonzero(times <= b)[-1])) for a, b in edges]
            found.append((np.array([float(row[1]) for row in rows]), spans))
    return found


def occupancy(folder: Path) -> list[Panel]:
    """A room by the minute (Candanedo & Feldheim 2016), without its light sensor: training and two tests."""
    names = ("datatraining", "datatest", "datatest2")
    return [_room(name, _lines(folder / f"series/occupancy/{name}.txt.gz")) for name in names]


def _room(name: str, rows: list[list[str]]) -> Panel:
    times = np.array([row[1] for row in rows], dtype="datetime64[s]").astype(np.int64)
    values = np.array([[float(v) for v in row[2:]] for row in rows])
    minutes = np.rint((times - times[0]) / 60).astype(int)
    grid = np.full((minutes[-1] + 1, len(ROOM)), np.nan)
    grid[minutes] = values[:, [5, 0, 1, 3, 4]]
    return Panel((Series("", int(times[0]), grid),), ROOM, _MINUTE)


def waves(rng: np.random.Generator, lengths: Sequence[int], season: int) -> list[Array]:
    """Generated series with a cycle, above zero."""
    times = [np.arange(length) for length in lengths]
    return [10 + rng.random() + np.sin(2 * np.pi * t / season) + 0.2 * rng.normal(size=len(t)) for t in times]


def generated_room(rng: np.random.Generator, days: int) -> Panel:
    """Somebody comes at about nine and leaves at about five; the columns are noise."""
    minutes = np.arange(days * 1440)
    there = np.zeros(len(minutes))
    for day in range(days):
        start = day * 1440 + 540 + int(rng.integers(-15, 16))
        there[start : start + 480] = 1
    return Panel(
        (Series("", 0, np.column_stack([there, rng.normal(size=(len(minutes), 4))])),), ROOM, _MINUTE
    )
