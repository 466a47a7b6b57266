"""The recurrent neuron on the engine: descriptors filled from NumPy arrays or torch tensors alike.

`Arrays` says how memory is made and found; torch's is in `torch_ops`. Arguments were checked before.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from ctypes import addressof, sizeof
from typing import Any, NamedTuple

import numpy as np

from ..errors import ShapeError, UsageError
from . import abi
from .library import engine

Array = Any


class Arrays(NamedTuple):
    """How to get float32 and int64 arrays, an array's address, and its strides counted in elements.

    `lent` are float32 arrays for what is used and let go in every step of a training.
    """

    floats: Callable[[tuple[int, ...]], Array]
    lent: Callable[[tuple[int, ...]], Array]
    integers: Callable[[tuple[int, ...]], Array]
    address: Callable[[Array], int]
    strides: Callable[[Array], tuple[int, ...]]

    def place(self, array: Array) -> tuple[int, int, int]:
        """Of a (T, B, n) array, last axis contiguous, the fields of an unrolled_steps."""
        time, row, _ = self.strides(array)
        return self.address(array), time, row


NUMPY = Arrays(
    lambda shape: np.empty(shape, np.float32),
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


class Upstream(NamedTuple):
    """Gradients of what a forward pass gave: output (T, B, H) and h_n (B, H); None is zero."""

    output: Array
    h_n: Array


class Gradients(NamedTuple):
    """Of x, or of the rows `ids` of the embedding (all rows where ids is None), and of the weights."""

    x: Array
    ids: Array
    w_ih: Array
    w_hh: Array
    b: Array
    h_0: Array


class Kept(NamedTuple):
    """What the token form's forward pass keeps for its backward pass: all states, and the shared beginning's."""

    output: Array
    states: Array
    prefix: Array


class Elman(NamedTuple):
    """One layer, on NumPy arrays or on torch tensors."""

    arrays: Arrays
    weights: Weights
    options: Options = Options()

    def forward(self, x: Array) -> tuple[Array, Array]:
        """From x (T, B, D), last axis contiguous, to output (T, B, H) and h_n (B, H)."""
        steps, batch, _ = x.shape
        hidden = self.weights.w_hh.shape[0]
        output, h_n = self.arrays.floats((steps, batch, hidden)), self.arrays.floats((batch, hidden))
        call = self._call(steps, batch)
        self._steps(call, x=x, output=output)
        self._set(call, h_n=h_n)
        abi.call(engine().unrolled_elman_forward, call)  # type: ignore[union-attr]
        return output, h_n

    def backward(
        self, x: Array, output: Array, upstream: Upstream, *, want_x: bool, want_h_0: bool
    ) -> Gradients:
        """Gradients; those of x and of h_0 only where they are wanted."""
        steps, batch, _ = x.shape
        d_x = self.arrays.floats(tuple(x.shape)) if want_x else None
        found = self._gradients(d_x, batch, want_h_0)
        call = self._call(steps, batch)
        self._steps(call, x=x, output=output, d_x=d_x)
        self._run_backward(call, found, upstream)
        return found

    def forward_tokens(
        self, tokens: Array, embedding: Array, *, sequences: bool, keep: bool, table: Array = None
    ) -> tuple[Kept, Array]:
        """From tokens (T, B) int32 to the states and h_n (B, H), by `table` (V, H), or one made of `embedding`."""
        steps, batch = tokens.shape
        hidden = self.weights.w_hh.shape[0]
        new, h_n = self.arrays.floats, self.arrays.floats((batch, hidden))
        output = new((steps, batch, hidden)) if sequences else None
        states = self.arrays.lent((steps * batch, hidden)) if keep and not sequences else None
        prefix = new((steps + 1, hidden)) if keep else None
        call = self._call(steps, batch)
        self._tokens(call, tokens, len(table if embedding is None else embedding))
        self._steps(call, output=output)
        self._set(call, embedding=embedding, table=table, states=states, prefix=prefix, h_n=h_n)
        abi.call(engine().unrolled_elman_forward, call)  # type: ignore[union-attr]
        return Kept(output, states, prefix), h_n

    def backward_tokens(
        self, tokens: Array, embedding: Array, kept: Kept, upstream: Upstream, *, sparse: bool, want_h_0: bool
    ) -> Gradients:
        """Gradients; that of the embedding has all rows (V, D), or with `sparse` those of the words met."""
        steps, batch = tokens.shape
        words, size = embedding.shape
        most = min(words, steps * batch) if sparse else words
        rows = (self.arrays.lent if sparse else self.arrays.floats)((most, size))
        ids, count = (self.arrays.integers((n,)) if sparse else None for n in (most, 1))
        found = self._gradients(rows, batch, want_h_0)
        call = self._call(steps, batch)
        self._tokens(call, tokens, words)
        self._steps(call, output=kept.output)
        self._set(call, embedding=embedding, states=kept.states, prefix=kept.prefix)
        self._set(call, d_embedding=rows, word_ids=ids, words=count)
        self._run_backward(call, found, upstream)
        if ids is None or count is None:
            return found
        met = int(count[0])
        return found._replace(x=rows[:met], ids=ids[:met])

    def _call(self, steps: int, batch: int) -> abi.Elman:
        options, (w_ih, w_hh, b, h_0, lengths) = self.options, self.weights
        call = abi.Elman(
            size=sizeof(abi.Elman), T=steps, B=batch, H=w_hh.shape[0],
            activation=abi.ACTIVATIONS[options.nonlinearity], reverse=options.reverse,
            prefix_token=options.prefix_token,
        )  # fmt: skip
        if w_ih is not None:
            call.D = w_ih.shape[1]
        self._set(call, w_ih=w_ih, w_hh=w_hh, bias=b, h_0=h_0, lengths=lengths)
        return call

    def _set(self, call: abi.Elman, **arrays: Array) -> None:
        address = self.arrays.address
        for name, array in arrays.items():
            if array is not None:
                setattr(call, name, address(array))

    def _steps(self, call: abi.Elman, **arrays: Array) -> None:
        for name, array in arrays.items():
            if array is not None:
                setattr(call, name, self.arrays.place(array))

    def _tokens(self, call: abi.Elman, tokens: Array, words: int) -> None:
        call.tokens = self.arrays.address(tokens)
        call.token_time, call.token_row = self.arrays.strides(tokens)
        call.V = words

    def _gradients(self, d_x: Array, batch: int, want_h_0: bool) -> Gradients:
        new, (w_ih, w_hh, *_) = self.arrays.floats, self.weights
        hidden = w_hh.shape[0]
        d_h_0 = new((batch, hidden)) if want_h_0 else None
        return Gradients(d_x, None, new(tuple(w_ih.shape)), new((hidden, hidden)), new((hidden,)), d_h_0)

    def _run_backward(self, call: abi.Elman, found: Gradients, upstream: Upstream) -> None:
        self._steps(call, d_output=upstream.output)
        self._set(call, d_h_n=upstream.h_n, d_w_ih=found.w_ih, d_w_hh=found.w_hh, d_bias=found.b)
        self._set(call, d_h_0=found.h_0)
        abi.call(engine().unrolled_elman_backward, call)  # type: ignore[union-attr]


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


class Update(NamedTuple):
    """A weight and its running mean of squares, contiguous, with the gradient of all rows or of rows `ids`."""

    weight: Array
    square: Array
    gradient: Array
    ids: Array = None


def rmsprop(arrays: Arrays, updates: Sequence[Update], factors: tuple[float, float, float]) -> None:
    """Update all weights in place, in one call; factors are (lr, rho, eps)."""
    address, size, count = arrays.address, sizeof(abi.RMSprop), len(updates)
    calls = (abi.RMSprop * count)()
    first = addressof(calls)
    for i, (weight, square, gradient, ids) in enumerate(updates):
        calls[i] = abi.RMSprop(
            size, len(weight), math.prod(weight.shape[1:]), 0 if ids is None else len(ids),
            address(weight), address(square), address(gradient), None if ids is None else address(ids),
            *factors, first + (i + 1) * size if i + 1 < count else None,
        )  # fmt: skip
    if count:
        abi.call(engine().unrolled_rmsprop_update, calls[0])  # type: ignore[union-attr]
