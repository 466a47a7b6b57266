"""The LSTM and the GRU in NumPy, to be read; they serve where the compiled engine is missing.

Shapes: x (T, B, D), states (B, H), W_ih (G H, D), W_hh (G H, H), b (G H,), lengths (B,). A row is alive at step t while
t < lengths[b]; past its end its output is zero and its states stay.
"""

from __future__ import annotations

import numpy as np

from .reference import product

Array = np.ndarray


def sigmoid(z: Array) -> Array:
    """1 / (1 + exp(-z)), written so that no exponential overflows and none of the small answers is lost."""
    e = np.exp(-np.abs(z))
    return np.where(z >= 0, 1 / (1 + e), e / (1 + e))


def lstm(a_x: Array, a_h: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
    """The next (h, c) from W_ih x + b_ih and W_hh h + b_hh, (B, 4 H) each; gates i f g o."""
    i, f, g, o = np.split(a_x + a_h, 4, -1)
    c = sigmoid(f) * state[1] + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def gru(a_x: Array, a_h: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
    """The next (h,) from W_ih x + b_ih and W_hh h + b_hh, (B, 3 H) each; gates r z n."""
    x_r, x_z, x_n = np.split(a_x, 3, -1)
    h_r, h_z, h_n = np.split(a_h, 3, -1)
    r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
    n = np.tanh(x_n + r * h_n)
    return (n + z * (state[0] - n),)


def scan(
    cell: str,
    x: Array,
    weights: tuple[Array, ...],
    state: tuple[Array, ...],
    lengths: Array,
    *,
    reverse: bool,
) -> tuple[Array, tuple[Array, ...]]:
    """All outputs (T, B, H), zero past each end, and the last states; weights are (w_ih, w_hh, b_ih, b_hh)."""
    step = {"lstm": lstm, "gru": gru}[cell]
    w_ih, w_hh, b_ih, b_hh = weights
    a_x = product(x, w_ih) + (0 if b_ih is None else b_ih)
    state = tuple(values.copy() for values in state)
    output = np.zeros((*x.shape[:2], w_hh.shape[1]), x.dtype)
    for t in reversed(range(len(x))) if reverse else range(len(x)):
        alive = t < lengths
        before = tuple(values[alive] for values in state)
        a_h = product(before[0], w_hh) + (0 if b_hh is None else b_hh)
        after = step(a_x[t, alive], a_h, before)
        for values, new in zip(state, after, strict=True):
            values[alive] = new
        output[t, alive] = after[0]
    return output, state
