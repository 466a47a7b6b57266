"""Forecasts and alarms on published collections, beside the simple methods and what others published."""

from __future__ import annotations

import os
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ..config import option
from ..errors import UsageError
from ..metrics import nab as scorer
from ..metrics.series import mase, naive2, owa, smape
from ..timeseries import Forecaster
from ..timeseries.alarms import EventDetector, novelty
from . import Bench, Say, _published, timed

Array = np.ndarray
PUBLISHED = {
    "ETTh1": "SegRNN .408, DLinear .438, PatchTST .438, plain GRU 1.107 (mean MSE)",
    "ETTh2": "SegRNN .346, PatchTST .374, DLinear .536, plain GRU 2.67 (mean MSE)",
    "Hourly": "M4's winner ES-RNN .4401, best entry .4096, the organisers' RNN 1.036 (OWA)",
    "Weekly": "M4's best entry .7386, ES-RNN .851 (OWA)",
    "nab": "random 11, Twitter ADVec 47, Random Cut Forest 52, HTM 70, ARTime 75 (standard profile)",
}


@dataclass
class SeriesBench(Bench):
    """Everything is chosen on validation; each test is read once, after that."""

    title: ClassVar[str] = "Forecasts (ETTh, M4) and alarms (NAB, room occupancy) beside the simple methods"
    minutes: ClassVar[str] = "about ten minutes"

    only: str = option("ett,m4,nab,occupancy", "Collections to measure, with commas between.")
    data: str = option("", "Folder that holds series/; by default $UNROLLED_DATA.")
    units: int = option(
        64, "Of the GRU beside the linear maps and the regression (needs torch); 0: none.", least=0
    )
    generated: bool = option(False, "Small generated data of the same form, to see how it looks.")

    def run(self, say: Say) -> dict[str, Any]:
        """Measure the collections of `only`, one after the other."""
        measures = {"ett": self.ett, "m4": self.m4, "nab": self.nab, "occupancy": self.occupancy}
        found: dict[str, Any] = {}
        for name in self.only.split(","):
            if name.strip() not in measures:
                raise UsageError(f"There is no collection '{name}'. Known: {', '.join(measures)}.")
            found[name.strip()] = measures[name.strip()](say)
        return found

    @property
    def folder(self) -> Path:
        """Where the data are."""
        return Path(self.data or os.environ.get("UNROLLED_DATA", "data"))

    def ett(self, say: Say) -> dict[str, Any]:
        """Mean squared error over all windows of the test, in deviations of the training part."""
        found = {}
        for name in ("ETTh1", "ETTh2"):
            horizons: tuple[int, ...] = (4, 8) if self.generated else (96, 192, 336, 720)
            held = 100 if self.generated else 2880
            if self.generated:
                values = np.stack(_published.waves(np.random.default_rng(0), [500] * 2, 24), axis=1)
            else:
                values = _published.ett(self.folder, name)
            rows = [self._ett(values, horizon, held) for horizon in horizons]
            found[name] = {key: statistics.fmean(row[key] for row in rows) for key in rows[0]}
            found[name] |= {f"model_{h}": row["model"] for h, row in zip(horizons, rows, strict=True)}
            say(f"{name}: mean MSE over {', '.join(map(str, horizons))} steps: " + _listed(found[name]))
            say(f"  published: {PUBLISHED[name]}")
        return found

    def _ett(self, values: Array, horizon: int, held: int) -> dict[str, float]:
        series = list(values.T)
        model = Forecaster(horizon, season=24, measure="mse", levels=(0.1, 0.9), units=self.units)
        seconds, _ = timed(lambda: model.fit([y[:-held] for y in series], held=held, whole=False))
        figures = model.backtest(series, steps=held).figures()
        mse = {method: row["mse"] for method, row in figures.items()}
        more = {"share_of_network": model.task.share, "coverage_80": figures["model"]["coverage_80"]}
        return mse | more | {"seconds": seconds}

    def m4(self, say: Say) -> dict[str, Any]:
        """The competition's own score; its reference Naive2 is 1."""
        found = {}
        for kind, horizon, season, cycle in (("Hourly", 48, 24, 24), ("Weekly", 13, 1, 52)):
            if self.generated:
                every = _published.waves(np.random.default_rng(1), [4 * cycle + 70] * 3, cycle)
                collection = _published.M4([y[:-horizon] for y in every], [y[-horizon:] for y in every])
            else:
                collection = _published.m4(self.folder, kind)
            found[kind] = row = _m4(collection, season, cycle, self.units)
            say(
                f"M4 {kind}: OWA {row['owa']:.4f} (sMAPE {row['smape']:.2f}, MASE {row['mase']:.3f}); "
                + _listed(row)
            )
            say(f"  published: {PUBLISHED[kind]}")
        return found

    def nab(self, say: Say) -> dict[str, float]:
        """NAB's scorer on alarms for what leaves its recent range; nothing is learned from its labels."""
        files = [(y, [(100, 120)]) for y in _published.waves(np.random.default_rng(2), [300] * 3, 24)]
        if not self.generated:
            files = _published.nab(self.folder)
        scored = [scorer.Scored(novelty(values), windows) for values, windows in files]
        found = {profile: scorer.score(scored, profile)[0] for profile in scorer.PROFILES}
        say(f"NAB: {_listed(found)}")
        say(f"  published: {PUBLISHED['nab']}")
        return found

    def occupancy(self, say: Say) -> list[dict[str, Any]]:
        """Will somebody come within 15 or 30 minutes? Asked while the room is empty; its light is not read."""
        rooms = [_published.generated_room(np.random.default_rng(3), days) for days in (6, 3)]
        rows = []
        training, *tests = rooms if self.generated else _published.occupancy(self.folder)
        for horizon in (15, 30):
            model = EventDetector(horizon, units=self.units).fit(training)
            for number, test in enumerate(tests, 1):
                place = {"minutes": horizon, "test": number, "steps_read": model.task.steps or 1}
                rows += [place | judged.row() for judged in model.judge(test)]
        for row in rows:
            say("occupancy: " + _listed(row))
        return [
            {k: v if isinstance(v, (str, int)) or np.isfinite(v) else None for k, v in row.items()}
            for row in rows
        ]


def _m4(collection: _published.M4, season: int, cycle: int, units: int) -> dict[str, float]:
    def score(answers: Any) -> tuple[float, float]:
        pairs = list(zip(collection.test, answers, collection.train, strict=True))
        errors = [(smape(truth, said), mase(truth, said, past, season)) for truth, said, past in pairs]
        return statistics.fmean(e[0] for e in errors), statistics.fmean(e[1] for e in errors)

    horizon = len(collection.test[0])
    model = Forecaster(horizon, season=cycle, measure="owa", units=units)
    seconds, _ = timed(lambda: model.fit(collection.train, held=horizon))
    found = model.predict()
    reference = score([naive2(past, horizon, season) for past in collection.train])
    low, high = found.quantiles[..., 1], found.quantiles[..., -2]
    inside = [np.mean((a <= y) & (y <= b)) for y, a, b in zip(collection.test, low, high, strict=True)]
    one = [timed(lambda: model.predict(collection.train[:1]))[0] for _ in range(20)]
    ours, ridge = score(found.point), score(model.linear().predict().point)
    return {
        "owa": owa(*ours, *reference), "smape": ours[0], "mase": ours[1], "owa_of_ridge": owa(*ridge, *reference),
        "share_of_network": model.task.share,
        "coverage_80": float(np.mean(inside)), "seconds": seconds, "ms_a_series": 1000 * statistics.median(one),
    }  # fmt: skip


def _listed(row: dict[str, Any]) -> str:
    return ", ".join(
        f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items()
    )
