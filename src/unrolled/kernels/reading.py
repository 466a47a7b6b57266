"""Token ids summed in steps of a few, with a row of numbers for every token and every listed pair of neighbours, and
whole sequences pooled.

The rows of a table are 8 bits with a scale each; the formula is `read`'s NumPy, which also serves without the engine.
"""

from __future__ import annotations

import ctypes
from ctypes import c_int64, c_void_p
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import ShapeError
from . import abi
from .library import engine

Array = NDArray[Any]


class Steps(NamedTuple):
    """What `RowTable.read` answers: x (B, T, D) float32, steps of each text (B,) int64, sums of weights (B, K)."""

    x: Array
    lengths: Array
    weights: Array


class RowTable:
    """Rows for V tokens and M listed pairs of neighbours.

    Args:
        rows: int8 (V + M, D).
        scale: float32 (V + M,), what each row is multiplied with.
        weights: (V + M, K), more numbers of each row, which are summed over a whole text.
        pairs: uint32 (M,), first id * V + second id, ascending.
        step: tokens a step.

    Raises:
        ShapeError: arrays that do not fit each other.
    """

    def __init__(self, rows: Array, scale: Array, weights: Array, pairs: Array, step: int) -> None:
        self.words, self.pairs, self.step = (
            len(rows) - len(pairs),
            np.ascontiguousarray(pairs, np.uint32),
            step,
        )
        if self.words < 1 or not len(rows) == len(scale) == len(weights) or step < 1:
            raise ShapeError(
                f"rows {rows.shape}, scale {scale.shape}, weights {weights.shape}, {len(pairs)} pairs, step {step}; "
                "expected (V + M, D), (V + M,), (V + M, K), M pairs and at least one token a step."
            )
        heads = np.ascontiguousarray(np.concatenate([scale[:, None], weights], 1), np.float32)
        self.packed = np.concatenate([heads.view(np.uint8), np.ascontiguousarray(rows).view(np.uint8)], 1)
        self.size, self.sums = rows.shape[1], weights.shape[1]
        self._slots: Array | None = None

    def read(self, ids: Array, offsets: Array) -> Steps:
        """Texts as steps: x_s = sum over the tokens i of step s = i // step of rows[id_i] + rows[pair_i].

        Args:
            ids: int32, of all texts one after the other.
            offsets: int64 (B + 1,), where each begins.

        Raises:
            UsageError: an id outside 0 to V - 1.
        """
        ids, offsets = np.ascontiguousarray(ids, np.int32), np.ascontiguousarray(offsets, np.int64)
        lengths = -(-np.diff(offsets) // self.step)
        steps = int(lengths.max(initial=0))
        x = np.empty((len(lengths), steps, self.size), np.float32)
        weights = np.empty((len(lengths), self.sums), np.float32)
        library = engine()
        if library is None:
            self._read(ids, offsets, x, weights)
            return Steps(x, lengths, weights)
        call = self._call(library, len(lengths), steps)
        call.set(ids=ids, offsets=offsets, x=x, weight=weights)
        abi.call(library.unrolled_read_steps, call)
        return Steps(x, lengths, weights)

    def _call(self, library: ctypes.CDLL, texts: int, steps: int) -> _Reading:
        slots = self._slots
        capacity = 1 << max(1, (2 * len(self.pairs) - 1).bit_length()) if slots is None else len(slots)
        sizes = (self.words, len(self.pairs), self.size, self.sums, self.step, texts, steps, capacity)
        call = _Reading(ctypes.sizeof(_Reading), *sizes)
        if slots is None:  # several threads may build it at the same time; each builds the same
            slots = np.zeros(capacity, np.uint64)
            call.set(keys=self.pairs, slots=slots)
            abi.call(library.unrolled_index_pairs, call)
            self._slots = slots
        call.V = self.words
        call.set(keys=self.pairs, slots=slots, rows=self.packed)
        return call

    def _read(self, ids: Array, offsets: Array, x: Array, weights: Array) -> None:
        if ids.size and not 0 <= ids.min() <= ids.max() < self.words:
            raise abi.bad_token(self.words)
        at = 4 + 4 * self.sums
        heads, rows = self.packed[:, :at].copy().view(np.float32), self.packed[:, at:].view(np.int8)
        for text in range(len(offsets) - 1):
            own = ids[offsets[text] : offsets[text + 1]].astype(np.int64)
            found = np.minimum(
                np.searchsorted(self.pairs, keys := own[:-1] * self.words + own[1:]), len(self.pairs) - 1
            )
            listed = self.pairs[found] == keys if len(self.pairs) else np.zeros(len(keys), bool)
            asked = np.concatenate([own, self.words + found[listed]])
            place = np.concatenate([np.arange(len(own)), 1 + np.flatnonzero(listed)]) // self.step
            x[text, : -(-len(own) // self.step)] = 0
            np.add.at(x[text], place, heads[asked, :1] * rows[asked])
            weights[text] = heads[asked, 1:].sum(0)


def pool(x: Array, lengths: Array | None = None) -> tuple[Array, Array]:
    """Mean and maximum over the first `lengths` (B,) steps of each row of x (B, T, D): (B, D) twice, zeros for none.

    Raises:
        UsageError: a length outside 0 to T.
    """
    batch, steps, size = x.shape
    mean, most = np.zeros((batch, size), np.float32), np.zeros((batch, size), np.float32)
    ends = np.full(batch, steps) if lengths is None else np.asarray(lengths, np.int64)
    library = engine()
    if library is None or x.dtype != np.float32:
        for row, end in enumerate(ends.tolist()):
            if end:
                mean[row], most[row] = x[row, :end].mean(0), x[row, :end].max(0)
        return mean, most
    x = x if x.strides[-1] == x.itemsize else np.ascontiguousarray(x)
    call = _Pooling(ctypes.sizeof(_Pooling), steps, batch, size)
    call.x = (x.ctypes.data, x.strides[1] // 4, x.strides[0] // 4)
    ends = np.ascontiguousarray(ends)
    call.lengths, call.mean, call.max = ends.ctypes.data, mean.ctypes.data, most.ctypes.data
    abi.call(library.unrolled_pool_steps, call)
    return mean, most


class _Reading(ctypes.Structure):
    """unrolled_reading."""

    V: int

    _fields_ = [
        *((name, c_int64) for name in ("size", "words", "pairs", "D", "K", "step", "texts", "T", "capacity")),
        *((name, c_void_p) for name in ("ids", "offsets", "keys", "slots", "rows", "x", "weight")),
    ]

    def set(self, **arrays: Array) -> None:
        for name, array in arrays.items():
            setattr(self, name, array.ctypes.data)


class _Pooling(ctypes.Structure):
    """unrolled_pooling."""

    _fields_ = [
        *((name, c_int64) for name in ("size", "T", "B", "D")),
        ("x", abi.Steps),
        *((name, c_void_p) for name in ("lengths", "mean", "max")),
    ]
