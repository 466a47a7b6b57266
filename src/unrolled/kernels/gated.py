"""The LSTM and the GRU on NumPy arrays, forward, and what their sizes are called.

Weights are torch's: gates stacked along the first axis, i f g o for the LSTM, r z n for the GRU (reset after the
recurrent product). float32 throughout.
"""

from __future__ import annotations

from ctypes import sizeof
from typing import Any, NamedTuple

import numpy as np

from ..errors import ShapeError
from . import abi, gated_reference, native
from .library import engine

Array = Any
GATES = {"lstm": 4, "gru": 3}
STATES = {"lstm": ("h", "c"), "gru": ("h",)}
KEPT = {"lstm": 5, "gru": 4}  # times H numbers that the backward pass reads of each step


class Weights(NamedTuple):
    """w_ih (G H, D), w_hh (G H, H), b_ih and b_hh (G H,), h_0 and c_0 (B, H), lengths (B,) int64; all contiguous."""

    w_ih: Array
    w_hh: Array
    b_ih: Array = None
    b_hh: Array = None
    h_0: Array = None
    c_0: Array = None
    lengths: Array = None


class States(NamedTuple):
    """What a forward pass answers: output (T, B, H), h_n and c_n (B, H)."""

    output: Array
    h_n: Array
    c_n: Array = None


def check(cell: str, shape: tuple[int, ...], weights: Weights) -> None:
    """Raise unless everything fits an input of `shape` (T, B, D).

    Raises:
        ShapeError: shapes that do not fit each other.
    """
    if len(shape) != 3:
        raise ShapeError(f"The input has {len(shape)} axes; expected x (T, B, D).")
    steps, batch, size = shape
    hidden = weights.w_hh.shape[-1]
    rows = GATES[cell] * hidden
    sizes = ((rows, size), (rows, hidden), (rows,), (rows,), (batch, hidden), (batch, hidden), (batch,))
    for name, array, wanted in zip(Weights._fields, weights, sizes, strict=True):
        if array is not None and tuple(array.shape) != wanted:
            raise ShapeError(
                f"{name} is {tuple(array.shape)}; expected {wanted} for {GATES[cell]} gates, x ({steps}, {batch}, "
                f"{size}) and w_hh ({rows}, {hidden})."
            )


def run(cell: str, x: Array, weights: Weights, reverse: bool) -> States:
    """The forward pass on NumPy arrays: on the engine, or where it is missing by the readable reference."""
    x = np.asarray(x, np.float32)
    *floats, lengths = weights
    ready = [None if array is None else np.ascontiguousarray(array, np.float32) for array in floats]
    weights = Weights(*ready, *[None if lengths is None else np.ascontiguousarray(lengths, np.int64)])
    check(cell, x.shape, weights)
    if engine() is not None:
        return _forward(cell, x if x.strides[-1] == x.itemsize else np.ascontiguousarray(x), weights, reverse)
    lengths = np.full(x.shape[1], len(x)) if lengths is None else weights.lengths
    if len(lengths) and not 0 <= lengths.min() <= lengths.max() <= len(x):
        raise abi.bad_length(len(x))
    zeros = np.zeros((x.shape[1], weights.w_hh.shape[1]), np.float32)
    state = tuple(
        zeros if start is None else start for start in (weights.h_0, weights.c_0)[: len(STATES[cell])]
    )
    output, state = gated_reference.scan(cell, x, weights[:4], state, lengths, reverse=reverse)
    return States(output, *state)


def _forward(cell: str, x: Array, weights: Weights, reverse: bool) -> States:
    (steps, batch, size), hidden, new = x.shape, weights.w_hh.shape[1], native.NUMPY.floats
    h_n, c_n = (new((batch, hidden)) for _ in range(2))
    states = States(new((steps, batch, hidden)), h_n, c_n if cell == "lstm" else None)
    call = abi.Gated(
        size=sizeof(abi.Gated), T=steps, B=batch, D=size, H=hidden, reverse=reverse,
        x=native.NUMPY.place(x), output=native.NUMPY.place(states.output),
    )  # fmt: skip
    for name, array in (*weights._asdict().items(), ("h_n", h_n), ("c_n", states.c_n)):
        if array is not None:
            setattr(call, name, native.NUMPY.address(array))
    abi.call(getattr(engine(), f"unrolled_{cell}_forward"), call)
    return states
