"""The recurrent neuron in NumPy, to be read; it serves where the compiled engine is missing.

    h_t = f(W_ih x_t + b + W_hh h_(t-1)),  t = 0 ... T-1

Shapes: x (T, B, D), h (B, H), W_ih (H, D), W_hh (H, H), b (H,), lengths (B,). A row is alive at step t while
t < lengths[b]; past its end its output is zero and its state stays. The backward pass is the derivative of
these lines, step by step (Werbos, "Backpropagation through time", 1990).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

Array = np.ndarray


class Gradients(NamedTuple):
    """Each in the shape of what it is the gradient of."""

    x: Array
    w_ih: Array
    w_hh: Array
    b: Array
    h_0: Array


def product(a: Array, w: Array) -> Array:
    """Rows a W^T for a (..., K), W (N, K): each row by itself, so that its bits do not depend on the other rows."""
    return np.einsum("...k,nk->...n", a, w)


def activate(z: Array, nonlinearity: str) -> Array:
    """f(z)."""
    return np.tanh(z) if nonlinearity == "tanh" else np.maximum(z, 0)


def slope(h: Array, nonlinearity: str) -> Array:
    """f'(z) where h = f(z)."""
    return 1 - h * h if nonlinearity == "tanh" else np.where(h <= 0, 0, 1).astype(h.dtype)


def scan(z: Array, w_hh: Array, h_0: Array, lengths: Array | None, nonlinearity: str) -> tuple[Array, Array]:
    """The recurrence over input products z (T, B, H): all states, zero past each end, and the last ones."""
    h = h_0.copy()
    output = np.zeros_like(z)
    for t in range(len(z)):
        alive = slice(None) if lengths is None else t < lengths
        h[alive] = activate(z[t, alive] + product(h[alive], w_hh), nonlinearity)
        output[t, alive] = h[alive]
    return output, h


def backward(
    weights: tuple[Array, Array], x: Array, h_0: Array, output: Array, upstream: tuple[Array, Array],
    *, lengths: Array | None = None, nonlinearity: str = "tanh",
) -> Gradients:  # fmt: skip
    """Gradients from those of the output (T, B, H) and of the last states (B, H); weights are (W_ih, W_hh)."""
    (w_ih, w_hh), (d_output, d_h) = weights, upstream
    d_z = np.zeros_like(output)
    for t in reversed(range(len(x))):
        alive = np.ones(len(h_0), bool) if lengths is None else t < lengths
        d_z[t] = (d_h + d_output[t]) * slope(output[t], nonlinearity) * alive[:, None]
        d_h = np.where(alive[:, None], d_z[t] @ w_hh, d_h)
    before = np.concatenate([h_0[None], output])[: len(x)]
    d_w_hh = np.einsum("tbi,tbj->ij", d_z, before)
    return Gradients(d_z @ w_ih, np.einsum("tbi,tbj->ij", d_z, x), d_w_hh, d_z.sum((0, 1)), d_h)


def rmsprop(weight: Array, square: Array, gradient: Array, lr: float, rho: float, eps: float) -> None:
    """Update in place: v = rho v + (1 - rho) g^2; w = w - lr g / sqrt(v + eps)."""
    square *= rho
    square += (1 - rho) * gradient * gradient
    weight -= lr * gradient / np.sqrt(square + eps)
