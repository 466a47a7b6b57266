"""Rows of different lengths to one matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..errors import ShapeError, UsageError


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
