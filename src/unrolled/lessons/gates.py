"""How far a recurrent network remembers, and why the LSTM and the GRU exist.

Notation: x_t input (D), h_t state (H), c_t the LSTM's cell (H), T steps, B examples. z_t = [x_t, h_{t-1}].

    s(z) = 1 / (1 + e^-z)
    plain   h_t = tanh(W z_t + b)
    LSTM    i, f, o = s(W z_t + b), g = tanh(W z_t + b)     c_t = f c_{t-1} + i g     h_t = o tanh(c_t)
    GRU     r, u = s(W z_t + b), n = tanh(W_n [x_t, r h_{t-1}] + b_n)     h_t = u h_{t-1} + (1 - u) n

The gradient of a loss at the end passes back through every step, and each step multiplies it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..drawing import Drawing, line_plot
from . import Lesson, Narrator, option

Array = np.ndarray


def sigmoid(z: Array) -> Array:
    """1 / (1 + e^-z)."""
    return 1 / (1 + np.exp(-z))


class Cell:
    """A recurrent layer: W (gates H, D + H), b (gates H,). A state is (B, H), for the LSTM (B, 2 H): h beside c."""

    gates, parts = 1, 1

    def __init__(self, rng: np.random.Generator, inputs: int, units: int, distance: int) -> None:
        self.units = units
        w_h = rng.normal(size=(self.gates, units, units))
        w_h *= 0.9 / np.linalg.norm(w_h, 2, axis=(1, 2))[:, None, None]  # no vector grows more than 0.9 times
        w_x = rng.normal(size=(self.gates, units, inputs)) / np.sqrt(inputs)
        self.w = np.concatenate([w_x, w_h], axis=2).reshape(self.gates * units, -1)
        self.b = np.zeros(self.gates * units)
        self.remember(rng, distance)

    def remember(self, rng: np.random.Generator, distance: int) -> None:
        """Biases to begin with; the plain network has none that could help."""

    def step(self, x: Array, s: Array) -> tuple[Array, Any]:
        """The next state, and what going back needs."""
        z = np.concatenate([x, s], axis=1)  # (B, D + H)
        h = np.tanh(z @ self.w.T + self.b)  # (B, H)
        return h, (z, h)

    def back(self, ds: Array, kept: Any, grad: list[Array]) -> Array:
        """From the gradient of a state to that of the one before; adds those of W and b to `grad`."""
        z, h = kept
        da = ds * (1 - h**2)  # (B, H)   tanh' = 1 - tanh^2
        return self.through(da, z, grad)[:, -self.units :]

    def through(self, da: Array, z: Array, grad: list[Array]) -> Array:
        """Back through W z + b, (B, gates H) to (B, D + H)."""
        grad[0] += da.T @ z
        grad[1] += da.sum(0)
        return da @ self.w


class Lstm(Cell):
    """Hochreiter & Schmidhuber (1997), with the forget gate of Gers et al. (2000)."""

    gates, parts = 4, 2

    def remember(self, rng: np.random.Generator, distance: int) -> None:
        H = self.units
        # Forget gates that begin near 1 keep for about `distance` steps (Tallec & Ollivier 2018).
        self.b[H : 2 * H] = np.log(rng.uniform(distance, 3 * distance, H))
        self.b[:H] = -1

    def step(self, x: Array, s: Array) -> tuple[Array, Any]:
        h, c = np.split(s, 2, axis=1)
        z = np.concatenate([x, h], axis=1)
        i, f, g, o = np.split(z @ self.w.T + self.b, 4, axis=1)
        i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
        new = f * c + i * g  # (B, H)   the line on which memory travels
        return np.concatenate([o * np.tanh(new), new], axis=1), (z, i, f, g, o, c, new)

    def back(self, ds: Array, kept: Any, grad: list[Array]) -> Array:
        z, i, f, g, o, c, new = kept
        dh, dc = np.split(ds, 2, axis=1)
        dc = dc + dh * o * (1 - np.tanh(new) ** 2)
        inner = [
            dc * g * i * (1 - i),
            dc * c * f * (1 - f),
            dc * i * (1 - g**2),
            dh * np.tanh(new) * o * (1 - o),
        ]
        dz = self.through(np.concatenate(inner, axis=1), z, grad)
        return np.concatenate([dz[:, -self.units :], dc * f], axis=1)


class Gru(Cell):
    """Cho et al. (2014)."""

    gates = 3

    def remember(self, rng: np.random.Generator, distance: int) -> None:
        H = self.units
        self.b[H : 2 * H] = np.log(rng.uniform(distance, 3 * distance, H))

    def step(self, x: Array, s: Array) -> tuple[Array, Any]:
        H, z = self.units, np.concatenate([x, s], axis=1)
        r, u = np.split(sigmoid(z @ self.w[: 2 * H].T + self.b[: 2 * H]), 2, axis=1)
        zn = np.concatenate([x, r * s], axis=1)
        n = np.tanh(zn @ self.w[2 * H :].T + self.b[2 * H :])
        return u * s + (1 - u) * n, (z, zn, r, u, n, s)

    def back(self, ds: Array, kept: Any, grad: list[Array]) -> Array:
        z, zn, r, u, n, s = kept
        H = self.units
        dn = ds * (1 - u) * (1 - n**2)
        d_rs = (dn @ self.w[2 * H :])[:, -H:]
        da = np.concatenate([d_rs * s * r * (1 - r), ds * (s - n) * u * (1 - u)], axis=1)
        grad[0] += np.concatenate([da.T @ z, dn.T @ zn])
        grad[1] += np.concatenate([da, dn], axis=1).sum(0)
        return ds * u + d_rs * r + (da @ self.w[: 2 * H])[:, -H:]


CELLS = {"plain": Cell, "LSTM": Lstm, "GRU": Gru}


def read(cell: Cell, xs: Array) -> tuple[Array, list[Any]]:
    """The last state after xs (T, B, D), and what each step kept."""
    s, kept = np.zeros((xs.shape[1], cell.parts * cell.units)), []
    for x in xs:
        s, one = cell.step(x, s)
        kept.append(one)
    return s, kept


def gradients(cell: Cell, kept: list[Any], ds: Array) -> tuple[list[Array], list[Array]]:
    """Backpropagation through time from ds, how the loss moves with the last state: of W and b, and of each state."""
    grad, states = [np.zeros_like(cell.w), np.zeros_like(cell.b)], [ds]
    for one in reversed(kept):
        states.append(cell.back(states[-1], one, grad))
    return grad, states


def make(rng: np.random.Generator, count: int, distance: int) -> tuple[Array, Array]:
    """Inputs (T, B, 2) and answers (B,): random signs, and a mark on the first; the answer is the marked sign."""
    signs = rng.choice([-1.0, 1.0], size=(distance + 1, count))
    marks = np.zeros_like(signs)
    marks[0] = 1
    return np.stack([signs, marks], axis=2), signs[0] > 0


class Answering:
    """A cell, and p = s(v h_T + a) behind it, trained with Adam (Kingma & Ba 2015)."""

    def __init__(self, cell: Cell, rng: np.random.Generator) -> None:
        self.cell, self.v, self.a = cell, rng.normal(size=cell.units) / np.sqrt(cell.units), np.zeros(1)
        self.moments = [(np.zeros_like(w), np.zeros_like(w)) for w in self.weights]

    @property
    def weights(self) -> list[Array]:
        """Everything that is trained."""
        return [self.cell.w, self.cell.b, self.v, self.a]

    def right(self, xs: Array, answers: Array) -> float:
        """Share of right answers."""
        h = read(self.cell, xs)[0][:, : self.cell.units]
        return float((((h @ self.v + self.a) > 0) == answers).mean())

    def learn(self, xs: Array, answers: Array, number: int, rate: float = 0.02) -> None:
        """One update."""
        s, kept = read(self.cell, xs)
        h = s[:, : self.cell.units]
        d = (sigmoid(h @ self.v + self.a) - answers) / len(answers)  # (B,)   cross-entropy
        ds = np.zeros_like(s)
        ds[:, : self.cell.units] = d[:, None] * self.v
        grads = [*gradients(self.cell, kept, ds)[0], d @ h, d.sum(keepdims=True)]
        for w, g, (m, q) in zip(self.weights, grads, self.moments):
            m[...] += 0.1 * (g - m)
            q[...] += 0.01 * (g * g - q)
            step = m / (1 - 0.9**number) / (np.sqrt(q / (1 - 0.99**number)) + 1e-8)
            w[...] -= rate * step


@dataclass
class Gates(Lesson):
    """A plain recurrent network forgets; a gate lets the gradient through."""

    title = "How far a plain recurrent network remembers, and why LSTM and GRU exist"
    minutes = "half a minute"

    far: int = option(60, "Steps between the sign to remember and the answer.", least=30, most=200)
    near: int = option(2, "The same, where the plain network can do it too.", least=1, most=5)
    units: int = option(8, "Numbers in the state.", least=8, most=64)
    updates: int = option(400, "Training steps at most.", least=200)

    def run(self, say: Narrator) -> dict[str, Any]:
        rng = np.random.default_rng(self.seed)
        self.one_number(say)
        kept = self.distance(say, rng)
        self.line(say, rng)
        return {**kept, **self.training(say)}

    def one_number(self, say: Narrator) -> None:
        say.step("1. One number, carried along")
        say(
            "Let the state be one number and each step multiply it: h_t = w h_{t-1}. Then ∂h_T/∂h_0 = w^T, and only "
            "w = 1 neither forgets nor bursts."
        )
        weights = (0.9, 1.0, 1.1)
        say.table(
            ["T", *(f"w = {w}" for w in weights)],
            [(t, *(f"{w**t:.2e}" for w in weights)) for t in (10, 50, 100)],
        )
        say.claim(
            "a little below 1 vanishes, a little above explodes",
            f"after 100 steps 0.9 leaves {0.9**100:.1e}, 1.1 makes {1.1**100:.0f} of 1",
            0.9**100 < 1e-4 and 1.1**100 > 1e4,
        )

    def distance(self, say: Narrator, rng: np.random.Generator) -> dict[str, Any]:
        say.step("2. A state of several numbers: gradient against distance")
        say(
            f"Three networks with {self.units} units read {self.far} random inputs, and a gradient of length 1 is sent "
            "back from the last state. Its length is measured at each step. W_h of all three lengthens no vector by "
            "more than 0.9."
        )
        xs, lengths = rng.normal(size=(self.far, 16, 2)), {}
        for name, kind in CELLS.items():
            cell = kind(rng, 2, self.units, self.far)
            s, kept = read(cell, xs)
            ds = rng.normal(size=s.shape)
            ds /= np.linalg.norm(ds, axis=1, keepdims=True)
            lengths[name] = [float(np.linalg.norm(d, axis=1).mean()) for d in gradients(cell, kept, ds)[1]]
            self.nudged(say, cell, xs, name)
        shown = sorted({0, 1, 5, 10, 20, self.far})
        say.table(
            ["distance", *lengths], [(k, *(f"{way[k]:.1e}" for way in lengths.values())) for k in shown]
        )
        bound = 0.9**self.far
        say.claim(
            f"in the plain network a gradient that went back k steps is at most 0.9^k long, {bound:.0e} here",
            f"{lengths['plain'][-1]:.1e} after {self.far} steps",
            lengths["plain"][-1] <= bound,
        )
        say.claim(
            "gates keep it: a forget gate near 1 multiplies by nearly 1",
            f"{lengths['LSTM'][-1]:.2f} in the LSTM, {lengths['GRU'][-1]:.2f} in the GRU",
            min(lengths["LSTM"][-1], lengths["GRU"][-1]) > 1e3 * lengths["plain"][-1],
        )
        say.picture("gates-gradient", draw(lengths))
        return {f"gradient_{name.lower()}": way[-1] for name, way in lengths.items()}

    def nudged(self, say: Narrator, cell: Cell, xs: Array, name: str) -> None:
        """Check backpropagation: move one number of the first input and watch the last state."""
        few, grad = xs[:6, :1], [np.zeros_like(cell.w), np.zeros_like(cell.b)]
        s, kept = read(cell, few)
        ds = np.ones_like(s)
        for one in reversed(kept[1:]):
            ds = cell.back(ds, one, grad)
        up, down = (
            few + size * (np.arange(6) == 0)[:, None, None] * np.array([1.0, 0.0]) for size in (1e-5, -1e-5)
        )
        moved = (read(cell, up)[0].sum() - read(cell, down)[0].sum()) / 2e-5
        first = [
            cell.step(few[0] + size * np.array([1.0, 0.0]), np.zeros_like(s))[0] for size in (1e-5, -1e-5)
        ]
        chain = float((ds * (first[0] - first[1]) / 2e-5).sum())
        say.claim(
            f"{name}: ∂(sum of the last state)/∂x_1 by the chain rule is what nudging x_1 shows",
            f"{chain:+.6f} and {moved:+.6f}",
            abs(chain - moved) < 1e-6 + 1e-4 * abs(moved),
        )

    def line(self, say: Narrator, rng: np.random.Generator) -> None:
        say.step("3. The line of the LSTM")
        say(
            "c_t = f c_{t-1} + i g: along the cell a gradient meets no matrix and no tanh, only the forget gates. With "
            "the gates as they are, ∂c_T/∂c_0 is their product."
        )
        cell = Lstm(rng, 2, self.units, self.far)
        kept = read(cell, rng.normal(size=(self.far, 1, 2)))[1]
        product = np.prod([one[2] for one in kept], axis=0)[0]
        c = [np.full(self.units, start) for start in (0.0, 1.0)]
        for _, i, f, g, *_ in kept:
            c = [f[0] * one + i[0] * g[0] for one in c]
        say.claim(
            "∂c_T/∂c_0 = f_1 f_2 ... f_T",
            f"largest difference {np.abs(c[1] - c[0] - product).max():.0e}; the products lie between "
            f"{product.min():.2f} and {product.max():.2f}",
            bool(np.allclose(c[1] - c[0], product, rtol=1e-9)),
        )

    def training(self, say: Narrator) -> dict[str, Any]:
        say.step("4. What it means for learning")
        say(
            "Each input is a sign, and a mark stands on the first. After the last the network has to say which sign "
            f"was marked. Trained with Adam, at most {self.updates} updates of 32 examples; chance is 50%."
        )
        found: dict[str, dict[int, float]] = {name: {} for name in CELLS}
        for name, kind in CELLS.items():
            for distance in (self.near, self.far):
                found[name][distance] = self.trained(kind, distance)
        say.table(
            ["", f"{self.near} steps back", f"{self.far} steps back"],
            [(name, *(f"{share:.1%}" for share in shares.values())) for name, shares in found.items()],
        )
        plain = found["plain"]
        say.claim(
            f"a plain network learns what lies {self.near} steps back, and not what lies {self.far} back",
            f"{plain[self.near]:.1%} and {plain[self.far]:.1%} right",
            plain[self.near] > 0.95 and plain[self.far] < 0.75,
        )
        gated = min(found[name][self.far] for name in ("LSTM", "GRU"))
        say.claim(
            "with gates it can be learned", f"{gated:.1%} right or more, {self.far} steps back", gated > 0.95
        )
        return {f"right_{name.lower()}": shares[self.far] for name, shares in found.items()}

    def trained(self, kind: type[Cell], distance: int) -> float:
        """Share of right answers on held-out examples after training."""
        rng = np.random.default_rng([self.seed, distance])
        network = Answering(kind(rng, 2, self.units, distance), rng)
        held_out, right = make(rng, 500, distance), 0.5
        for number in range(1, self.updates + 1):
            network.learn(*make(rng, 32, distance), number)
            if number % 20 == 0 or number == self.updates:
                right = network.right(*held_out)
                if right > 0.99:
                    break
        return right


def draw(lengths: dict[str, list[float]]) -> Drawing:
    """Gradient against distance, in powers of ten."""
    lines = {name: (range(len(way)), np.log10(np.maximum(way, 1e-300))) for name, way in lengths.items()}
    heading, across, up = "How much of a gradient is left", "steps back", "length of the gradient, power of ten"
    return line_plot(lines, title=heading, x_label=across, y_label=up)
