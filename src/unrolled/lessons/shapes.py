"""Four shapes of a recurrent network: how many inputs it reads, and how many outputs it gives.

Notation: x_t input, h_t state, y_t output. The equations never change; only where inputs and outputs stand does.

    h_t = tanh(W_hh h_{t-1} + W_xh x_t)     y_t = W_hy h_t
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..drawing import GREEN, INK, PURPLE, QUIET, Drawing
from ..linear import Logistic, Moments
from . import Lesson, Narrator, option

Array = np.ndarray
DAY = 24
FIRST = 4  # numbers of a vector that are drawn
WORDS = {
    "the": 0,
    "film": 0,
    "and": 0,
    "a": 0,
    "good": 1,
    "lovely": 1,
    "great": 1,
    "bad": -1,
    "dull": -1,
    "slow": -1,
}


@dataclass(frozen=True)
class Tensors:
    """What went through a network: a column for each step; None where a step has no input or no output.

    Attributes:
        title: the shape's name and what it was used for.
        xs: inputs (D,).
        hs: states (H,).
        ys: outputs (O,).
        names: words under the columns.
    """

    title: str
    xs: Sequence[Array | None]
    hs: Sequence[Array]
    ys: Sequence[Array | None]
    names: Sequence[str]


def opinion(words: Sequence[str]) -> int:
    """How much more good than bad was said."""
    return sum(WORDS[word] for word in words)


class Reader:
    """Says after any words whether the opinion so far is good: random recurrent weights, a fitted output.

    Only W_hy and its bias are learned, by logistic regression (an echo state network, Jaeger 2001).
    """

    def __init__(self, rng: np.random.Generator, units: int, phrases: int = 1200) -> None:
        w = rng.normal(size=(units, units))
        self.w_hh = 0.95 * w / np.abs(np.linalg.eigvals(w)).max()
        self.table = dict(zip(WORDS, rng.normal(size=(len(WORDS), DAY))))
        self.w_xh = 0.3 * rng.normal(size=(units, DAY)) / np.sqrt(DAY)
        states, good = [], []
        for _ in range(phrases):
            words = rng.choice([*WORDS], size=rng.integers(1, 7)).tolist()
            for k, h in enumerate(self.states(self.vectors(words)), 1):
                if opinion(words[:k]):
                    states.append(h)
                    good.append(opinion(words[:k]) > 0)
        self.w_hy = Logistic.fit(np.array(states), np.array(good, float), ridge=1.0)

    def vectors(self, words: Sequence[str]) -> list[Array]:
        """The vector (D,) of each word."""
        return [self.table[word] for word in words]

    def states(self, xs: Sequence[Array]) -> list[Array]:
        """Every state, (H,) each."""
        h, found = np.zeros(len(self.w_hh)), []
        for x in xs:
            h = np.tanh(self.w_hh @ h + self.w_xh @ x)
            found.append(h)
        return found

    def answer(self, h: Array) -> Array:
        """The probability (1,) that the opinion is good."""
        return np.asarray(1 / (1 + np.exp(-self.w_hy.logits(h[None]))))

    def last(self, xs: Sequence[Array]) -> list[Array]:
        """One answer, after the last word."""
        return [self.answer(self.states(xs)[-1])]

    def each(self, xs: Sequence[Array]) -> list[Array]:
        """An answer after every word."""
        return [self.answer(h) for h in self.states(xs)]


class Days:
    """A forecaster that reads days of 24 hours and gives days: random recurrent weights, a fitted output.

    Only W_hy is learned, one for each day ahead, by ridge regression (an echo state network, Jaeger 2001).
    """

    def __init__(self, rng: np.random.Generator, units: int, read: int, ahead: int) -> None:
        self.read_days, self.ahead = read, ahead
        w = rng.normal(size=(units, units))
        self.w_hh = 0.6 * w / np.abs(np.linalg.eigvals(w)).max()
        self.w_xh = rng.normal(size=(units, DAY)) / np.sqrt(DAY)
        self.w_hy = np.zeros((DAY, units))

    def states(self, xs: Array) -> Array:
        """States (N, read + ahead, H) for days (N, read, 24); after the last day read nothing comes in."""
        h, found = np.zeros((len(xs), len(self.w_hh))), []
        for t in range(self.read_days + self.ahead):
            x = xs[:, t] @ self.w_xh.T if t < self.read_days else 0.0
            h = np.tanh(h @ self.w_hh.T + x)
            found.append(h)
        return np.stack(found, axis=1)

    def fit(self, xs: Array, ys: Array) -> None:
        """W_hy from days read (N, read, 24) and the days that came (N, ahead, 24)."""
        h = self.states(xs)[:, self.read_days :]
        w = [Moments.of(h[:, k], ys[:, k]).solve(1e-4).T for k in range(self.ahead)]
        self.w_hy = np.stack(w)  # (ahead, 24, H)

    def answers(self, xs: Array) -> Array:
        """Days (N, ahead, 24)."""
        return np.einsum("nkh,kdh->nkd", self.states(xs)[:, self.read_days :], self.w_hy)


def hours(rng: np.random.Generator, days: int) -> Array:
    """A generated series of temperatures, (days, 24), mean 0: a daily wave whose height wanders, and noise."""
    height = np.ones(days)
    for day in range(1, days):
        height[day] = 1 + 0.95 * (height[day - 1] - 1) + 0.1 * rng.normal()
    wave = np.sin(2 * np.pi * (np.arange(DAY) - 9) / DAY)
    return height[:, None] * wave + 0.25 * rng.normal(size=(days, DAY))


def listens(network: Callable[[list[Array]], Sequence[Array]], xs: list[Array]) -> Array:
    """Which output (row) changes when an input (column) is nudged: True or False."""
    base = network(xs)
    table = np.zeros((len(base), len(xs)), dtype=bool)
    for k in range(len(xs)):
        moved = [x + 0.1 * (i == k) for i, x in enumerate(xs)]
        table[:, k] = [not np.array_equal(a, b) for a, b in zip(base, network(moved))]
    return table


@dataclass
class Shapes(Lesson):
    """One-to-one, one-to-many, many-to-one, many-to-many, each with the numbers of a real task."""

    title = "One-to-one, one-to-many, many-to-one, many-to-many, drawn with real tensors"
    minutes = "a few seconds"

    units: int = option(60, "Numbers in the state.", least=20, most=300)
    days: int = option(400, "Days of the generated series that it learns from.", least=100)

    def run(self, say: Narrator) -> dict[str, Any]:
        rng = np.random.default_rng(self.seed)
        reader, words = Reader(rng, self.units), ["a", "slow", "film", "lovely", "and", "great"]
        xs = reader.vectors(words)
        say(
            "The same equations serve every shape: h_t = tanh(W_hh h_{t-1} + W_xh x_t), y_t = W_hy h_t. What differs "
            "is how many inputs are read and how many outputs are taken. Who depends on whom is found by experiment: "
            "nudge an input, see which outputs move."
        )
        self.one_to_one(say, reader, xs, words)
        good = self.many_to_one(say, reader, xs, words)
        self.each_word(say, reader, xs, words)
        return {"good": good, **self.forecasts(say, rng)}

    def one_to_one(self, say: Narrator, reader: Reader, xs: list[Array], words: list[str]) -> None:
        say.step("1. One-to-one: one word, one answer")
        x = xs[-1:]
        h = reader.states(x)
        alone = np.tanh(reader.w_xh @ x[0])
        say.claim(
            "with a single step nothing is recurrent: W_hh h_0 = 0, an ordinary network is left",
            f"the state without W_hh differs by {np.abs(h[0] - alone).max():.0e}; '{words[-1]}' alone: "
            f"good with probability {reader.answer(h[0])[0]:.3f}",
            np.array_equal(h[0], alone),
        )
        tensors = Tensors("One-to-one: a word, an answer", x, h, reader.last(x), words[-1:])
        say.picture("shapes-1-one-to-one", draw(tensors))

    def many_to_one(self, say: Narrator, reader: Reader, xs: list[Array], words: list[str]) -> float:
        say.step("2. Many-to-one: a text, one answer")
        hs, table = reader.states(xs), listens(reader.last, xs)
        p = float(reader.answer(hs[-1])[0])
        say.table(
            ["inputs", "states", "outputs"],
            [(f"{len(xs)} x {xs[0].shape}", f"{len(hs)} x {hs[0].shape}", "1 x (1,)")],
        )
        say.claim(
            "the one output depends on every input",
            f"{int(table.sum())} of {table.size} inputs move it; '{' '.join(words)}' is good with probability {p:.3f}",
            bool(table.all()) and p > 0.5,
        )
        ys = [None] * (len(xs) - 1) + [reader.answer(hs[-1])]
        say.picture(
            "shapes-2-many-to-one", draw(Tensors("Many-to-one: a text, its sentiment", xs, hs, ys, words))
        )
        return p

    def each_word(self, say: Narrator, reader: Reader, xs: list[Array], words: list[str]) -> None:
        say.step("3. Many-to-many, in step: an answer after every word")
        hs, ys, table = reader.states(xs), reader.each(xs), listens(reader.each, xs)
        say.table(["after", *words], [("good", *(f"{y[0]:.2f}" for y in ys))])
        say.claim(
            "an output depends on the inputs so far and on none that comes later",
            f"{int(table.sum())} of {table.size} pairs, all on or below the diagonal",
            np.array_equal(table, np.tri(len(xs), dtype=bool)),
        )
        say.claim(
            "the answer follows the words: bad after the second, good after the last",
            f"{ys[1][0]:.2f} after '{words[1]}', {ys[-1][0]:.2f} after '{words[-1]}'",
            bool(ys[1][0] < 0.5 < ys[-1][0]),
        )
        say.picture(
            "shapes-3-in-step", draw(Tensors("Many-to-many, in step: an answer a word", xs, hs, ys, words))
        )

    def forecasts(self, say: Narrator, rng: np.random.Generator) -> dict[str, float]:
        series, found = hours(rng, self.days + 100), {}
        for name, number, read, title in (
            ("one_to_many", 4, 1, "One-to-many: one day read, three days given"),
            ("many_to_many", 5, 4, "Many-to-many, one after the other: four days read, three given"),
        ):
            say.step(f"{number}. {title}")
            found[name] = self.forecast(say, series, Days(rng, self.units, read, 3), number, title)
        return found

    def forecast(self, say: Narrator, series: Array, network: Days, number: int, title: str) -> float:
        read, ahead = network.read_days, network.ahead
        windows = np.lib.stride_tricks.sliding_window_view(series, read + ahead, axis=0).swapaxes(1, 2)
        train, test = windows[: self.days - read - ahead], windows[self.days :]
        network.fit(train[:, :read], train[:, read:])
        answers = network.answers(test[:, :read])
        off = float(((answers - test[:, read:]) ** 2).mean())
        naive = float(((test[:, read - 1 : read] - test[:, read:]) ** 2).mean())
        xs = list(test[0, :read])
        table = listens(lambda days: list(network.answers(np.stack(days)[None])[0]), xs)
        say.table(
            ["inputs", "states", "outputs"],
            [(f"{read} x ({DAY},)", f"{read + ahead} x ({self.units},)", f"{ahead} x ({DAY},)")],
        )
        say.claim(
            "the outputs come after the last input, and every one depends on every input",
            f"{int(table.sum())} of {table.size} pairs",
            bool(table.all()),
        )
        say.claim(
            "it has learned something: better than repeating the last day",
            f"mean squared error {off:.4f} on days not trained on, {naive:.4f} by repeating",
            off < naive,
        )
        hs = list(network.states(test[:1, :read])[0])
        names = [f"day {k + 1}" for k in range(read + ahead)]
        tensors = Tensors(title, [*xs, *[None] * ahead], hs, [*[None] * read, *answers[0]], names)
        say.picture(f"shapes-{number}-{'one' if read == 1 else 'many'}-to-many", draw(tensors))
        return off


def draw(tensors: Tensors) -> Drawing:
    """Inputs below, states in the middle, outputs above; of a long vector the first numbers."""
    steps = len(tensors.hs)
    picture = Drawing(max(150.0 * steps + 110, 620), 500, tensors.title)
    center = picture.width / 2
    picture.text((center, 28), tensors.title, size=17, bold=True)
    left = center - 75 * (steps - 1)
    for t, (x, h, y) in enumerate(zip(tensors.xs, tensors.hs, tensors.ys)):
        at = left + 150 * t
        _vector(picture, at, 196, h, f"h_{t + 1}", INK)
        if t:
            picture.arrow([(at - 120, 242), (at - 32, 242)], color=INK, width=2.4)
        if x is not None:
            _vector(picture, at, 348, x, f"x_{t + 1}", PURPLE)
            picture.arrow([(at, 344), (at, 296)], color=PURPLE, width=2.4)
        if y is not None:
            _vector(picture, at, 166 - 23 * min(len(y), FIRST), y, f"y_{t + 1}", GREEN)
            picture.arrow([(at, 192), (at, 170)], color=GREEN, width=2.4)
        picture.text((at, 462), tensors.names[t], size=14, bold=True)
    note = f"Of long vectors the first {FIRST} numbers. Purple, black: the same two matrices at every step. "
    note += "Green: the output's."
    picture.text((center, 488), note, size=11.5, color=QUIET)
    return picture


def _vector(picture: Drawing, at: float, top: float, values: Array, name: str, color: str) -> None:
    shown = np.asarray(values)[:FIRST]
    picture.cells(
        (at - 28, top), shown, size=(56, 23), limit=max(float(np.abs(values).max()), 1.0), form="+.2f"
    )
    if len(values) > FIRST:
        picture.text((at + 48, top + 8), f"({len(values)},)", size=11, color=QUIET)
    picture.formula((at - 42, top + 10), name, size=14, color=color, bold=True)
