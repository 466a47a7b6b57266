"""Sides measured in turn, as rows of a table; and what the rows say together."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from ..drawing import Drawing, heatmap
from . import Say, alternate, timed
from ._layers import Call, Work

FILL = 0.004
"""Seconds that a sample lasts at least; quicker calls are repeated."""


class Row(NamedTuple):
    """We and one peer. Seconds are all samples of a side; the JSON has their medians."""

    work: Work
    threads: int
    ours: list[float]
    peer: str
    theirs: list[float]

    @property
    def ratio(self) -> float:
        """How many times as fast we are, by the medians."""
        return statistics.median(self.theirs) / statistics.median(self.ours)

    @property
    def speed(self) -> float:
        """Our GFLOP/s."""
        return self.work.gflop / statistics.median(self.ours)

    def json(self) -> dict[str, Any]:
        """The row as `--json` prints it."""
        work, medians = self.work, [1e3 * statistics.median(side) for side in (self.ours, self.theirs)]
        name = work.cell if work.layers == 1 else f"{work.cell} x {work.layers}"
        return {
            "cell": name, "mode": work.mode, "lengths": "ragged" if work.lengths else "all", "threads": self.threads,
            "B": work.B, "T": work.T, "D": work.D, "H": work.H,
            "ours_ms": medians[0], "peer": self.peer, "peer_ms": medians[1], "ratio": self.ratio,
        }  # fmt: skip


def measure(sides: Mapping[str, Call], rounds: int, batches: int = 1) -> dict[str, list[float]]:
    """Seconds a call of every side, `rounds` times in turn; all sides of a round get the same batch."""
    return alternate({name: steady(call, batches) for name, call in sides.items()}, rounds)


def steady(call: Call, batches: int = 1) -> Callable[[], float]:
    """Seconds a call, measured over as many calls as fill a sample; each sample takes the next batch."""
    first = _seconds(call, 0, 1)
    count = max(1, math.ceil(FILL / (_seconds(call, 0, 1) if first < 10 * FILL else first)))
    batch = itertools.cycle(range(batches))
    return lambda: _seconds(call, next(batch), count)


def _seconds(call: Call, batch: int, count: int) -> float:
    seconds, found = timed(lambda: [call(batch) for _ in range(count)])
    return (
        statistics.mean(found) if isinstance(found[0], float) else seconds / count
    )  # a peer has its own clock


def rows(work: Work, threads: int, seconds: Mapping[str, list[float]]) -> list[Row]:
    """A row for each peer."""
    ours = seconds["unrolled"]
    return [Row(work, threads, ours, peer, theirs) for peer, theirs in seconds.items() if peer != "unrolled"]


def spread(seconds: list[float]) -> str:
    """Median and interquartile range in milliseconds."""
    low, middle, high = np.percentile(seconds, (25, 50, 75)) * 1e3
    digits = 4 if middle < 1 else 2 if middle < 100 else 0
    return f"{middle:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


HEAD = (
    f"{'cell':10} {'mode':10} {'rows':7} {'thr':>3} {'B':>4} {'T':>4} {'D':>5} {'H':>5} {'ours, ms (quartiles)':>26} "
    f"{'peer':>13} {'ms (quartiles)':>26} {'ratio':>8} {'GFLOP/s':>8} {'of peak':>7}"
)


def line(row: Row, peak: float) -> str:
    """A row for a reader; GFLOP/s are ours."""
    found = row.json()
    return (
        f"{found['cell']:10} {row.work.mode:10} {found['lengths']:7} {row.threads:3} {row.work.B:4} {row.work.T:4} "
        f"{row.work.D:5} {row.work.H:5} {spread(row.ours):>26} {row.peer:>13} {spread(row.theirs):>26} "
        f"{row.ratio:6.2f} x {row.speed:8.1f} {row.speed / peak:7.0%}"
    )


def together(found: Iterable[Row], peak: float, say: Say) -> None:
    """For each peer, cell, mode and H: the geometric mean of the ratios, the worst of them, and our mean speed.

    Of torch's two ways with rows of many lengths, packed and padded, the faster one counts for each size.
    """
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in found:
        same = [
            row.work.cell,
            row.work.mode,
            "ragged" if row.work.lengths else "all",
            row.threads,
            row.work.H,
        ]
        groups.setdefault((*same, "torch, faster" if row.work.lengths else row.peer), []).append(row)
    say(
        f"{'cell':10} {'mode':10} {'rows':7} {'thr':>3} {'H':>5} {'peer':>13} {'mean ratio':>11} {'GFLOP/s':>8} "
        f"{'of peak':>7}  worst"
    )
    for (cell, mode, lengths, threads, hidden, peer), members in sorted(groups.items()):
        worst = min(members, key=lambda row: row.ratio)
        average = worst.ratio if worst.work.lengths else mean(members)
        speed = statistics.geometric_mean([row.speed for row in members])
        say(
            f"{cell:10} {mode:10} {lengths:7} {threads:3} {hidden:5} {peer:>13} {average:9.2f} x {speed:8.1f} "
            f"{speed / peak:7.0%}  {worst.ratio:.2f} x at B={worst.work.B}, T={worst.work.T}, D={worst.work.D}"
        )


def mean(found: Iterable[Row]) -> float:
    """The geometric mean of the ratios."""
    return statistics.geometric_mean([row.ratio for row in found])


def picture(entries: Iterable[Mapping[str, Any]]) -> Drawing:
    """Geometric means of the ratios against torch: a row for each cell and pass, a column for each hidden size."""
    groups: dict[tuple[str, int], list[float]] = {}
    for entry in entries:
        if (
            entry["peer"] == "torch"
            and entry["mode"] in ("training", "inference")
            and " x " not in entry["cell"]
        ):
            name = "Elman" if entry["cell"] == "elman" else entry["cell"].upper()
            groups.setdefault((f"{name}, {entry['mode']}", entry["H"]), []).append(entry["ratio"])
    names, sizes = sorted({name for name, _ in groups}), sorted({size for _, size in groups})
    values = [
        [statistics.geometric_mean(groups.get((name, size), [math.nan])) for size in sizes] for name in names
    ]
    title = "Times as fast as torch, by hidden size"
    return heatmap(values, names, [f"H = {size}" for size in sizes], title=title, form=".1f")
