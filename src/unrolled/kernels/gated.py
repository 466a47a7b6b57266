"""The LSTM and the GRU on the engine: descriptors filled from NumPy arrays or torch tensors alike, and the forward
pass on NumPy arrays.

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
    """What a forward pass answers: output (T, B, H), h_n and c_n (B, H); or the gradients of these."""

    output: Array
    h_n: Array
    c_n: Array = None


class Gradients(NamedTuple):
    """Each in the shape of what it is the gradient of."""

    w_ih: Array
    w_hh: Array
    b_ih: Array
    b_hh: Array
    x: Array = None
    h_0: Array = None
    c_0: Array = None


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


def forward(
    arrays: native.Arrays, cell: str, x: Array, weights: Weights, *, reverse: bool, keep: bool
) -> tuple[States, Array]:
    """The states, and what the backward pass reads (None unless `keep`). The last axis of x is contiguous."""
    steps, batch, _ = x.shape
    hidden, new = weights.w_hh.shape[1], arrays.floats
    h_n, c_n = (new((batch, hidden)) for _ in range(2))
    states = States(new((steps, batch, hidden)), h_n, c_n if cell == "lstm" else None)
    kept = arrays.lent((steps * batch, KEPT[cell] * hidden)) if keep else None
    call = _Call(arrays, x, weights, reverse)
    call.steps(output=states.output)
    call.set(kept=kept, h_n=h_n, c_n=states.c_n)
    call.run(f"unrolled_{cell}_forward")
    return states, kept


def backward(
    arrays: native.Arrays, cell: str, x: Array, weights: Weights, kept: tuple[Array, Array],
    given: States, *, reverse: bool, wanted: tuple[bool, bool, bool],
) -> Gradients:  # fmt: skip
    """Gradients from those of the states, each of which may be None.

    Args:
        kept: the output (T, B, H) and what `forward` kept.
        wanted: whether the gradients of x, h_0 and c_0 are.
    """
    batch, new = x.shape[1], arrays.floats
    hidden = weights.w_hh.shape[1]
    rows = (GATES[cell] * hidden,)
    sizes = (x.shape, (batch, hidden), (batch, hidden))
    found = Gradients(
        new(weights.w_ih.shape), new(weights.w_hh.shape), new(rows), new(rows),
        *(new(tuple(size)) if want else None for size, want in zip(sizes, wanted, strict=True)),
    )  # fmt: skip
    call = _Call(arrays, x, weights, reverse)
    call.steps(output=kept[0], d_output=given.output, d_x=found.x)
    call.set(kept=kept[1], d_h_n=given.h_n, d_c_n=given.c_n)
    call.set(**{f"d_{name}": array for name, array in found._asdict().items() if name != "x"})
    call.run(f"unrolled_{cell}_backward")
    return found


class _Call:
    """A descriptor under construction."""

    def __init__(self, arrays: native.Arrays, x: Array, weights: Weights, reverse: bool) -> None:
        self.arrays = arrays
        (steps, batch, size), hidden = x.shape, weights.w_hh.shape[1]
        self.fields = abi.Gated(size=sizeof(abi.Gated), T=steps, B=batch, D=size, H=hidden, reverse=reverse)
        self.steps(x=x)
        self.set(**weights._asdict())

    def set(self, **arrays: Array) -> None:
        for name, array in arrays.items():
            if array is not None:
                setattr(self.fields, name, self.arrays.address(array))

    def steps(self, **arrays: Array) -> None:
        for name, array in arrays.items():
            if array is not None:
                time, row, _ = self.arrays.strides(array)
                setattr(self.fields, name, (self.arrays.address(array), time, row))

    def run(self, name: str) -> None:
        abi.call(getattr(engine(), name), self.fields)


def run(cell: str, x: Array, weights: Weights, reverse: bool) -> States:
    """The forward pass on NumPy arrays: on the engine, or where it is missing by the readable reference."""
    x = np.asarray(x, np.float32)
    *floats, lengths = weights
    ready = [None if array is None else np.ascontiguousarray(array, np.float32) for array in floats]
    weights = Weights(*ready, *[None if lengths is None else np.ascontiguousarray(lengths, np.int64)])
    check(cell, x.shape, weights)
    if engine() is not None:
        x = x if x.strides[-1] == x.itemsize else np.ascontiguousarray(x)
        return forward(native.NUMPY, cell, x, weights, reverse=reverse, keep=False)[0]
    lengths = np.full(x.shape[1], len(x)) if lengths is None else weights.lengths
    if len(lengths) and not 0 <= lengths.min() <= lengths.max() <= len(x):
        raise abi.bad_length(len(x))
    zeros = np.zeros((x.shape[1], weights.w_hh.shape[1]), np.float32)
    state = tuple(
        zeros if start is None else start for start in (weights.h_0, weights.c_0)[: len(STATES[cell])]
    )
    output, state = gated_reference.scan(cell, x, weights[:4], state, lengths, reverse=reverse)
    return States(output, *state)
