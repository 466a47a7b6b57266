"""The recurrent neuron on the engine: descriptors filled from NumPy arrays or torch tensors alike.

`Arrays` says how memory is made and found; torch's is in `torch_ops`. Arguments were checked before.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from ctypes import sizeof
from typing import Any, NamedTuple

import numpy as np

from ..errors import ShapeError, UsageError
from . import abi
from .library import engine

Array = Any


class Arrays(NamedTuple):
    """How to get float32 and int64 arrays, an array's address, and its strides counted in elements."""

    floats: Callable[[tuple[int, ...]], Array]
    integers: Callable[[tuple[int, ...]], Array]
    address: Callable[[Array], int]
    strides: Callable[[Array], tuple[int, ...]]


NUMPY = Arrays(
    lambda shape: np.empty(shape, np.float32),
    lambda shape: np.empty(shape, np.int64),
    lambda array: array.__array_interface__["data"][0],
    lambda array: tuple(stride // array.itemsize for stride in array.strides),
)


class Options(NamedTuple):
    """What both passes of one layer must be told alike."""

    nonlinearity: str = "tanh"
    reverse: bool = False
    prefix_token: int = -1


class Weights(NamedTuple):
    """w_ih (H, D), w_hh (H, H), b (H,), h_0 (B, H), lengths (B,) int64; all contiguous."""

    w_ih: Array
    w_hh: Array
    b: Array = None
    h_0: Array = None
    lengths: Array = None


def check(shape: tuple[Any, ...], name: str, weights: Weights, nonlinearity: str) -> None:
    """Raise unless everything fits an input of `shape` (T, B, D); D None fits any.

    Raises:
        ShapeError: shapes that do not fit each other.
        UsageError: an unknown nonlinearity.
    """
    if nonlinearity not in abi.ACTIVATIONS:
        raise UsageError(f"nonlinearity is '{nonlinearity}'; it must be 'tanh' or 'relu'.")
    if len(shape) != 3:
        raise ShapeError(f"The input has {len(shape)} axes; expected {name}.")
    steps, batch, size = shape
    hidden = weights.w_hh.shape[0]
    expected = ((hidden, size), (hidden, hidden), (hidden,), (batch, hidden), (batch,))
    for field, array, wanted in zip(Weights._fields, weights, expected, strict=True):
        if array is not None and tuple(array.shape) != wanted:
            raise ShapeError(
                f"{field} is {tuple(array.shape)}; expected {wanted} for {name} with T={steps}, B={batch} and w_hh "
                f"({hidden}, {hidden})."
            )


class _Call:
    """A descriptor under construction."""

    def __init__(self, arrays: Arrays, weights: Weights, options: Options, shape: tuple[int, int]) -> None:
        self.arrays = arrays
        self.fields = abi.Elman(
            size=sizeof(abi.Elman), T=shape[0], B=shape[1], H=weights.w_hh.shape[0],
            activation=abi.ACTIVATIONS[options.nonlinearity], reverse=options.reverse,
            prefix_token=options.prefix_token,
        )  # fmt: skip
        self.set(w_hh=weights.w_hh, bias=weights.b, h_0=weights.h_0, lengths=weights.lengths)
        if weights.w_ih is not None:
            self.fields.D = weights.w_ih.shape[1]
            self.set(w_ih=weights.w_ih)

    def set(self, **arrays: Array) -> None:
        for name, array in arrays.items():
            if array is not None:
                setattr(self.fields, name, self.arrays.address(array))

    def steps(self, **arrays: Array) -> None:
        for name, array in arrays.items():
            if array is not None:
                time, row, _ = self.arrays.strides(array)
                setattr(self.fields, name, (self.arrays.address(array), time, row))

    def tokens(self, tokens: Array, words: int) -> None:
        self.set(tokens=tokens)
        self.fields.token_time, self.fields.token_row = self.arrays.strides(tokens)
        self.fields.V = words

    def run(self, name: str) -> None:
        abi.call(getattr(engine(), name), self.fields)


def forward(arrays: Arrays, x: Array, weights: Weights, options: Options) -> tuple[Array, Array]:
    """From x (T, B, D), last axis contiguous, to output (T, B, H) and h_n (B, H)."""
    steps, batch, _ = x.shape
    hidden = weights.w_hh.shape[0]
    output, h_n = arrays.floats((steps, batch, hidden)), arrays.floats((batch, hidden))
    call = _Call(arrays, weights, options, (steps, batch))
    call.steps(x=x, output=output)
    call.set(h_n=h_n)
    call.run("unrolled_elman_forward")
    return output, h_n


class Gradients(NamedTuple):
    """Of x, or of the rows `ids` of the embedding (all rows where ids is None), and of the weights."""

    x: Array
    ids: Array
    w_ih: Array
    w_hh: Array
    b: Array
    h_0: Array


def backward(
    arrays: Arrays, x: Array, weights: Weights, options: Options, output: Array,
    d_output: Array, d_h_n: Array, wanted: tuple[bool, bool],
) -> Gradients:  # fmt: skip
    """Gradients from d_output (T, B, H) and d_h_n (B, H), either None; `wanted`: those of x and of h_0."""
    new = arrays.floats
    d_x = new(tuple(x.shape)) if wanted[0] else None
    found = _weight_gradients(arrays, weights, d_x, x.shape[1], wanted[1])
    call = _Call(arrays, weights, options, tuple(x.shape[:2]))
    call.steps(x=x, output=output, d_output=d_output, d_x=d_x)
    _set_gradients(call, found, d_h_n)
    call.run("unrolled_elman_backward")
    return found


class Kept(NamedTuple):
    """What the token form's forward pass keeps for its backward pass: all states, and the shared beginning's."""

    output: Array
    states: Array
    prefix: Array


def forward_tokens(
    arrays: Arrays, tokens: Array, embedding: Array, weights: Weights, options: Options,
    *, sequences: bool, keep: bool, table: Array = None,
) -> tuple[Kept, Array]:  # fmt: skip
    """Tokens (T, B) int32 to the states and h_n (B, H); reads `table` (V, H), or makes it from `embedding`."""
    steps, batch = tokens.shape
    hidden = weights.w_hh.shape[0]
    new, h_n = arrays.floats, arrays.floats((batch, hidden))
    output = new((steps, batch, hidden)) if sequences else None
    states = new((steps * batch, hidden)) if keep and not sequences else None
    prefix = new((steps + 1, hidden)) if keep else None
    call = _Call(arrays, weights, options, (steps, batch))
    call.tokens(tokens, len(table if embedding is None else embedding))
    call.steps(output=output)
    call.set(embedding=embedding, table=table, states=states, prefix=prefix, h_n=h_n)
    call.run("unrolled_elman_forward")
    return Kept(output, states, prefix), h_n


def backward_tokens(
    arrays: Arrays, tokens: Array, embedding: Array, weights: Weights, options: Options, kept: Kept,
    d_output: Array, d_h_n: Array, *, sparse: bool, want_h_0: bool,
) -> Gradients:  # fmt: skip
    """Gradients; that of the embedding has all rows (V, D), or with `sparse` those of the words met."""
    steps, batch = tokens.shape
    words, size = embedding.shape
    met = min(words, steps * batch) if sparse else words
    rows = arrays.floats((met, size))
    ids, count = (arrays.integers((met,)), arrays.integers((1,))) if sparse else (None, None)
    found = _weight_gradients(arrays, weights, rows, batch, want_h_0)._replace(ids=ids)
    call = _Call(arrays, weights, options, (steps, batch))
    call.tokens(tokens, words)
    call.steps(output=kept.output, d_output=d_output)
    call.set(embedding=embedding, states=kept.states, prefix=kept.prefix)
    call.set(d_embedding=rows, word_ids=ids, words=count)
    _set_gradients(call, found, d_h_n)
    call.run("unrolled_elman_backward")
    if count is None:
        return found
    met = int(count[0])
    return found._replace(x=rows[:met], ids=ids[:met])


def _weight_gradients(arrays: Arrays, weights: Weights, d_x: Array, batch: int, want_h_0: bool) -> Gradients:
    new, hidden = arrays.floats, weights.w_hh.shape[0]
    d_h_0 = new((batch, hidden)) if want_h_0 else None
    d_w_ih, d_w_hh = new(tuple(weights.w_ih.shape)), new((hidden, hidden))
    return Gradients(d_x, None, d_w_ih, d_w_hh, new((hidden,)), d_h_0)


def _set_gradients(call: _Call, found: Gradients, d_h_n: Array) -> None:
    call.set(d_h_n=d_h_n, d_w_ih=found.w_ih, d_w_hh=found.w_hh, d_bias=found.b, d_h_0=found.h_0)


def input_table(embedding: Array, w_ih: Array, b: Array) -> Array:
    """W_ih E + b for every row of the embedding, (V, H)."""
    (words, size), hidden = embedding.shape, len(w_ih)
    table = NUMPY.floats((words, hidden))
    addresses = {
        name: NUMPY.address(a) for name, a in (("embedding", embedding), ("w_ih", w_ih), ("table", table))
    }
    if b is not None:
        addresses["bias"] = NUMPY.address(b)
    call = abi.Table(size=sizeof(abi.Table), V=words, D=size, H=hidden, **addresses)
    abi.call(engine().unrolled_input_table, call)  # type: ignore[union-attr]
    return table


def rmsprop(
    arrays: Arrays, weight: Array, square: Array, ids: Array, rows: Array, factors: tuple[float, float, float]
) -> None:
    """Update `weight` and `square` in place; factors are (lr, rho, eps)."""
    columns = math.prod(weight.shape[1:])
    call = abi.RMSprop(
        size=sizeof(abi.RMSprop), rows=len(weight), columns=columns, count=0 if ids is None else len(ids),
        weight=arrays.address(weight), square=arrays.address(square), gradient=arrays.address(rows),
        ids=None if ids is None else arrays.address(ids), rate=factors[0], rho=factors[1], epsilon=factors[2],
    )  # fmt: skip
    abi.call(engine().unrolled_rmsprop_update, call)  # type: ignore[union-attr]
