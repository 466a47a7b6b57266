"""Time series: from tables of moments to forecasts and alarms.

model = Forecaster(horizon=24).fit(read_series("sales.csv", time="date", columns=["sales"]))
model.predict().point           # (series, 24)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .. import bundle as bundles
from ..config import RunConfig
from ..data.series import Panel, Series
from ..data.windows import Windows, cut, join, picked, season_of, seasonal_naive
from ..errors import DataError, UsageError, need
from ..linear import quantile_offsets
from ..metrics import series as metrics
from ..network import Dense, Network
from ..tasks.forecast import Forecast, scale
from . import search
from .alarms import EventDetector as EventDetector
from .history import begun, check_log, continued, later, panel_of, stored, trimmed
from .results import Backtest, Forecasts

Array = np.ndarray
NETWORK: dict[str, Any] = {
    "task": "forecast", "epochs": 6, "batch_size": 256, "optimizer": "adam", "clip_norm": 1.0, "schedule": "cosine",
}  # fmt: skip
RATES = (1e-3, 3e-4)
"""How the correcting network is trained, unless `fit` is told otherwise, and at which learning rates it is tried."""
LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)


class Forecaster:
    """Forecasts series; see docs/series.md.

    Args:
        horizon: how many steps ahead.
        season: steps in one cycle; by default what the clock suggests (24 for hours, 7 for days, 12 for months).
        known: columns whose future is known (a price list, a holiday).
        observed: columns whose past may help.
        look_backs: steps of context to try; by default whole seasons that fit.
        measure: what validation goes by: "mae", "mse" or "owa"; see `search.Training`.
        levels: quantiles to answer.
        units: of the GRU that corrects the linear maps (needs torch); 0 leaves it out.

    Raises:
        UsageError: an option that makes no sense.
    """

    def __init__(
        self,
        horizon: int,
        *,
        season: int | None = None,
        known: Sequence[str] = (),
        observed: Sequence[str] = (),
        look_backs: Sequence[int] = (),
        measure: str = "mae",
        levels: Sequence[float] = LEVELS,
        units: int = 0,
    ) -> None:
        if horizon < 1:
            raise UsageError(f"horizon is {horizon}; it must be at least 1.")
        if measure not in ("mae", "mse", "owa"):
            raise UsageError(f"measure is '{measure}'; it must be 'mae', 'mse' or 'owa'.")
        if units < 0:
            raise UsageError(f"units is {units}; it must be 0 or more.")
        if not all(0 < level < 1 for level in levels):
            raise UsageError(f"levels are {list(levels)}; each must be above 0 and below 1.")
        self.horizon, self.season, self.measure, self.units = horizon, season, measure, units
        self.known, self.observed, self.levels = tuple(known), tuple(observed), tuple(sorted(levels))
        self.look_backs = tuple(look_backs)
        self.bundle: bundles.Bundle | None = None
        self.found: search.Found | None = None
        self.training: search.Training | None = None
        self._linear = np.empty(0)

    def fit(
        self,
        data: Panel | Sequence[Array],
        *,
        held: int | None = None,
        whole: bool = True,
        config: RunConfig | None = None,
        on_step: Callable[[str], None] | None = None,
    ) -> Forecaster:
        """Learn from series; everything that is chosen is chosen on the last `held` steps of each.

        Args:
            data: a panel whose first column is the target, or arrays (T,), NaN where missing.
            held: steps at the end for validation; by default a fifth of the median series, at least the horizon.
            whole: fit the chosen maps once more on all steps.
            config: of the network's training.
            on_step: called with a line for each thing tried.

        Raises:
            DataError: a series that cannot be learned from; named.
        """
        panel = data if isinstance(data, Panel) else Panel.from_arrays(data)
        panel = self._ordered(panel)
        season = self.season or season_of(panel.clock)
        arrays = [trimmed(one, bool(self.known)) for one in panel.series]
        if held is None:
            held = max(self.horizon, round(float(np.median([len(a) for a in arrays])) / 5))
        training = search.Training(arrays, self.horizon, season, len(self.known), held, self.measure)
        self.training, self.found = training, search.search(training, self.look_backs, on_step)
        self._linear = self.found.answers
        maps = search.refit(training, self.found, whole=whole)
        network = Network((Dense(self.horizon),), (len(maps[0].shared),))
        weights = {
            "0.weight": maps[0].shared.T.astype(np.float32),
            "0.bias": np.zeros(self.horizon, np.float32),
        }
        share, configs = 0.0, [config] if config else [RunConfig(**NETWORK, learning_rate=rate) for rate in RATES]
        if self.units:
            need("torch", "train", "Training the network (units above 0)")
            from .correct import learn

            tried = [learn(training, self.found, self.units, one, on_step or (lambda line: None)) for one in configs]
            made = min(tried, key=lambda one: one.error)
            network, weights, share, config = made.network, made.weights, made.share, made.config
            self.found = replace(self.found, answers=made.answers, error=made.error)
        task = self._task(panel, maps, network, share)
        self.bundle = bundles.Bundle(task, weights, config or configs[0], "", "forecast")
        return self

    def validated(self) -> Backtest:
        """The model on the later half of the steps that it was chosen on, which it had not been fitted on then.

        Its quantiles are calibrated on the earlier half, so that their coverage is measured, not made. Where each
        series has one such window, every second series stands for the later half.

        Raises:
            UsageError: before `fit`, and for a forecaster that was loaded.
        """
        found = self.found
        if found is None or self.training is None:
            raise UsageError(
                "Only a forecaster that has just been fitted knows its validation; call fit first."
            )
        late, season = later(found.judged.series), self.training.season
        windows, z, residuals, size = found.judged.take(late), found.answers[late], *self._residuals(found)
        offsets = quantile_offsets(residuals[~late], self.levels)
        quantiles = found.points(z[..., None] + size[late][..., None] * offsets)
        answers = {"model": found.points(z), "ridge": found.points(self._linear[late])}
        answers["seasonal naive"] = seasonal_naive(windows.context, self.horizon, season)
        gaps = [metrics.seasonal_step(values[:, 0], season) for values in self.training.series]
        return Backtest(windows.future, windows.series, answers, quantiles, self.levels, np.array(gaps))

    def _residuals(self, found: search.Found) -> tuple[Array, Array]:
        """How far the validation's truth lies from the answers, in sizes of the windows (N, H); the sizes (N, 1)."""
        assert self.training is not None
        w = scale(found.judged.tail(found.choices[0].look), self.training.scales, log=found.log)
        return (w.level + w.size * w.targets - found.answers) / w.size, w.size

    @property
    def task(self) -> Forecast:
        """What was learned. Raises UsageError before `fit`."""
        if self.bundle is None:
            raise UsageError("This forecaster has learned nothing yet; call fit first, or load one.")
        assert isinstance(self.bundle.task, Forecast)
        return self.bundle.task

    def linear(self) -> Forecaster:
        """The same forecaster without its network: the ridge that stands beside it."""
        return self._with(replace(self.task, share=0.0))

    def _with(self, task: Forecast) -> Forecaster:
        made = Forecaster.__new__(Forecaster)
        vars(made).update(vars(self))
        assert self.bundle is not None
        made.bundle = replace(self.bundle, task=task)
        return made

    def predict(self, data: Panel | Sequence[Array] | None = None) -> Forecasts:
        """The next `horizon` steps of every series.

        Args:
            data: series to continue, of any length; by default those of training. Rows at the end whose target is
                missing but whose known columns are there are the future.

        Raises:
            DataError: no series, a column known ahead without its future, or a value that the model cannot read.
        """
        task = self.task
        panel = self.history() if data is None else self._ordered(panel_of(data))
        parts, times = [], []
        for number, one in enumerate(panel.series):
            end = len(trimmed(one, bool(task.known)))
            self._check_future(one, end)
            name = task.names.index(one.name) if one.name in task.names else -1
            parts.append(self._cut(one.values, np.array([end]), name if data is not None else number))
            times.append(panel.times(one, end, end + self.horizon))
        windows = join(parts)
        check_log(task, windows)
        run = self._run()
        names = tuple(one.name for one in panel.series)
        return Forecasts(
            names, tuple(times), task.points(windows, run), task.quantiles(windows, run), task.levels
        )

    def backtest(
        self, data: Panel | Sequence[Array], *, steps: int | None = None, stride: int = 1
    ) -> Backtest:
        """Forecast again and again inside series, in one batched pass, and compare with what came.

        Args:
            data: series that the model has not been fitted on, with context before them.
            steps: how many last steps the futures lie in; by default the horizon (one forecast a series).
            stride: steps from one forecast to the next.

        Raises:
            DataError: no series is longer than its horizon.
        """
        task, panel = self.task, self._ordered(panel_of(data))
        steps, parts = steps or self.horizon, []
        for number, one in enumerate(panel.series):
            last = len(one) - self.horizon
            origins = np.arange(last, max(len(one) - steps, 1) - 1, -stride)[::-1]
            name = task.names.index(one.name) if one.name in task.names else -1
            if len(origins):
                parts.append((self._cut(one.values, origins, name), np.full(len(origins), number)))
        if not parts:
            raise DataError(
                f"No series is longer than the horizon of {self.horizon}; there is nothing to compare with."
            )
        windows, series = join([w for w, _ in parts]), np.concatenate([n for _, n in parts])
        check_log(task, windows)
        linear, run = task.linear(windows), self._run()
        answers = {
            "model": task.points(windows, run),
            "ridge": np.exp(linear) if task.log else linear,
            "seasonal naive": seasonal_naive(windows.context, self.horizon, task.season),
        }
        past = [one.values[: max(len(one) - steps, 2), 0] for one in panel.series]
        gaps = [metrics.seasonal_step(values, task.season) for values in past]
        size = np.array([gap if gap and np.isfinite(gap) else np.nan for gap in gaps])
        return Backtest(windows.future, series, answers, task.quantiles(windows, run), task.levels, size)

    def update(self, data: Panel | Sequence[Array]) -> Forecaster:
        """Take in new points: `data` holds the series from any moment that joins what is known, to their new end.

        The next forecasts start from the new end; what was learned stays. Returns a new forecaster.

        Raises:
            DataError: a series that is not one of training, or a hole between old and new points.
        """
        task, known = self.task, {one.name: one for one in self.history().series}
        new = dict(known)
        for one in self._ordered(panel_of(data)).series:
            if one.name not in known:
                raise DataError(
                    f"There is no series '{one.name}'. Known: {', '.join(known) or 'one without a name'}."
                )
            new[one.name] = continued(known[one.name], one, task.clock)
        arrays = dict(task.arrays) | stored(list(new.values()), task.arrays["history"].shape[1], task.clock)
        return self._with(replace(task, arrays=arrays))

    def save(self, folder: Any) -> None:
        """Write the bundle into `folder`."""
        _ = self.task
        assert self.bundle is not None
        self.bundle.save(folder)

    @classmethod
    def load(cls, folder: Any) -> Forecaster:
        """The forecaster that `save` wrote. Raises BundleError; UsageError for another kind of model."""
        return cls.of(bundles.Bundle.load(folder))

    @classmethod
    def of(cls, bundle: bundles.Bundle) -> Forecaster:
        """A forecaster around a bundle."""
        task = bundle.task
        if not isinstance(task, Forecast):
            raise UsageError(f"'{bundle.name}' is a {task.name} model; a forecast model was expected.")
        known, observed = task.columns[1 : 1 + task.known], task.columns[1 + task.known :]
        made = cls(task.horizon, season=task.season, known=known, observed=observed, levels=task.levels)
        made.bundle = bundle
        return made

    def _cut(self, values: Array, origins: Array, number: int) -> Windows:
        task = self.task
        look = max(*task.looks, int(np.prod([n or 1 for n in task.network.input_shape])) if task.share else 1)
        return cut(values, look, self.horizon, origins, known=task.known, season=task.season, number=number)

    def _run(self) -> Callable[[Array], Array] | None:
        assert self.bundle is not None
        return self.bundle.runtime if self.task.share else None

    def _ordered(self, panel: Panel) -> Panel:
        """The panel with target, known and observed columns in this order."""
        if not panel.series:
            raise DataError("There is no series to read. Give at least one.")
        return picked(panel, [panel.columns[0], *self.known, *self.observed])

    def _task(self, panel: Panel, maps: list[search.Maps], network: Network, share: float) -> Forecast:
        training, found = self.training, self.found
        assert training is not None
        assert found is not None
        arrays: dict[str, Array] = {"scales": training.scales}
        for i, one in enumerate(maps):
            arrays[f"map{i}"] = one.shared.astype(np.float32)
            if one.own is not None:
                arrays[f"own{i}"] = one.own
        arrays["offsets"] = quantile_offsets(self._residuals(found)[0], self.levels)
        looks = tuple(choice.look for choice in found.choices)
        arrays |= stored(list(panel.series), max(looks) + training.season, panel.clock)
        return Forecast(
            horizon=self.horizon, season=training.season, looks=looks, columns=panel.columns, known=len(self.known),
            log=found.log, share=share, levels=self.levels, clock=panel.clock,
            names=tuple(one.name for one in panel.series),
            network=network, arrays=arrays,
        )  # fmt: skip

    def history(self) -> Panel:
        """The steps that the next forecasts start from, as far as they are kept."""
        task = self.task
        kept = zip(task.names, task.arrays["first"], task.arrays["history"], strict=True)
        series = tuple(
            begun(Series(name, int(first), np.asarray(v, np.float64)), task.clock) for name, first, v in kept
        )
        return Panel(series, task.columns, task.clock)

    def _check_future(self, one: Series, end: int) -> None:
        task = self.task
        ahead = one.values[end : end + self.horizon, 1 : 1 + task.known]
        if not task.known:
            return
        if len(ahead) < self.horizon or np.isnan(ahead).any():
            raise DataError(
                f"Series '{one.name}': {', '.join(self.known)} must be known for the {self.horizon} steps after its "
                f"last value, but {int(np.isfinite(ahead).all(1).sum())} are. Add rows with an empty "
                f"'{task.columns[0]}'."
            )
