"""Rows of different lengths to one matrix."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, overload

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..errors import ShapeError, UsageError


class Sequences(Sequence[NDArray[np.int32]]):
    """Rows of ids in one array (N,), and where each begins and the last ends, (B + 1,): a list without copies."""

    def __init__(self, ids: NDArray[np.int32], offsets: NDArray[np.int64]) -> None:
        self.ids, self.offsets = ids, offsets

    @classmethod
    def of(cls, rows: Sequence[NDArray[np.int32]]) -> Sequences:
        """These rows, which may be Sequences already."""
        if isinstance(rows, cls):
            return rows
        offsets = np.cumsum([0, *map(len, rows)], dtype=np.int64)
        return cls(np.concatenate([np.zeros(0, np.int32), *rows]).astype(np.int32), offsets)

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Ids in each row, (B,)."""
        return np.diff(self.offsets)

    @cached_property
    def text(self) -> NDArray[np.int64]:
        """Which row each id belongs to, (N,)."""
        return np.repeat(np.arange(len(self)), self.lengths)

    @cached_property
    def position(self) -> NDArray[np.int64]:
        """Where each id stands in its row, from 0, (N,)."""
        return np.arange(len(self.ids)) - self.offsets[self.text]

    def take(self, rows: NDArray[np.int64]) -> Sequences:
        """The rows with these numbers, in this order."""
        begins, ends = self.offsets[rows], self.offsets[np.asarray(rows) + 1]
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(ends - begins, dtype=np.int64)])
        some = [self.ids[begin:end] for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)]
        return Sequences(np.concatenate([self.ids[:0], *some]), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, at: int) -> NDArray[np.int32]: ...
    @overload
    def __getitem__(self, at: slice) -> Sequences: ...
    def __getitem__(self, at: int | slice) -> NDArray[np.int32] | Sequences:
        if isinstance(at, slice):
            first, last, step = at.indices(len(self))
            if step != 1:
                return Sequences.of([self[i] for i in range(first, last, step)])
            offsets = self.offsets[first : max(first, last) + 1]
            return Sequences(self.ids[offsets[0] : offsets[-1]], offsets - offsets[0])
        i = range(len(self))[at]
        return self.ids[self.offsets[i] : self.offsets[i + 1]]


def pad_sequences(
    sequences: Sequence[Any] | NDArray[Any],
    maxlen: int | None = None,
    dtype: DTypeLike = "int32",
    padding: str = "pre",
    truncating: str = "pre",
    value: float | str = 0,
) -> NDArray[Any]:
    """Make all rows `maxlen` long: short ones are filled with `value`, long ones are cut (Keras's function).

    Args:
        sequences: N rows of any lengths; their elements are numbers or arrays of one shape S.
        maxlen: T; by default the length of the longest row.
        padding: "pre" fills at the front, "post" at the end.
        truncating: "pre" cuts at the front, "post" at the end.

    Returns:
        Array (N, T, *S) of type `dtype`.

    Raises:
        UsageError: an unknown side, or a `maxlen` below 0.
        ShapeError: a row is not a sequence, or its elements have another shape than those of the rows before.
    """
    for name, side in (("padding", padding), ("truncating", truncating)):
        if side not in ("pre", "post"):
            raise UsageError(f"{name} is {side!r}; it must be 'pre' or 'post'.")
    if maxlen is not None and maxlen < 0:
        raise UsageError(f"maxlen is {maxlen}; it must be 0 or more, or None for the longest row.")
    lengths = _lengths(sequences)
    steps = max(lengths, default=0) if maxlen is None else maxlen
    first = next((row for row, length in zip(sequences, lengths, strict=True) if length), ())
    shape = np.asarray(first).shape[1:]
    padded = np.full((len(lengths), steps, *shape), value, dtype=dtype)
    for i, row in enumerate(sequences):
        kept = min(lengths[i], steps)
        if kept:
            cut = np.asarray(row[lengths[i] - kept :] if truncating == "pre" else row[:kept], dtype=dtype)
            if cut.shape[1:] != shape:
                raise ShapeError(
                    f"Elements of row {i} have shape {cut.shape[1:]}; earlier rows have {shape}."
                )
            place = slice(steps - kept, steps) if padding == "pre" else slice(kept)
            padded[i, place] = cut
    return padded


def _lengths(sequences: Sequence[Any] | NDArray[Any]) -> list[int]:
    lengths = []
    for i, row in enumerate(sequences):
        try:
            lengths.append(len(row))
        except TypeError:
            raise ShapeError(f"Row {i} is {row!r}; each row must be a sequence of numbers.") from None
    return lengths
