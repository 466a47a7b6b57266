"""The linear part of a forecaster: which maps, chosen on validation, fitted in closed form.

What is chosen: logarithms or not, how far the maps look back, how strongly they are held small (ridge), and how many
windows' worth of all series each series' own map is drawn to (pool; infinite: one map for all). The best maps are
averaged as long as the average is better on validation (Caruana et al. 2004). One stretch of time is one season and
one mood of a series, and what is best there need not be best after; so candidates are fitted and judged up to three
times, each a validation's length earlier (rolling origin; Tashman 2000), and compared by the mean of their ratios.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from ..data import windows as win
from ..errors import DataError
from ..linear import Moments, masked
from ..metrics.series import naive2, owa, seasonal_step, smape
from ..tasks.forecast import Scaled, mapped, scale

Array = np.ndarray
RIDGES, POOLS = (0.003, 0.03, 0.3), (10.0, 100.0, np.inf)
MOST_WINDOWS, MOST_JUDGED, MOST_MAPS, MOST_FOLDS = 1_000_000, 10_000, 3, 3


@dataclass(frozen=True)
class Choice:
    """One linear map: its look-back, its ridge (a share of the mean square of the features) and its pool."""

    look: int
    ridge: float = 0.01
    pool: float = np.inf


@dataclass(frozen=True, eq=False)
class Maps:
    """A fitted map: `shared` (F, H), and `own` (S, F, H) where the pool is finite."""

    shared: Array
    own: Array | None = None


@dataclass(frozen=True, eq=False)
class Training:
    """Series to learn from.

    Attributes:
        series: S arrays (T, 1 + K + O), NaN where missing.
        horizon: H.
        season: steps of one cycle.
        known: K.
        held: steps at each series' end that are kept for validation.
        measure: "mae" (absolute errors in seasonal steps of their series), "mse" (squared, in variances) or "owa"
            (the M4 competition's: the mean of sMAPE and MASE, each in those of Naive2).
    """

    series: Sequence[Array]
    horizon: int
    season: int
    known: int = 0
    held: int = 0
    measure: str = "mae"
    _kept: list[tuple[win.Windows, tuple[float, float]]] = field(default_factory=list, repr=False)

    @cached_property
    def scales(self) -> Array:
        """(K + O,) the standard deviation of each covariate over all series."""
        together = np.concatenate([values[:, 1:] for values in self.series])
        if not together.shape[1]:
            return np.ones(0)
        spread = np.nanstd(together, axis=0)
        return np.where(spread > 0, spread, 1.0)

    @cached_property
    def looks(self) -> list[int]:
        """Look-backs worth trying: whole seasons, at most a third of what the median series has."""
        room = (float(np.median([len(values) for values in self.series])) - self.held - self.horizon) / 3
        unit = self.season if self.season > 1 else max(self.horizon, 4)
        fitting = [unit * k for k in (1, 2, 4, 7, 14, 21) if unit * k <= room]
        return fitting[-3:] or [max(int(room), 1)]

    @cached_property
    def missing(self) -> bool:
        """Whether a target is missing anywhere, so that windows have to be held in memory together."""
        return any(np.isnan(values[:, 0]).any() for values in self.series)

    @cached_property
    def may_log(self) -> bool:
        """Whether every value is above zero."""
        return all(np.nanmin(values[:, 0]) > 0 for values in self.series)

    @cached_property
    def steps(self) -> Array:
        """(S,) what errors of each series are divided by."""
        judge = seasonal_step if self.measure != "mse" else lambda y, _: float(np.nanvar(y))
        found = np.array([judge(values[:, 0], self.season) for values in self.series])
        return np.where(np.isfinite(found) & (found > 0), found, np.nan)

    def folds(self) -> list[Training]:
        """The training as it is, and one and two validations earlier, while more is left to fit on than to judge."""
        length = float(np.median([len(values) for values in self.series]))
        found, least = [self], max(self.held, self.horizon)
        for k in range(1, MOST_FOLDS):
            kept = [v[: len(v) - k * self.held] for v in self.series if _known(v[: -(k + 1) * self.held])]
            if length - (k + 1) * self.held > least and kept:
                found.append(replace(self, series=kept, _kept=[]))
        return found

    def cut(self, number: int, look: int, origins: Array) -> win.Windows:
        """Windows of one series."""
        options = {"known": self.known, "season": self.season, "number": number}
        return win.cut(self.series[number], look, self.horizon, origins, **options)

    def training(self, look: int, *, whole: bool = False) -> Iterator[win.Windows]:
        """Series by series, the windows whose futures end before the validation, or at the series' end if `whole`."""
        ends = [len(values) - (0 if whole else self.held) for values in self.series]
        stride = -(-sum(ends) // (MOST_WINDOWS // 5 if self.missing else MOST_WINDOWS))
        for number, end in enumerate(ends):
            first = min(look, max(end - self.horizon - 1, 1))
            yield self.cut(number, look, np.arange(first, max(end - self.horizon + 1, first), stride))

    def validation(self, look: int) -> win.Windows:
        """The windows whose futures lie in the validation, of all series together."""
        H = self.horizon
        spans = [(max(len(v) - self.held, 1), len(v) - H + 1) for v in self.series]
        stride = -(-sum(max(b - a, 0) for a, b in spans) // MOST_JUDGED) or 1
        # Backwards from the end, so that the latest future is always judged.
        cuts = [
            self.cut(i, look, np.arange(b - 1, a - 1, -stride)[::-1])
            for i, (a, b) in enumerate(spans)
            if b > a
        ]
        if not cuts:
            longest = max(len(values) for values in self.series)
            raise DataError(
                f"The longest series has {longest} values, too few to learn {H} steps ahead and to hold {H} back for "
                f"validation. Give at least {3 * H + 1} values, or forecast fewer steps (--horizon)."
            )
        return win.join(cuts)

    def error(self, windows: win.Windows, points: Array) -> float:
        """The mean error of forecasts (N, H) by `measure`."""
        if self.measure == "owa":
            return owa(smape(windows.future, points), self._scaled(windows, points), *self._naive2(windows))
        return self._scaled(windows, points)

    def _naive2(self, windows: win.Windows) -> tuple[float, float]:
        """The competition's reference on windows: its sMAPE and scaled error. The same windows come again and again."""
        if not self._kept or self._kept[0][0] is not windows:
            answers = np.stack([naive2(c, self.horizon, self.season) for c in windows.context])
            self._kept[:] = [(windows, (smape(windows.future, answers), self._scaled(windows, answers)))]
        return self._kept[0][1]

    def _scaled(self, windows: win.Windows, points: Array) -> float:
        off = np.abs(windows.future - points) ** (2 if self.measure == "mse" else 1)
        each = off / self.steps[windows.series][:, None]
        return float(np.nanmean(each)) if np.isfinite(each).any() else 0.0


def _known(values: Array) -> bool:
    """Whether every column has values, and its target two."""
    known = np.isfinite(values)
    return bool(known.any(0).all() and known[:, 0].sum() > 1)


class Linear:
    """The moments of all training windows for one look-back, from which maps follow at little cost."""

    def __init__(self, training: Training, look: int, *, log: bool, whole: bool = False) -> None:
        self.look, self.log, self.training = look, log, training
        windows = (w for w in training.training(look, whole=whole) if len(w))
        rows = ((int(w.series[0]), *self._rows(w)) for w in windows)
        found = _completed(list(rows)) if training.missing else rows
        self.each = {number: Moments.of(x, y) for number, x, y in found}
        if not self.each:
            raise DataError(
                f"No series is long enough for {training.horizon} steps ahead. Forecast fewer (--horizon)."
            )
        self.all = sum(list(self.each.values())[1:], next(iter(self.each.values())))

    def _rows(self, windows: win.Windows) -> tuple[Array, Array]:
        """Features and targets, weighted by the root of the window's size in those of its series.

        The size itself would fit what squared errors measure, but a few restless windows then outvote all others.
        """
        unit = spread(self.training.series[windows.series[0]][:, 0], self.log)
        known = windows.take(np.isfinite(windows.future).any(1))
        w = scale(known, self.training.scales, log=self.log)
        weight = np.sqrt(w.size / unit)
        return (w.features * weight).astype(np.float32), (w.targets * weight).astype(np.float32)

    def fit(self, choice: Choice) -> Maps:
        """The maps of `choice`, whose look-back must be this one."""
        shared = self.all.solve(choice.ridge)
        if not np.isfinite(choice.pool) or len(self.training.series) == 1:
            return Maps(shared)
        own = np.repeat(shared[None].astype(np.float32), len(self.training.series), axis=0)
        for number, moments in self.each.items():
            own[number] = moments.solve(choice.ridge, self.all, choice.pool)
        return Maps(shared, own)


def _completed(rows: list[tuple[int, Array, Array]]) -> list[tuple[int, Array, Array]]:
    """Missing targets replaced by what a map fitted without them says: in a fit with them they change nothing."""
    if not rows:
        return rows
    first = masked(np.concatenate([x for _, x, _ in rows]), np.concatenate([y for *_, y in rows]), 0.01)
    return [(number, x, np.where(np.isnan(y), x @ first, y)) for number, x, y in rows]


def spread(values: Array, log: bool) -> float:
    """The standard deviation of a series, in logarithms if `log`; 1 where it does not move."""
    known = values[np.isfinite(values)]
    spread = float(np.std(np.log(known) if log else known))
    return spread or 1.0


def answers(maps: Maps, windows: Scaled, series: Array) -> Array:
    """What a map says of scaled windows of the series (N,): (N, H), in the units (or logarithms) of the windows."""
    return windows.level + windows.size * mapped(windows.features, maps.shared, maps.own, series)


@dataclass(frozen=True, eq=False)
class Found:
    """What the search chose: maps to average, in logarithms or not, and what validation said.

    Attributes:
        choices: the maps.
        log: whether they work in logarithms.
        judged: the validation windows.
        answers: the average of the maps on them, (N, H), in logarithms if `log`.
        error: its error.
        table: every candidate and its error, the mean of all folds.
    """

    choices: tuple[Choice, ...]
    log: bool
    judged: win.Windows
    answers: Array
    error: float
    table: tuple[tuple[Choice, bool, float], ...]

    def points(self, answers: Array) -> Array:
        """Answers in the units of the series."""
        return _points(answers, self.log)


def _points(answers: Array, log: bool) -> Array:
    return np.exp(np.minimum(answers, 700)) if log else answers


def search(
    training: Training, looks: Sequence[int] = (), on_step: Callable[[str], None] | None = None
) -> Found:
    """Choose the maps on validation.

    Args:
        training: the series, with `held` above 0.
        looks: look-backs to try; by default `Training.looks`.
        on_step: called with a line for each candidate.
    """
    looks, folds = list(looks or training.looks), training.folds()
    judged = [(fold, fold.validation(max(looks))) for fold in folds]
    pools = POOLS if len(training.series) > 1 else (np.inf,)
    table: list[Tried] = []
    say = on_step or (lambda line: None)

    def tried(look: int, log: bool, ridges: Sequence[float], pools: Sequence[float]) -> list[Tried]:
        rows = _tried(judged, log, [Choice(look, ridge, pool) for ridge in ridges for pool in pools])
        table.extend(rows)
        for choice, _, error, _ in rows:
            say(f"{choice}{' in logarithms' if log else ''}: {error:.4f}")
        return rows

    log = False
    if training.may_log:
        firsts = [tried(look, log, RIDGES[:1], pools[-2:][:1])[0] for log in (False, True) for look in looks]
        log = min(firsts, key=_error)[1]
    best = [min(tried(look, log, RIDGES, pools), key=_error) for look in looks]
    return _averaged(judged, sorted(best, key=_error), table)


Tried = tuple[Choice, bool, float, list[Array]]
Judged = list[tuple[Training, win.Windows]]


def _error(row: Tried) -> float:
    return row[2]


def _tried(judged: Judged, log: bool, choices: list[Choice]) -> list[Tried]:
    """Choices of one look-back: their errors, and their answers fold by fold."""
    found: list[list[Array]] = [[] for _ in choices]
    for training, windows in judged:
        linear = Linear(training, choices[0].look, log=log)
        scaled = scale(windows.tail(linear.look), training.scales, log=log)
        for z, choice in zip(found, choices, strict=True):
            z.append(answers(linear.fit(choice), scaled, windows.series))
    return [(choice, log, _mean(judged, log, z), z) for choice, z in zip(choices, found, strict=True)]


def _mean(judged: Judged, log: bool, zs: list[Array]) -> float:
    """The geometric mean of the folds' errors: a fold that is hard for all does not outvote the others."""
    errors = [t.error(w, _points(z, log)) for (t, w), z in zip(judged, zs, strict=True)]
    return float(np.exp(np.mean(np.log(np.maximum(errors, 1e-300)))))


def _averaged(judged: Judged, best: list[Tried], table: list[Tried]) -> Found:
    """The best map of each look-back, averaged best first as long as that helps."""
    chosen, log, error, zs = [best[0][0]], *best[0][1:]
    for choice, _, _, more in best[1:MOST_MAPS]:
        mixed = [z + (a - z) / (len(chosen) + 1) for z, a in zip(zs, more, strict=True)]
        new = _mean(judged, log, mixed)
        if new < error:
            chosen, zs, error = [*chosen, choice], mixed, new
    training, windows = judged[0]
    error = training.error(windows, _points(zs[0], log))
    return Found(tuple(chosen), log, windows, zs[0], error, tuple(row[:3] for row in table))


def fitted(training: Training, found: Found, windows: win.Windows) -> Array:
    """The average of the chosen maps on other windows (N, H), fitted without the validation."""
    total = np.zeros(windows.future.shape)
    for choice, maps in zip(found.choices, refit(training, found, whole=False), strict=True):
        w = scale(windows.tail(choice.look), training.scales, log=found.log)
        total += answers(maps, w, windows.series)
    return total / len(found.choices)


def refit(training: Training, found: Found, *, whole: bool) -> list[Maps]:
    """The chosen maps, fitted once more; with `whole` on the validation too."""
    return [Linear(training, c.look, log=found.log, whole=whole).fit(c) for c in found.choices]
