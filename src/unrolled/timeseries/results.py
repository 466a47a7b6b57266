"""What forecasting answers: the steps to come, and how good such answers were in the past."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..metrics import series as metrics

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Forecasts:
    """What comes next, for S series and H steps.

    Attributes:
        names: of the series, "" where there is one only.
        times: S lists of H times as text.
        point: (S, H) the forecast.
        quantiles: (S, H, Q).
        levels: the Q levels of `quantiles`.
    """

    names: tuple[str, ...]
    times: tuple[list[str], ...]
    point: Array
    quantiles: Array
    levels: tuple[float, ...]

    def rows(self) -> list[list[str]]:
        """The table that the command line writes: series, time, forecast, and a column for each level."""
        head = ["series", "time", "forecast", *(f"q{level:g}" for level in self.levels)]
        body = [
            [name, time, *(f"{value:.6g}" for value in (point, *levels))]
            for name, times, points, quantiles in zip(
                self.names, self.times, self.point, self.quantiles, strict=True
            )
            for time, point, levels in zip(times, points.tolist(), quantiles.tolist(), strict=True)
        ]
        return [head, *body]


@dataclass(frozen=True, eq=False)
class Backtest:
    """Forecasts from many moments of the past, beside what came and beside the simple methods.

    Attributes:
        truth: (N, H), NaN where missing.
        series: (N,) the series of each row.
        answers: name to (N, H): "model", "ridge" (its linear part alone), "seasonal naive".
        quantiles: (N, H, Q) of the model.
        levels: of `quantiles`.
        steps: (S,) mean absolute seasonal difference of each series: what MASE divides by.
    """

    truth: Array
    series: Array
    answers: dict[str, Array]
    quantiles: Array
    levels: tuple[float, ...]
    steps: Array

    def figures(self) -> dict[str, dict[str, float]]:
        """Method to its figures: mae, mse, smape, mase; of the model also crps and the coverage of its 80% and 90%."""
        size = self.steps[self.series][:, None]
        scaled = self.truth / size
        found = {
            name: {
                "mae": metrics.mae(self.truth, answer),
                "mse": metrics.mse(self.truth, answer),
                "smape": metrics.smape(self.truth, answer),
                "mase": metrics.mae(scaled, answer / size) if np.isfinite(scaled).any() else float("nan"),
            }
            for name, answer in self.answers.items()
        }
        q = {level: self.quantiles[..., k] for k, level in enumerate(self.levels)}
        found["model"]["crps"] = metrics.pinball(self.truth, self.quantiles, self.levels)
        for low, high in ((0.1, 0.9), (0.05, 0.95)):
            if low in q and high in q:
                name = f"coverage_{round(100 * (high - low))}"
                found["model"][name] = metrics.coverage(self.truth, q[low], q[high])
        return found
