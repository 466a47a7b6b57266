"""Alarms: will an event begin within the next steps, learned from an event column; and, unlearned, is this new?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .. import bundle as bundles
from ..config import RunConfig
from ..data.series import Panel
from ..errors import DataError, UsageError, need
from ..linear import Logistic
from ..metrics.series import AlarmScore, alarms, average_precision
from ..network import Dense, Network
from ..runtime import Runtime
from ..tasks import events as ev

Array = np.ndarray
GROUPS = (("time",), ("past",), ("time", "past"), ("columns", "past"), ("time", "columns", "past"))
WATCHED = (("time", "past"), ("columns", "past"), ("time", "columns", "past"))
RIDGES = (1.0, 10.0, 100.0)
NETWORK: dict[str, Any] = {
    "task": "events", "epochs": 6, "batch_size": 64, "optimizer": "adam", "clip_norm": 1.0, "schedule": "cosine",
}  # fmt: skip
"""How the network is trained, unless `fit` is told otherwise."""
Part = tuple[Array, Array, int, int]
"""Of one series: values for training, all values, the moment of the first, and where validation begins."""
Candidate = tuple[float, ev.Events, dict[str, Array]]
"""Average precision on validation, and what has it."""


@dataclass(frozen=True, eq=False)
class Judged:
    """Alarms of one series compared with what came.

    Attributes:
        name: of the method: "model", "persistence", "logistic regression on the columns".
        average_precision: of its probabilities.
        score: at its threshold, event by event.
    """

    name: str
    average_precision: float
    score: AlarmScore

    def row(self) -> dict[str, float | str]:
        """Flat, for a table."""
        s = self.score
        return {
            "method": self.name, "events": s.events, "event_recall": s.recall, "lead_steps": s.lead,
            "false_alarms_per_day": s.false_per_day, "average_precision": self.average_precision,
        }  # fmt: skip


class EventDetector:
    """Warns of an event up to `horizon` steps ahead; see docs/series.md.

    The model is a logistic regression on what is known at a step, or, with `units`, a GRU that reads the same of the
    steps up to it. Which of them, which groups of features it reads, how strongly the regression is held small: what
    has the highest average precision on validation is taken. The threshold is chosen there too.

    Args:
        horizon: steps ahead.
        false_alarms: how many a day are put up with; the threshold is the lowest that keeps to it on validation.
        units: of the GRU that is tried (needs torch); 0 leaves it out.

    Raises:
        UsageError: an option that makes no sense.
    """

    def __init__(self, horizon: int, *, false_alarms: float = 1.0, units: int = 0) -> None:
        if horizon < 1:
            raise UsageError(f"horizon is {horizon}; it must be at least 1.")
        if false_alarms <= 0:
            raise UsageError(f"false_alarms is {false_alarms}; it must be above 0.")
        if units < 0:
            raise UsageError(f"units is {units}; it must be 0 or more.")
        self.horizon, self.false_alarms, self.units = horizon, false_alarms, units
        self.bundle: bundles.Bundle | None = None
        self.validation: list[Judged] = []
        self._peers: dict[str, tuple[ev.Events, dict[str, Array]]] = {}

    def fit(
        self,
        panel: Panel,
        *,
        held: float = 0.3,
        config: RunConfig | None = None,
        on_step: Callable[[str], None] | None = None,
    ) -> EventDetector:
        """Learn from a panel whose first column is the event (0 or 1) and whose others are observed.

        Args:
            panel: one or several series.
            held: share at the end of each series for validation, behind a gap of one horizon.
            config: of the network's training.
            on_step: called with a line for each thing tried.

        Raises:
            DataError: no event to learn from, or none in the validation.
        """
        self._check(panel)
        say, parts = (
            on_step or (lambda line: None),
            [self._split(v.values, v.first, held) for v in panel.series],
        )
        if self.units:
            need("torch", "train", "Training the network (units above 0)")
        made: list[Candidate] = []
        for groups in GROUPS:
            tried = [self._learn(panel, parts, groups, ridge) for ridge in RIDGES]
            if self.units and groups in WATCHED:
                from .watch import learn

                found = learn(tried[0][1], parts, self.units, config or RunConfig(**NETWORK))
                tried.append(self._candidate(*found, parts))
            made += tried
            say(f"{', '.join(groups)}: average precision {', '.join(f'{row[0]:.4f}' for row in tried)}")
        plain = [row for row in made if row[1].groups == ("columns", "past") and not row[1].steps]
        self._chosen({"model": made, REGRESSION: plain}, panel, parts)
        return self

    def _chosen(self, made: dict[str, list[Candidate]], panel: Panel, parts: list[Part]) -> None:
        for name, rows in made.items():
            _, events, weights = max(rows, key=lambda row: np.nan_to_num(row[0]))
            scores = _scores(events, weights, parts)
            events = replace(events, threshold=self._threshold(scores, panel))
            self._peers[name] = events, weights
            self.validation.append(_compared(name, scores, events.threshold, self.horizon, panel))
        events, weights = self._peers["model"]
        self.bundle = bundles.Bundle(events, weights, RunConfig(task="events"), "", "events")

    def probabilities(self, panel: Panel) -> list[Array]:
        """For each series the probability at each step (T,) that an event begins within the horizon."""
        events, run = self.task, self._bundle().runtime
        return [events.chances(run, one.values, one.first) for one in panel.series]

    def judge(self, panel: Panel) -> list[Judged]:
        """The model, the logistic regression on the columns, and persistence, each on all of `panel`."""
        whole = [(one.values, one.values, one.first, 0) for one in panel.series]
        found = [
            _compared(name, _scores(events, weights, whole), events.threshold, self.horizon, panel)
            for name, (events, weights) in self._peers.items()
        ]
        return [*found, self._persistence(panel)]

    @property
    def task(self) -> ev.Events:
        """What was learned. Raises UsageError before `fit`."""
        found = self._bundle().task
        assert isinstance(found, ev.Events)
        return found

    def save(self, folder: Any) -> None:
        """Write the bundle into `folder`."""
        self._bundle().save(folder)

    @classmethod
    def load(cls, folder: Any) -> EventDetector:
        """The detector that `save` wrote. Raises BundleError; UsageError for another kind of model."""
        bundle = bundles.Bundle.load(folder)
        if not isinstance(bundle.task, ev.Events):
            raise UsageError(f"'{bundle.name}' is a {bundle.task.name} model; an events model was expected.")
        made = cls(bundle.task.horizon)
        made.bundle = bundle
        return made

    def _bundle(self) -> bundles.Bundle:
        if self.bundle is None:
            raise UsageError("This alarm has learned nothing yet; call fit first.")
        return self.bundle

    def _check(self, panel: Panel) -> None:
        for one in panel.series:
            event = one.values[:, 0]
            if not np.isin(event[np.isfinite(event)], (0, 1)).all():
                bad = event[np.isfinite(event) & ~np.isin(event, (0, 1))][0]
                raise DataError(
                    f"'{panel.columns[0]}' holds {bad:g}; an event column is 1 while an event lasts, else 0."
                )
        if not any(len(ev.onsets(one.values[:, 0])) for one in panel.series):
            raise DataError(
                f"No event begins in '{panel.columns[0]}', so there is nothing to learn. Give more rows."
            )

    def _split(self, values: Array, first: int, held: float) -> Part:
        at = round(len(values) * (1 - held))
        return values[: max(at - self.horizon, 1)], values, first, at

    def _learn(self, panel: Panel, parts: list[Part], groups: tuple[str, ...], ridge: float) -> Candidate:
        """A logistic regression."""
        week = ev.PERIODS["week"] / panel.clock.step
        if "time" in groups and any(len(training) >= week for training, *_ in parts):
            groups = ("week", *groups)
        xs, ys = [], []
        for training, _, first, _ in parts:
            y = ev.labels(training[:, 0], self.horizon)
            x = ev.features(training, first, panel.clock, self.horizon, groups)
            xs.append(x[np.isfinite(y)])
            ys.append(y[np.isfinite(y)])
        x, y = np.concatenate(xs), np.concatenate(ys)
        if not y.any():
            raise DataError(
                "No event begins before the validation, so there is nothing to learn. Give more rows."
            )
        model = Logistic.fit(x, y, ridge=ridge)
        network = Network((Dense(1),), (x.shape[1],))
        arrays = {"mean": model.mean, "size": model.size}
        events = ev.Events(self.horizon, panel.columns, panel.clock, 0.5, groups, network, arrays)
        return self._candidate(events, ev.weights_of(model), parts)

    def _candidate(self, events: ev.Events, weights: dict[str, Array], parts: list[Part]) -> Candidate:
        truth, score = [], []
        for event, s in _scores(events, weights, parts):
            y = ev.labels(event, self.horizon)
            truth.append(y[np.isfinite(y)])
            score.append(s[np.isfinite(y)])
        return average_precision(np.concatenate(truth), np.concatenate(score)), events, weights

    def _threshold(self, scores: list[tuple[Array, Array]], panel: Panel) -> float:
        """The lowest probability that raises at most `false_alarms` a day."""
        every = np.concatenate([s[np.isfinite(ev.labels(event, self.horizon))] for event, s in scores])
        for level in np.quantile(every, np.linspace(0, 1, 201)).tolist():
            found = _compared("", scores, level, self.horizon, panel)
            if found.score.false_per_day <= self.false_alarms:
                return level
        return float(np.nextafter(every.max(), 1))

    def _persistence(self, panel: Panel) -> Judged:
        """The more recent the last event, the likelier the next: an alarm for one horizon after each."""
        scores = [(one.values[:, 0], -ev.since(one.values[:, 0])) for one in panel.series]
        return _compared("persistence", scores, -float(self.horizon), self.horizon, panel)


REGRESSION = "logistic regression on the columns"


def _scores(events: ev.Events, weights: dict[str, Array], parts: list[Part]) -> list[tuple[Array, Array]]:
    """Of each series the event column and the probabilities, both from where validation begins."""
    run = Runtime(events.network, weights)
    return [(v[at:, 0], events.chances(run, v, first)[at:]) for _, v, first, at in parts]


def _compared(
    name: str, scores: Sequence[tuple[Array, Array]], threshold: float, horizon: int, panel: Panel
) -> Judged:
    """Series joined by a horizon of silence, so that no alarm reaches from one into the next."""
    per_day = 86_400 / panel.clock.step if panel.clock.unit == "second" else 1.0
    truth, score, on, begins, at = [], [], [], [], 0
    for event, s in scores:
        y = ev.labels(event, horizon)
        known = np.isfinite(y)
        truth.append(y[known])
        score.append(s[known])
        on += [(s >= threshold) & known, np.zeros(horizon, bool)]
        begins.append(ev.onsets(event) + at)
        at += len(event) + horizon
    raised = alarms(np.concatenate(on), np.concatenate(begins), horizon, per_day)
    return Judged(name, average_precision(np.concatenate(truth), np.concatenate(score)), raised)


def novelty(values: Array, recent: int = 1000, quiet: int = 100) -> Array:
    """How far each value leaves the range of the `recent` values before it, from 0 (inside) to 1: (T,) to (T,).

    The distance d counts against the values' standard deviation s so far, d / (d + s). After an alarm only a stronger
    one is given for `quiet` steps, and none in the first tenth of `recent`, where everything is new. Reads the past
    alone; learns nothing.
    """
    v = np.asarray(values, dtype=np.float64)
    if not len(v):
        return np.zeros(0)
    before = np.lib.stride_tricks.sliding_window_view(np.concatenate([np.full(recent, v[0]), v]), recent)[:-1]
    high, low = before.max(1), before.min(1)
    count = np.arange(1, len(v) + 1)
    centred = v - v[0]
    spread = np.sqrt(np.maximum(np.cumsum(centred**2) / count - (np.cumsum(centred) / count) ** 2, 0))
    spread = np.append(0.0, spread[:-1]) + 1e-6 * (np.abs(high) + np.abs(low)) + 1e-12
    outside = np.maximum(np.maximum(v - high, low - v), 0)
    outside[: recent // 10] = 0
    return _held(outside / (outside + spread), quiet)


def _held(score: Array, quiet: int) -> Array:
    kept, last, height = np.zeros_like(score), -quiet - 1, 0.0
    for i in np.flatnonzero(score).tolist():
        if i - last > quiet or score[i] > height:
            kept[i], last, height = score[i], i, score[i]
    return kept
