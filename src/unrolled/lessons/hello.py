"""A recurrent network reads h, e, l, l and says e, l, l, o.

Notation, as in the text: x_t input, h_t hidden state, y_t output at step t; V letters, H hidden numbers.

    h_t = tanh(W_hh h_{t-1} + W_xh x_t)     h_0 = 0
    y_t = W_hy h_t
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..drawing import GREEN, INK, PURPLE, QUIET, Drawing, Point, line_plot
from . import Lesson, Narrator, numbers, option

LETTERS = "helo"
FORGETTING = [("h", "e"), ("e", "l"), ("l", "l"), ("l", "o")]  # each letter read alone, from h_0 = 0
REMEMBERING = [("hell", "ello")]  # the four letters read in a row


def one_hot(letters: str) -> list[np.ndarray]:
    """For each letter 1 in its place and 0 elsewhere, shape (V,)."""
    return [np.eye(len(LETTERS))[LETTERS.index(letter)] for letter in letters]


def softmax(y: np.ndarray) -> np.ndarray:
    """Scores as probabilities, shape (V,)."""
    e = np.exp(y - y.max())
    return e / e.sum()


@dataclass(frozen=True)
class Step:
    """What the network had in its hands at one time step."""

    x: np.ndarray  # (V,)
    before: np.ndarray  # (H,)   h_{t-1}
    h: np.ndarray  # (H,)
    y: np.ndarray  # (V,)
    weights: tuple[np.ndarray, np.ndarray, np.ndarray]

    @property
    def says(self) -> str:
        """The letter with the highest score."""
        return LETTERS[int(self.y.argmax())]


class Network:
    """The recurrent network of the text."""

    def __init__(self, hidden: int, rng: np.random.Generator) -> None:
        letters = len(LETTERS)
        self.w_xh = rng.normal(size=(hidden, letters)) / np.sqrt(letters)
        self.w_hh = np.linalg.qr(rng.normal(size=(hidden, hidden)))[
            0
        ]  # keeps the length of what it remembers
        self.w_hy = rng.normal(size=(letters, hidden)) / np.sqrt(hidden)

    def read(self, xs: list[np.ndarray]) -> list[Step]:
        """The forward pass, one step for each x_t."""
        h, steps = np.zeros(len(self.w_hh)), []
        for x in xs:
            before = h
            h = np.tanh(self.w_hh @ before + self.w_xh @ x)  # (H,)
            y = self.w_hy @ h  # (V,)
            steps.append(Step(x, before, h, y, (self.w_xh, self.w_hh, self.w_hy)))
        return steps

    def gradients(self, letters: str, targets: str) -> tuple[float, list[np.ndarray]]:
        """Summed cross-entropy, and how it moves with W_xh, W_hh and W_hy: backpropagation through time."""
        steps, loss = self.read(one_hot(letters)), 0.0
        d_xh, d_hh, d_hy = (np.zeros_like(w) for w in (self.w_xh, self.w_hh, self.w_hy))
        dh = np.zeros(len(self.w_hh))  # what the later steps say about h_t
        for step, target in zip(reversed(steps), reversed(one_hot(targets))):
            p = softmax(step.y)
            loss -= float(np.log(p @ target))
            dy = p - target  # (V,)
            d_hy += np.outer(dy, step.h)
            da = (dh + self.w_hy.T @ dy) * (1 - step.h**2)  # (H,)   tanh' = 1 - tanh^2
            d_xh += np.outer(da, step.x)
            d_hh += np.outer(da, step.before)
            dh = self.w_hh.T @ da  # one step back through time
        return loss, [d_xh, d_hh, d_hy]


def train(network: Network, examples: list[tuple[str, str]], rate: float, goal: float) -> list[float]:
    """Gradient descent on all examples at once: the mean loss a letter at each epoch, until it is below `goal`.

    After 2000 epochs it ends in any case; until then the learning rate falls to zero, so that nothing swings.
    """
    letters, losses = sum(len(x) for x, _ in examples), []
    for epoch in range(2000):
        found = [network.gradients(x, targets) for x, targets in examples]
        losses.append(sum(loss for loss, _ in found) / letters)
        if losses[-1] < goal:
            break
        size = rate * (1 - epoch / 2000) / letters
        for weights, *shares in zip((network.w_xh, network.w_hh, network.w_hy), *(g for _, g in found)):
            weights[:] -= size * sum(shares)
    return losses


def derivative_of_last_state(network: Network, steps: list[Step]) -> np.ndarray:
    """∂h_T/∂x_1, shape (H, V), by the chain rule: one factor diag(1 - h_t^2) W_hh for each step between."""
    chain = (1 - steps[0].h ** 2)[:, None] * network.w_xh
    for step in steps[1:]:
        chain = (1 - step.h**2)[:, None] * network.w_hh @ chain
    return chain


def nudged_last_state(network: Network, xs: list[np.ndarray], size: float = 1e-5) -> np.ndarray:
    """The same by experiment: add and take a little from each number of x_1 and watch h_T."""
    nudges = size * np.eye(len(LETTERS))
    up, down = ([network.read([x, *xs[1:]])[-1].h for x in xs[0] + sign * nudges] for sign in (1, -1))
    return (np.array(up) - np.array(down)).T / (2 * size)


@dataclass
class Hello(Lesson):
    """Only memory can tell the first l of hello from the second."""

    title = "A recurrent network reads h, e, l, l and says o"
    minutes = "a few seconds"

    hidden: int = option(3, "Numbers in the hidden state h_t.", least=3)
    rate: float = option(0.5, "Learning rate of gradient descent.", least=0.1, most=1.0)

    def run(self, say: Narrator) -> dict[str, Any]:
        network = Network(self.hidden, np.random.default_rng(self.seed))
        self.before_training(say, network)
        losses = self.training(say, network)
        without = self.without_memory(say)
        strongest = self.memory(say, network)
        say.picture("hello-unrolled", draw_unrolled(network.read(one_hot("hell"))))
        say.picture("hello-loss", draw_losses(losses, without["losses"]))
        return {
            "prediction": network.read(one_hot("hell"))[-1].says,
            "epochs": len(losses),
            "loss": losses[-1],
            "mlp_loss": without["losses"][-1],
            "mlp_probability_of_o": without["o"],
            "largest_dh4_dx1": strongest,
        }

    def before_training(self, say: Narrator, network: Network) -> None:
        say.step("1. The network, before it has learned anything")
        say(
            f"The vocabulary is h, e, l, o; a letter is given as four numbers, one of them 1 (one-hot). "
            f"h_t = tanh(W_hh h_{{t-1}} + W_xh x_t) has {self.hidden} numbers, y_t = W_hy h_t has four: a score for "
            f"each letter that may come next. h_0 is all zeros. Weights are random, so the answers are too."
        )
        steps = network.read(one_hot("hell"))
        show_steps(say, steps)
        used = {tuple(id(weights) for weights in step.weights) for step in steps}
        say.claim(
            "the same W_xh, W_hh and W_hy are used at every step",
            f"{len(steps)} steps used {len(used)} set of three matrices, the very same objects in memory",
            len(used) == 1,
        )

    def training(self, say: Narrator, network: Network) -> list[float]:
        say.step("2. Training: backpropagation through time")
        say(
            "The targets are e, l, l, o. The loss is the cross-entropy of softmax(y_t), averaged over the letters. "
            "Its gradient flows back through the steps, and what each step says about a weight is added up."
        )
        losses = train(network, REMEMBERING, self.rate, goal=0.05)
        shown = sorted({0, len(losses) // 4, len(losses) // 2, len(losses) - 1})
        say.table(["epoch", "loss"], [(k + 1, f"{losses[k]:.4f}") for k in shown])
        steps = network.read(one_hot("hell"))
        show_steps(say, steps)
        said, sure = "".join(step.says for step in steps), softmax(steps[-1].y)[LETTERS.index("o")]
        you_see = f"it says {', '.join(said)}; o with probability {sure:.2f}"
        say.claim("after h, e, l, l comes o", you_see, said == "ello")
        return losses

    def without_memory(self, say: Narrator) -> dict[str, Any]:
        say.step("3. The same without memory: an MLP on the last letter")
        say(
            "After the first l comes l, after the second comes o. A network that sees the last letter alone gets the "
            "same input both times, so it must give the same answer. We train one: the same sizes, each letter read "
            "from h_0 = 0, so that W_hh h_0 = 0 and only an MLP is left: y = W_hy tanh(W_xh x)."
        )
        mlp = Network(self.hidden, np.random.default_rng(self.seed))
        losses, best = train(mlp, FORGETTING, self.rate, goal=0.0), np.log(2) / 2
        p = softmax(mlp.read(one_hot("l"))[0].y)
        again, other = p[LETTERS.index("l")], p[LETTERS.index("o")]
        say.claim(
            "an MLP on the last letter cannot: after l it is 50/50 between l and o",
            f"after l it gives l {again:.3f} and o {other:.3f}",
            abs(again - 0.5) < 0.02 and abs(other - 0.5) < 0.02,
        )
        say.claim(
            f"so its loss cannot go below (ln 2)/2 = {best:.4f}: two of four letters are a coin toss",
            f"after {len(losses)} epochs it is {losses[-1]:.4f}",
            best - 1e-12 <= losses[-1] < best + 0.02,
        )
        return {"losses": losses, "o": float(other)}

    def memory(self, say: Narrator, network: Network) -> float:
        say.step("4. Where the memory is")
        steps = network.read(one_hot("hell"))
        apart = float(np.abs(steps[2].h - steps[3].h).max())
        say.claim(
            "the state tells the two l apart: x_3 = x_4, but h_3 is not h_4",
            f"h_3 = {numbers(steps[2].h)}, h_4 = {numbers(steps[3].h)}",
            np.array_equal(steps[2].x, steps[3].x) and apart > 1e-3,
        )
        chain, nudged = derivative_of_last_state(network, steps), nudged_last_state(network, one_hot("hell"))
        say("∂h_4/∂x_1: how each number of the last state (a row) moves with each number of x_1 (a column):")
        say.table(["", *LETTERS], [(f"h_4[{k}]", *(f"{v:+.2e}" for v in row)) for k, row in enumerate(chain)])
        strongest, differ = float(np.abs(chain).max()), float(np.abs(chain - nudged).max())
        say.claim(
            "∂h_4/∂x_1 is not zero: the last state still depends on the first letter",
            f"largest entry {strongest:.2e} by the chain rule; nudging x_1 agrees within {differ:.0e}",
            strongest > 1e-8 and differ < 0.01 * strongest,
        )
        return strongest


def show_steps(say: Narrator, steps: list[Step]) -> None:
    """x_t, h_t and y_t of every step as a table."""
    rows = [
        (t, LETTERS[int(s.x.argmax())], numbers(s.x, ".0f"), numbers(s.h[:8]), numbers(s.y), s.says)
        for t, s in enumerate(steps, start=1)
    ]
    say.table(["t", "reads", "x_t", "h_t" if len(steps[0].h) <= 8 else "h_t (first 8)", "y_t", "says"], rows)


def draw_losses(recurrent: list[float], mlp: list[float]) -> Drawing:
    """Both learning curves, as far as the recurrent network needed and the same again."""
    longest = min(len(mlp), 2 * len(recurrent))
    lines = {
        "recurrent network": (range(1, len(recurrent) + 1), recurrent),
        "MLP on the last letter": (range(1, longest + 1), mlp[:longest]),
    }
    floor = {"no MLP gets below (ln 2)/2": np.log(2) / 2}
    labels = {
        "title": "Learning hello with and without memory",
        "x_label": "epoch",
        "y_label": "loss a letter",
    }
    return line_plot(lines, y_range=(0, 1.5), levels=floor, **labels)


def draw_unrolled(steps: list[Step]) -> Drawing:
    """The network unrolled over h, e, l, l with its live numbers; the same weights have the same colour."""
    picture = Drawing(880, 640, "The network unrolled over h, e, l, l, with its live numbers")
    picture.text((440, 26), "One recurrent network, unrolled over h, e, l, l", size=18, bold=True)
    formula = "h_t = tanh(W_hh h_{t-1} + W_xh x_t)\u2003\u2003y_t = W_hy h_t"
    picture.formula((440, 54), formula, size=15, color=QUIET)
    for row, name in ((160, "y_t"), (325, "h_t"), (495, "x_t")):
        picture.formula((22, row), name, size=18, anchor="start", bold=True)
    scale, half = float(max(np.abs(step.y).max() for step in steps)), min(13.0 * len(steps[0].h), 70.0)
    _draw_state(picture, 110, half, np.zeros(len(steps[0].h)), "h_0")
    for t, step in enumerate(steps, start=1):
        x = 110 + 170 * t
        _draw_state(picture, x, half, step.h, f"h_{t}")
        _draw_letters(picture, (x, 108), step.y, scale, "+.2f")
        _draw_letters(picture, (x, 443), step.x, 1.0, ".0f")
        picture.text((x, 86), f"says {step.says}", size=17, bold=True)
        picture.text((x, 568), f"reads {LETTERS[int(step.x.argmax())]}", size=17, bold=True)
        picture.arrow([(x, 439), (x, 329 + half)], color=PURPLE, width=2.4)
        picture.arrow([(x - 138, 325), (x - 32, 325)], color=INK, width=2.4)
        picture.arrow([(x, 321 - half), (x, 216)], color=GREEN, width=2.4)
        picture.formula((x + 12, 384 + half / 2), "W_xh", anchor="start", color=PURPLE, bold=True)
        picture.formula((x - 85, 308), "W_hh", color=INK, bold=True)
        picture.formula((x + 12, 268 - half / 2), "W_hy", anchor="start", color=GREEN, bold=True)
    note = "Arrows of one colour are one matrix: all steps share it. Orange cells are above zero, blue ones below."
    picture.text((440, 612), note, size=13, color=QUIET)
    return picture


def _draw_state(picture: Drawing, x: float, half: float, h: np.ndarray, name: str) -> None:
    high = 2 * half / len(h)
    picture.cells((x - 28, 325 - half), h, size=(56, high), form="+.2f" if high > 14 else "")
    picture.formula((x - 34, 314 - half), name, size=15, color=QUIET)


def _draw_letters(picture: Drawing, top: Point, values: np.ndarray, limit: float, form: str) -> None:
    x, y = top
    picture.cells((x - 28, y), values, size=(56, 26), limit=limit, form=form)
    for k, letter in enumerate(LETTERS):
        picture.text((x - 41, y + 13 + 26 * k), letter, size=13, color=QUIET)
