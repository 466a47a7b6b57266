"""Will it happen soon? An event in a series, predicted with the order of time kept and destroyed.

Notation: x_t one number, h_t state (H), T steps read, B windows, k steps ahead.

    h_t = tanh(W_hh h_{t-1} + w_x x_t + b)     p = 1 / (1 + e^-(v h_T + a)): the event begins within k steps
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..data.series import read_series
from ..drawing import line_plot
from ..metrics import roc_auc
from ..metrics.series import average_precision
from . import Lesson, Narrator, option

Array = np.ndarray


def sigmoid(z: Array) -> Array:
    """1 / (1 + e^-z)."""
    return 1 / (1 + np.exp(-np.clip(z, -30, 30)))


class Reader:
    """One recurrent layer that reads a window and answers with a probability."""

    def __init__(self, rng: np.random.Generator, units: int) -> None:
        self.w = {
            "hh": np.linalg.qr(rng.normal(size=(units, units)))[0],
            "x": rng.normal(size=units),
            "b": np.zeros(units),
            "v": rng.normal(size=units) / np.sqrt(units),
            "a": np.zeros(1),
        }
        self.moments = {name: (np.zeros_like(w), np.zeros_like(w)) for name, w in self.w.items()}

    def states(self, windows: Array) -> list[Array]:
        """h_0 to h_T, (B, H) each, for windows (B, T)."""
        h = [np.zeros((len(windows), len(self.w["b"])))]
        for x in windows.T:
            h.append(np.tanh(h[-1] @ self.w["hh"].T + x[:, None] * self.w["x"] + self.w["b"]))
        return h

    def answer(self, windows: Array) -> Array:
        """Probabilities (B,)."""
        return sigmoid(self.states(windows)[-1] @ self.w["v"] + self.w["a"])

    def learn(self, windows: Array, truth: Array, number: int, rate: float = 0.01) -> None:
        """One update with Adam (Kingma & Ba 2015) on the cross-entropy."""
        h = self.states(windows)
        d = (sigmoid(h[-1] @ self.w["v"] + self.w["a"]) - truth) / len(truth)  # (B,)
        grad = {name: np.zeros_like(w) for name, w in self.w.items()}
        grad["v"], grad["a"] = d @ h[-1], d.sum(keepdims=True)
        dh = d[:, None] * self.w["v"]
        for x, before, after in reversed(list(zip(windows.T, h, h[1:]))):
            da = dh * (1 - after**2)  # (B, H)
            grad["hh"] += da.T @ before
            grad["x"] += x @ da
            grad["b"] += da.sum(0)
            dh = da @ self.w["hh"]
        for name, (m, q) in self.moments.items():
            m[...] += 0.1 * (grad[name] - m)
            q[...] += 0.01 * (grad[name] ** 2 - q)
            self.w[name] -= rate * m / (1 - 0.9**number) / (np.sqrt(q / (1 - 0.99**number)) + 1e-8)


def generated(rng: np.random.Generator, steps: int) -> Array:
    """Cycles like those of sunspots, (T,): quick up, slow down, every cycle of another length and height; noise."""
    parts: list[Array] = []
    while sum(map(len, parts)) < steps:
        length, height = int(rng.integers(36, 52)), rng.uniform(70, 170)
        place = np.linspace(0, 1, length, endpoint=False)
        parts.append(height * np.sin(np.pi * place**0.7) ** 2)
    return np.maximum(np.concatenate(parts)[:steps] + 7 * rng.normal(size=steps), 0)


def sunspots() -> Array | None:
    """Mean sunspot number of each quarter of a year since 1749, where $UNROLLED_DATA holds it; else None."""
    path = Path(os.environ.get("UNROLLED_DATA", "")) / "series/small/monthly-sunspots.csv"
    if not path.is_file():
        return None
    months = read_series(path, time="Month").series[0].values[:, 0]
    return months[: len(months) // 3 * 3].reshape(-1, 3).mean(1)


def begins(series: Array, level: float, ahead: int) -> Array:
    """(T,) 1 where the series passes `level` within the next `ahead` steps, NaN where it is above it already."""
    above = series >= level
    soon = np.array([above[t + 1 : t + 1 + ahead].any() for t in range(len(series))], dtype=float)
    soon[above] = np.nan
    soon[len(series) - ahead :] = np.nan
    return soon


@dataclass
class InSeries(Lesson):
    """Time tells what the values alone do not."""

    title = "An event in a series, predicted with the order of time kept and destroyed"
    minutes = "some seconds"

    ahead: int = option(4, "How many steps ahead the event is asked for.", least=1, most=8)
    window: int = option(12, "Steps that the network reads.", least=6, most=24)
    units: int = option(8, "Numbers in the state.", least=4, most=64)
    updates: int = option(600, "Training steps.", least=200)

    def run(self, say: Narrator) -> dict[str, Any]:
        rng = np.random.default_rng(self.seed)
        say.step("1. The series and the event")
        found = sunspots()
        series = generated(rng, 940) if found is None else found
        level = float(np.quantile(series[: round(0.6 * len(series))], 0.6))  # what training knows
        if found is None:
            say("A generated series that rises and falls as sunspots do; the real ones are read from $UNROLLED_DATA.")
        else:
            say("Sunspots, mean number of each quarter of a year since 1749.")
        say(f"The event: it passes {level:.0f}. Asked at every step below: within the next {self.ahead} steps?")
        truth = begins(series, level, self.ahead)
        train, test = self.split(series, truth)
        say.claim(
            "training comes before testing, with a gap between: no window holds an answer of the other side",
            f"{len(train)} moments up to step {train[-1]}, {len(test)} from step {test[0]} on",
            train[-1] + self.ahead < test[0] - self.window + 1,
        )
        return self.compare(say, rng, series / level, truth, train, test)

    def split(self, series: Array, truth: Array) -> tuple[Array, Array]:
        """Moments to train at and to test at."""
        asked = np.flatnonzero(np.isfinite(truth))
        asked, at = asked[asked >= self.window], round(0.6 * len(series))
        return asked[asked < at - self.window - self.ahead], asked[asked >= at]

    def compare(
        self, say: Narrator, rng: np.random.Generator, series: Array, truth: Array, train: Array, test: Array
    ) -> dict[str, Any]:
        """Train the same network on windows as they are and on windows whose steps are shuffled."""
        say.step("2. The same values, in order and out of order")
        every = np.lib.stride_tricks.sliding_window_view(series, self.window)
        kept = {t: every[t - self.window + 1] for t in (*train, *test)}
        mixed = {t: rng.permutation(window) for t, window in kept.items()}
        say.claim(
            "shuffling the steps of a window destroys the order and nothing else",
            f"{len(kept)} windows of {self.window} values, each with the same values in both versions",
            all(np.array_equal(np.sort(kept[t]), np.sort(mixed[t])) for t in kept),
        )
        answers, rows = {}, {}
        for name, windows in (("in order", kept), ("shuffled", mixed)):
            x = {
                part: np.stack([windows[t] for t in moments])
                for part, moments in (("train", train), ("test", test))
            }
            answers[name] = self.trained(x["train"], truth[train], x["test"])
            rows[name] = average_precision(truth[test], answers[name]), roc_auc(truth[test], answers[name])
        last = np.array([kept[t][-1] for t in test])
        rows["the last value alone"] = average_precision(truth[test], last), roc_auc(truth[test], last)
        chance = float(truth[test].mean())
        say.table(
            ["", "average precision", "area under ROC"],
            [(k, *(f"{v:.3f}" for v in r)) for k, r in rows.items()],
        )
        say.claim(
            "in order, the network knows more than the values alone: a value on its way up is not one on its way down",
            f"average precision {rows['in order'][0]:.3f} in order, {rows['shuffled'][0]:.3f} shuffled",
            rows["in order"][0] > rows["shuffled"][0] + 0.02,
        )
        say.claim(
            "and it knows something: chance is the share of moments that an event follows",
            f"{rows['in order'][0]:.3f} against {chance:.3f}",
            rows["in order"][0] > 1.3 * chance,
        )
        self.picture(say, series, test, answers)
        names = ("in_order", "shuffled", "last_value")
        return {f"average_precision_{k}": rows[r][0] for k, r in zip(names, rows)} | {"chance": chance}

    def trained(self, windows: Array, truth: Array, test: Array) -> Array:
        """Probabilities at the test's moments: the mean of three networks from different beginnings."""
        answers = []
        for start in range(3):
            rng = np.random.default_rng([self.seed, start])
            network = Reader(rng, self.units)
            for number in range(1, self.updates + 1):
                rows = rng.integers(len(windows), size=64)
                network.learn(windows[rows], truth[rows], number)
            answers.append(network.answer(test))
        return np.mean(answers, axis=0)

    def picture(self, say: Narrator, series: Array, test: Array, answers: dict[str, Array]) -> None:
        """The first part of the test: the series, and what both networks said."""
        shown = np.arange(test[0], min(test[0] + 120, len(series)))
        lines = {"series, in units of the level": (shown, series[shown])}
        for name, p in answers.items():
            said = np.full(len(series), np.nan)
            said[test] = p
            lines[name] = (shown, said[shown])
        labels = {"x_label": "step", "y_label": "units of the level; probability of passing it soon"}
        plot = line_plot(
            lines, title="Order kept and destroyed", y_range=(0, 2), levels={"the level": 1.0}, **labels
        )
        say.picture("series-order", plot)
