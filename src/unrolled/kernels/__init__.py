"""The engine from Python: the recurrent neuron over a whole sequence in one call, forward, on NumPy arrays.

Each function falls back to the readable NumPy of `reference` where the compiled engine is missing (`info()` says
why). Training goes through `kernels.torch_ops`, which this module never imports. float32 throughout.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..errors import ShapeError
from . import abi, gated, native, reference
from .library import EngineInfo, engine, info, isas, set_isa, set_threads
from .stepper import Stepper

__all__ = [
    "EngineInfo", "Stepper", "Support", "available", "elman", "elman_tokens", "gru", "info", "input_table", "isas",
    "lstm", "rmsprop", "set_isa", "set_threads", "supports",
]  # fmt: skip

Array = np.ndarray
CELLS = ("elman", "gru", "lstm", "mingru")


class Support(NamedTuple):
    """Whether the engine takes a call, and if not, why. True or false as a condition."""

    ok: bool
    reason: str = ""

    def __bool__(self) -> bool:
        return self.ok


def available() -> bool:
    """Whether the compiled engine is there."""
    return engine() is not None


def supports(cell: str, *, dtype: Any = "float32", device: str = "cpu") -> Support:
    """Whether the engine computes `cell` for arrays of `dtype` on `device`: the one place that decides."""
    if cell not in CELLS:
        return Support(False, f"The engine has no cell '{cell}'; it has {', '.join(CELLS)}.")
    if str(dtype).removeprefix("torch.") != "float32":
        return Support(False, f"The engine computes in float32, not in {str(dtype).removeprefix('torch.')}.")
    if device != "cpu":
        return Support(False, f"The engine runs on the CPU, not on '{device}'.")
    return Support(True) if available() else Support(False, info().reason)


def elman(
    x: Array, w_ih: Array, w_hh: Array, b: Array | None = None, h_0: Array | None = None,
    *, lengths: Array | None = None, nonlinearity: str = "tanh", reverse: bool = False,
) -> tuple[Array, Array]:  # fmt: skip
    """h_t = f(W_ih x_t + b + W_hh h_(t-1)) (Elman, "Finding structure in time", 1990).

    Args:
        x: (T, B, D), any strides.
        w_ih: (H, D).
        w_hh: (H, H).
        b: (H,).
        h_0: (B, H); zeros by default.
        lengths: (B,) integers from 0 to T; steps past them are not computed.
        nonlinearity: f, "tanh" or "relu".
        reverse: read each row from its last step to its first.

    Returns:
        output (T, B, H), zero past the end of a row, and h_n (B, H), the state after its last step.

    Raises:
        ShapeError: shapes that do not fit each other.
        UsageError: an unknown nonlinearity, or a length outside 0 to T.
    """
    x = _float32(x)
    weights = _ready((w_ih, w_hh, b, h_0, lengths))
    native.check(x.shape, "x (T, B, D)", weights, nonlinearity)
    if available():
        x = x if x.strides[-1] == x.itemsize else np.ascontiguousarray(x)
        return native.Elman(native.NUMPY, weights, native.Options(nonlinearity, reverse)).forward(x)
    z = reference.product(x, weights.w_ih) + (0 if weights.b is None else weights.b)
    return _scan(z, weights, nonlinearity, reverse)


def elman_tokens(
    tokens: Array, table: Array, w_hh: Array, h_0: Array | None = None,
    *, lengths: Array | None = None, nonlinearity: str = "tanh", prefix_token: int = 0,
    return_sequences: bool = False,
) -> tuple[Array | None, Array]:  # fmt: skip
    """`elman` for tokens (T, B), int32, whose input products are rows of `table` = input_table(...), (V, H).

    Rows that begin with a run of `prefix_token` (padding) share it: it is computed once, and no bit changes.

    Returns:
        output (T, B, H) with `return_sequences`, else None, and h_n (B, H).

    Raises:
        ShapeError: shapes that do not fit each other.
        UsageError: a token outside the table, an unknown nonlinearity, or a length outside 0 to T.
    """
    tokens, table = np.asarray(tokens, np.int32), _contiguous(table)
    weights = _ready((None, w_hh, None, h_0, lengths))
    native.check((*tokens.shape, None), "tokens (T, B)", weights, nonlinearity)
    if table.shape[1:] != weights.w_hh.shape[1:]:
        raise ShapeError(
            f"table is {table.shape}; expected (V, {len(weights.w_hh)}), as many columns as w_hh."
        )
    if available():
        layer = native.Elman(native.NUMPY, weights, native.Options(nonlinearity, False, prefix_token))
        kept, h_n = layer.forward_tokens(tokens, None, sequences=return_sequences, keep=False, table=table)
        return kept.output, h_n
    if tokens.size and not 0 <= tokens.min() <= tokens.max() < len(table):
        raise abi.bad_token(len(table))
    output, h_n = _scan(table[tokens], weights, nonlinearity, False)
    return (output if return_sequences else None), h_n


def lstm(
    x: Array, w_ih: Array, w_hh: Array, b_ih: Array | None = None, b_hh: Array | None = None,
    state: tuple[Array, Array] | None = None, *, lengths: Array | None = None, reverse: bool = False,
) -> tuple[Array, tuple[Array, Array]]:  # fmt: skip
    """The LSTM, torch's equations and weights (`cells/lstm.py` has them, with their source).

    Args:
        x: (T, B, D), any strides.
        w_ih: (4 H, D), gates i f g o.
        w_hh: (4 H, H).
        b_ih: (4 H,).
        b_hh: (4 H,).
        state: h_0 and c_0, (B, H) each; zeros by default.
        lengths: (B,) integers from 0 to T; steps past them are not computed.
        reverse: read each row from its last step to its first.

    Returns:
        output (T, B, H), zero past the end of a row, and (h_n, c_n), (B, H) each, the states after its last step.

    Raises:
        ShapeError: shapes that do not fit each other.
        UsageError: a length outside 0 to T.
    """
    h_0, c_0 = state or (None, None)
    weights = gated.Weights(w_ih, w_hh, b_ih, b_hh, h_0, c_0, lengths)
    output, h_n, c_n = gated.run("lstm", x, weights, reverse)
    return output, (h_n, c_n)


def gru(
    x: Array, w_ih: Array, w_hh: Array, b_ih: Array | None = None, b_hh: Array | None = None,
    h_0: Array | None = None, *, lengths: Array | None = None, reverse: bool = False,
) -> tuple[Array, Array]:  # fmt: skip
    """The GRU, torch's equations and weights: the reset gate is applied after the recurrent product.

    Args and errors are those of `lstm`, with 3 gates r z n and one state.

    Returns:
        output (T, B, H), zero past the end of a row, and h_n (B, H).
    """
    output, h_n, _ = gated.run("gru", x, gated.Weights(w_ih, w_hh, b_ih, b_hh, h_0, None, lengths), reverse)
    return output, h_n


def input_table(embedding: Array, w_ih: Array, b: Array | None = None) -> Array:
    """The input product of every word, once: E W_ih^T + b for E (V, D), W_ih (H, D), b (H,), giving (V, H).

    Raises:
        ShapeError: shapes that do not fit each other.
    """
    embedding, w_ih = _contiguous(embedding), _contiguous(w_ih)
    if embedding.ndim != 2 or w_ih.ndim != 2 or embedding.shape[1] != w_ih.shape[1]:
        raise ShapeError(f"embedding is {embedding.shape} and w_ih {w_ih.shape}; expected (V, D) and (H, D).")
    if b is not None and np.shape(b) != w_ih.shape[:1]:
        raise ShapeError(f"b is {np.shape(b)}; expected ({len(w_ih)},), one number for each row of w_ih.")
    if available():
        return native.input_table(embedding, w_ih, None if b is None else _contiguous(b))
    return reference.product(embedding, w_ih) + (0 if b is None else _float32(b))


def rmsprop(
    weight: Array, square_average: Array, grad: Array | tuple[Array, Array], lr: float, rho: float, eps: float
) -> None:
    """Update in place: v = rho v + (1 - rho) g^2; w = w - lr g / sqrt(v + eps). Keras's RMSprop, eps inside the root.

    Args:
        weight: w, any shape.
        square_average: v, of the same shape.
        grad: g, of the same shape; or (ids, rows) where only rows `ids`, int64 and ascending, of a matrix w have
            a gradient: v of the others decays all the same.
        lr: step size.
        rho: share of v that stays.
        eps: keeps the root away from zero.

    Raises:
        ShapeError: the arrays differ in shape, or are not contiguous float32, or ids are not ascending rows of w.
    """
    ids, rows = grad if isinstance(grad, tuple) else (None, grad)
    for name, array in (("weight", weight), ("square_average", square_average), ("grad", rows)):
        if array.dtype != np.float32 or not array.flags.c_contiguous:
            raise ShapeError(
                f"{name} is {array.dtype}, strides {array.strides}; expected contiguous float32."
            )
    expected = weight.shape if ids is None else (len(ids), *weight.shape[1:])
    if square_average.shape != weight.shape or rows.shape != expected:
        raise ShapeError(
            f"weight is {weight.shape}, square_average {square_average.shape} and grad {rows.shape}; "
            f"expected {weight.shape} twice and {expected}."
        )
    if available():
        native.rmsprop(native.NUMPY, [native.Update(weight, square_average, rows, ids)], (lr, rho, eps))
        return
    gradient = rows
    if ids is not None:
        if len(ids) and (ids[0] < 0 or ids[-1] >= len(weight) or (np.diff(ids) <= 0).any()):
            raise abi.bad_ids(len(weight))
        gradient = np.zeros_like(weight)
        gradient[ids] = rows
    reference.rmsprop(weight, square_average, gradient, lr, rho, eps)


def _float32(array: Any) -> Array:
    return np.asarray(array, np.float32)


def _contiguous(array: Any) -> Array:
    return np.ascontiguousarray(array, np.float32)


def _ready(given: tuple[Any, ...]) -> native.Weights:
    *weights, lengths = given
    ready: list[Any] = [None if array is None else _contiguous(array) for array in weights]
    ready.append(None if lengths is None else np.ascontiguousarray(lengths, np.int64))
    return native.Weights(*ready)


def _scan(z: Array, weights: native.Weights, nonlinearity: str, reverse: bool) -> tuple[Array, Array]:
    """The recurrence in NumPy, backwards in time by turning each row round within its length."""
    steps, batch, hidden = z.shape
    lengths = weights.lengths
    if lengths is not None and batch and not 0 <= lengths.min() <= lengths.max() <= steps:
        raise abi.bad_length(steps)
    h_0 = np.zeros((batch, hidden), np.float32) if weights.h_0 is None else weights.h_0
    if not reverse:
        return reference.scan(z, weights.w_hh, h_0, lengths, nonlinearity)
    ends = np.full(batch, steps) if lengths is None else lengths
    time = np.arange(steps)[:, None]
    turned = np.where(time < ends, ends - 1 - time, time)[..., None]
    output, h_n = reference.scan(np.take_along_axis(z, turned, 0), weights.w_hh, h_0, lengths, nonlinearity)
    return np.take_along_axis(output, turned, 0), h_n
