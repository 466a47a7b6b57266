"""Forecasting: the values of a series so far in, its next `horizon` values out, with the range they will fall in.

A forecast is the mean of a few linear maps, each from the last L values to all H next ones, plus a share of what a
network adds. Both read windows from which their own mean is taken and which are divided by their own deviation, so
one model serves series of any height; where `log` is set all is done in logarithms.

Notation: N windows, L context, H horizon, S series, Q quantile levels, K columns known ahead, O observed only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from ..data.series import Clock
from ..data.windows import Windows
from ..errors import BundleError
from ..network import Network
from . import Task

Array = np.ndarray
Run = Callable[[Array], Array]


@dataclass(frozen=True, eq=False)
class Scaled:
    """Windows as a model reads them: features (N, F), targets (N, H), and the level and size (N, 1) taken out."""

    features: Array
    targets: Array
    level: Array
    size: Array


@dataclass(frozen=True, eq=False)
class Forecast(Task):
    """What a trained forecaster does.

    Attributes:
        horizon: H.
        season: steps of one cycle.
        looks: L of each linear map.
        columns: names of the target, the K known and the O observed columns.
        known: K.
        log: whether the series are read in logarithms.
        share: of the network's correction that is added; 0 where there is none.
        levels: the Q quantiles that are answered.
        clock: the step of all series.
        names: of the S series.
        network: reads the last patches of a window, (T, P), and answers H corrections; where `share` is 0 it is the
            first linear map as a layer, (F,) to (H,).
        arrays: "map0" (F, H) of each linear map; "own0" (S, F, H) where each series has its own; "offsets" (H, Q);
            "scales" (K + O,) of the covariates; "history" (S, R, 1 + K + O), NaN in front of what began later;
            "first" (S,) the time of the history's first row.
    """

    name: ClassVar[str] = "forecast"
    answers: ClassVar[str] = "It continues series: unrolled forecast RUN"
    horizon: int
    season: int
    looks: tuple[int, ...]
    columns: tuple[str, ...]
    known: int
    log: bool
    share: float
    levels: tuple[float, ...]
    clock: Clock
    names: tuple[str, ...]
    network: Network
    arrays: Mapping[str, Array] = field(repr=False, default_factory=dict)

    def scaled(self, windows: Windows, look: int) -> Scaled:
        """The windows' last `look` steps with level and size taken out, and the covariates behind them."""
        return scale(windows.tail(look), self.arrays["scales"], log=self.log)

    def linear(self, windows: Windows) -> Array:
        """The mean of the linear maps (N, H), in logarithms where `log` is set."""
        total = np.zeros((len(windows), self.horizon))
        for i, look in enumerate(self.looks):
            w = self.scaled(windows, look)
            answer = mapped(w.features, self.arrays[f"map{i}"], self.arrays.get(f"own{i}"), windows.series)
            total += w.level + w.size * answer
        return total / len(self.looks)

    def corrected(self, windows: Windows, run: Run | None) -> Array:
        """The maps' mean with the network's share added (N, H); `run` executes the network."""
        z = self.linear(windows)
        if run is None or not self.share:
            return z
        patches, size = self.patches(windows)
        return z + self.share * size * run(patches)

    def patches(self, windows: Windows) -> tuple[Array, Array]:
        """What the network reads, (N, T, P) float32, and the size (N, 1) that its answer is multiplied with."""
        steps, width = (int(n or 1) for n in self.network.input_shape)
        w = self.scaled(windows, steps * width)
        return w.features[:, : steps * width].reshape(-1, steps, width).astype(np.float32), w.size

    def points(self, windows: Windows, run: Run | None = None) -> Array:
        """Forecasts (N, H) in the units of the series."""
        z = self.corrected(windows, run)
        return np.exp(z) if self.log else z

    def quantiles(self, windows: Windows, run: Run | None = None) -> Array:
        """The quantiles (N, H, Q) in the units of the series: the forecast and the conformal offsets."""
        size = self.scaled(windows, self.looks[0]).size
        z = self.corrected(windows, run)[..., None] + size[..., None] * self.arrays["offsets"]
        return np.exp(z) if self.log else z

    def settings(self) -> dict[str, Any]:
        """Everything but arrays and layers."""
        plain = {k: getattr(self, k) for k in ("horizon", "season", "known", "log", "share")}
        lists = {k: list(getattr(self, k)) for k in ("looks", "columns", "levels", "names")}
        return plain | lists | {"unit": self.clock.unit, "step": self.clock.step}

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any], network: Network) -> Forecast:
        """The forecaster that `settings` described."""
        try:
            plain = {k: kind(settings[k]) for k, kind in _PLAIN.items()}
            clock = Clock(str(settings["unit"]), int(settings["step"]))
            return cls(**plain, clock=clock, network=network, arrays={})
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(f"The forecaster's settings are damaged ({error!r}). Train again.") from error

    def with_arrays(self, arrays: Mapping[str, Array]) -> Forecast:
        """The same forecaster with its maps, offsets and history."""
        maps = {f"map{i}" for i in range(len(self.looks))}
        if missing := {"offsets", "scales", "history", "first", *maps} - arrays.keys():
            raise BundleError(f"The forecaster's array '{sorted(missing)[0]}' is missing. Train again.")
        return replace(self, arrays=arrays)


_PLAIN: dict[str, Any] = {
    "horizon": int, "season": int, "known": int, "log": bool, "share": float,
    "looks": tuple, "columns": tuple, "levels": tuple, "names": tuple,
}  # fmt: skip


def scale(windows: Windows, scales: Array, *, log: bool) -> Scaled:
    """Windows with their own level (mean) and size (standard deviation) taken out; see `Scaled`.

    Behind the context stand the columns known ahead, over the future, and those observed, over the context: each
    less its mean over the context, in units of its scale.
    """
    context, future = (np.log(x) if log else x for x in (windows.context, windows.future))
    level = context.mean(-1, keepdims=True)
    size = context.std(-1, keepdims=True) + 1e-9 * (np.abs(level) + 1)
    columns = [(context - level) / size]
    if len(scales):
        mean, ahead = windows.observed.mean(1, keepdims=True), windows.known.shape[-1]
        known = (windows.known - mean[..., :ahead]) / scales[:ahead]
        seen = ((windows.observed - mean) / scales)[..., ahead:]
        columns += [known.reshape(len(windows), -1), seen.reshape(len(windows), -1)]
    return Scaled(np.concatenate(columns, axis=1), (future - level) / size, level, size)


def mapped(x: Array, shared: Array, own: Array | None, series: Array) -> Array:
    """Features (N, F) through the map of the series each row is from, -1 being a series unseen in training."""
    if own is None:
        return x @ shared
    out = np.empty((len(x), shared.shape[1]))
    for number in np.unique(series):
        rows = series == number
        out[rows] = x[rows] @ (own[number] if 0 <= number < len(own) else shared)
    return out
