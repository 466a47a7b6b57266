"""Events: will one begin within the next `horizon` steps? Asked at every step at which none is under way.

Notation: T steps, C observed columns, F features, W steps of a window.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from ..data.series import Clock
from ..data.windows import filled
from ..errors import BundleError
from ..linear import Logistic
from ..network import Network
from . import Task

Array = np.ndarray
_DAY = 86_400
PERIODS = {"time": _DAY, "week": 7 * _DAY}
TRACE = (1, 5, 15, 60)
_TOGETHER = 4096


@dataclass(frozen=True, eq=False)
class Events(Task):
    """What a trained alarm does.

    Attributes:
        horizon: how many steps ahead it warns.
        columns: the event column, then the C observed ones.
        clock: of the series.
        threshold: probability from which it raises the alarm.
        groups: which features it reads, see `features`.
        network: reads the `features` of a step, (F,), as a logistic regression does, or of the last W steps, (W, F).
        arrays: "mean" and "size" (F,) that features are standardised with.
    """

    name: ClassVar[str] = "events"
    answers: ClassVar[str] = "It warns of events: unrolled alarms FILE --model RUN"
    horizon: int
    columns: tuple[str, ...]
    clock: Clock
    threshold: float
    groups: tuple[str, ...]
    network: Network
    arrays: Mapping[str, Array] = field(repr=False, default_factory=dict)

    @property
    def steps(self) -> int:
        """W, or 0 where the network reads one step alone."""
        shape = self.network.input_shape
        return int(shape[0] or 1) if len(shape) > 1 else 0

    def inputs(self, values: Array, first: int) -> Array:
        """What the network reads at each step: (T, F) or (T, W, F) float32, standardised.

        Before the first step a window repeats it.
        """
        x = features(values, first, self.clock, self.horizon, self.groups)
        x = ((x - self.arrays["mean"]) / self.arrays["size"]).astype(np.float32)
        if not self.steps:
            return x
        x = np.concatenate([np.repeat(x[:1], self.steps - 1, axis=0), x])
        return np.lib.stride_tricks.sliding_window_view(x, self.steps, axis=0).swapaxes(1, 2)

    def chances(self, run: Callable[[Array], Array], values: Array, first: int) -> Array:
        """For each step (T,) how likely an event begins within the horizon; `run` executes the network."""
        x = self.inputs(values, first)
        parts = [run(np.ascontiguousarray(x[i : i + _TOGETHER]))[:, 0] for i in range(0, len(x), _TOGETHER)]
        return 1 / (1 + np.exp(-np.clip(np.concatenate(parts).astype(np.float64), -60, 60)))

    def settings(self) -> dict[str, Any]:
        """Everything but arrays and layers."""
        lists = {"columns": list(self.columns), "groups": list(self.groups)}
        plain = {"horizon": self.horizon, "threshold": self.threshold}
        return plain | lists | {"unit": self.clock.unit, "step": self.clock.step}

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any], network: Network) -> Events:
        """The alarm that `settings` described."""
        try:
            clock = Clock(str(settings["unit"]), int(settings["step"]))
            columns, groups = tuple(settings["columns"]), tuple(settings["groups"])
            return cls(
                int(settings["horizon"]), columns, clock, float(settings["threshold"]), groups, network
            )
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(f"The alarm's settings are damaged ({error!r}). Train again.") from error

    def with_arrays(self, arrays: Mapping[str, Array]) -> Events:
        """The same alarm with what its features are standardised with."""
        for name in ("mean", "size"):
            if name not in arrays or arrays[name].shape != self.network.input_shape[-1:]:
                raise BundleError(f"The alarm's array '{name}' is missing or of another size. Train again.")
        return replace(self, arrays=arrays)


def onsets(event: Array) -> Array:
    """Steps (E,) at which an event begins: the column is above 0 where it was not the step before."""
    on = np.nan_to_num(event) > 0
    return np.flatnonzero(on & ~np.append(on[:1], on[:-1]))


def labels(event: Array, horizon: int) -> Array:
    """(T,) 1 where an event begins within the next `horizon` steps, 0 where none does, NaN where one is under way.

    The last `horizon` steps are NaN too, unless an event begins in them: nobody knows what comes after.
    """
    steps, begins = len(event), onsets(event)
    answer = np.zeros(steps)
    answer[max(steps - horizon, 0) :] = np.nan
    for begin in begins:
        answer[max(begin - horizon, 0) : begin] = 1
    answer[(np.nan_to_num(event) > 0) | np.isnan(event)] = np.nan
    return answer


def since(event: Array) -> Array:
    """Steps since the event was last under way (T,); before the first, since the beginning."""
    on = np.append(True, np.nan_to_num(event) > 0)
    last = np.maximum.accumulate(np.where(on, np.arange(len(on)), 0))
    return (np.arange(len(on)) - last)[1:].astype(np.float64)


GROUPS = ("time", "past", "columns")


def features(
    values: Array, first: int, clock: Clock, horizon: int, groups: tuple[str, ...] = GROUPS
) -> Array:
    """What is known at each step (T, F), of it and of what came before it alone.

    Groups: "time" of day and "week", of the week (two waves each, where the clock has them); "past", how long ago the
    last event was; "columns", each observed column now, and less what it was 1, 5, 15, 60 steps and a horizon before.
    """
    parts = []
    steps = np.arange(len(values))
    seconds = first + steps * clock.step
    for name, period in PERIODS.items():
        # Nothing here may depend on how many rows there are: a model has to read any number of them.
        if name in groups and clock.unit == "second" and clock.step * 4 <= period:
            parts += [f(2 * np.pi * k * seconds / period) for k in (1, 2) for f in (np.sin, np.cos)]
    if "past" in groups:
        parts.append(np.log1p(since(values[:, 0])))
    if "columns" in groups:
        for column in values[:, 1:].T:
            x = _carried(column)
            parts.append(x)
            parts += [
                x - np.append(np.full(min(k, len(x)), x[0]), x[:-k])[: len(x)] for k in {*TRACE, horizon}
            ]
    return np.column_stack(parts) if parts else np.zeros((len(values), 1))


def _carried(column: Array) -> Array:
    """The column with gaps filled from the past alone; what is missing at the beginning is the first known value."""
    return filled(column, 1)


def weights_of(model: Logistic) -> dict[str, Array]:
    """A logistic regression as the weights of one dense layer."""
    return {"0.weight": model.weights[None].astype(np.float32), "0.bias": np.array([model.bias], np.float32)}
