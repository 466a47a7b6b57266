"""native/unrolled.h in ctypes: the descriptors, and one function that makes a call and reads its answer."""

from __future__ import annotations

import ctypes
from ctypes import c_float, c_int32, c_int64, c_void_p
from typing import Any

from ..errors import EngineError, ShapeError, UsageError

BAD_TOKEN, NO_MEMORY, BAD_LENGTH, BAD_IDS = 1, 3, 4, 5
ACTIVATIONS = {"tanh": 0, "relu": 1}


class Steps(ctypes.Structure):
    """A (T, B, n) array whose last axis is contiguous."""

    _fields_ = [("data", c_void_p), ("time", c_int64), ("row", c_int64)]


class Elman(ctypes.Structure):
    """unrolled_elman."""

    _fields_ = [
        *((name, c_int64) for name in ("size", "T", "B", "D", "H", "V")),
        *((name, c_int32) for name in ("activation", "reverse", "prefix_token", "packed")),
        ("x", Steps),
        ("tokens", c_void_p),
        ("token_time", c_int64),
        ("token_row", c_int64),
        *((name, c_void_p) for name in ("embedding", "table", "w_ih", "w_hh", "bias", "h_0", "lengths")),
        ("output", Steps),
        *((name, c_void_p) for name in ("states", "prefix", "h_n")),
        ("d_output", Steps),
        ("d_h_n", c_void_p),
        ("d_x", Steps),
        *((name, c_void_p) for name in ("d_w_ih", "d_w_hh", "d_bias", "d_h_0")),
        *((name, c_void_p) for name in ("d_embedding", "word_ids", "words")),
    ]


class Gated(ctypes.Structure):
    """unrolled_gated."""

    _fields_ = [
        *((name, c_int64) for name in ("size", "T", "B", "D", "H")),
        ("reverse", c_int32),
        ("packed", c_int32),
        ("x", Steps),
        *((name, c_void_p) for name in ("w_ih", "w_hh", "b_ih", "b_hh", "h_0", "c_0", "lengths")),
        ("output", Steps),
        *((name, c_void_p) for name in ("kept", "h_n", "c_n")),
        ("d_output", Steps),
        *((name, c_void_p) for name in ("d_h_n", "d_c_n")),
        ("d_x", Steps),
        *((name, c_void_p) for name in ("d_w_ih", "d_w_hh", "d_b_ih", "d_b_hh", "d_h_0", "d_c_0")),
    ]


class Scan(ctypes.Structure):
    """unrolled_scan."""

    _fields_ = [
        *((name, c_int64) for name in ("size", "T", "N")),
        *((name, c_void_p) for name in ("a", "b", "h_0", "h", "d_h", "d_a", "d_b", "d_h_0")),
    ]


class Table(ctypes.Structure):
    """unrolled_table."""

    _fields_ = [
        *((name, c_int64) for name in ("size", "V", "D", "H")),
        *((name, c_void_p) for name in ("embedding", "w_ih", "bias", "table")),
    ]


class RMSprop(ctypes.Structure):
    """unrolled_rmsprop."""

    _fields_ = [
        *((name, c_int64) for name in ("size", "rows", "columns", "count")),
        *((name, c_void_p) for name in ("weight", "square", "gradient", "ids")),
        *((name, c_float) for name in ("rate", "rho", "epsilon")),
        ("next", c_void_p),
    ]


class Stepper(ctypes.Structure):
    """unrolled_stepper."""

    _fields_ = [
        *((name, c_int64) for name in ("size", "D", "H", "layers")),
        *((name, c_int32) for name in ("cell", "lanes")),
        *((name, c_void_p) for name in ("weights", "packed")),
    ]


def bad_token(words: int) -> UsageError:
    """What is said of a token without a row in a table of `words` rows."""
    return UsageError(
        f"A token id is outside 0 to {words - 1}, the rows of the embedding. "
        "Encode the texts with the vocabulary that the embedding was made for."
    )


def bad_length(steps: int) -> UsageError:
    """What is said of a length that is not a number of steps."""
    return UsageError(f"A length is outside 0 to {steps}, the number of steps of the input.")


def bad_ids(rows: int) -> ShapeError:
    """What is said of ids that do not name rows of a weight, each once and in order."""
    return ShapeError(f"ids must be ascending rows of the weight, from 0 to {rows - 1}.")


def call(entry: Any, fields: Any) -> None:
    """Make one call of the engine.

    Raises:
        UsageError: a token has no row in the table, or a length is no number of steps.
        ShapeError: ids are not ascending rows.
        MemoryError: there is not enough memory.
        EngineError: the engine refused the descriptor.
    """
    status = entry(ctypes.byref(fields))
    if status == 0:
        return
    if status == BAD_TOKEN:
        raise bad_token(fields.V)
    if status == BAD_LENGTH:
        raise bad_length(fields.T)
    if status == BAD_IDS:
        raise bad_ids(fields.rows)
    if status == NO_MEMORY:
        raise MemoryError("The engine found too little memory for this batch; use a smaller one.")
    raise EngineError(
        f"The engine refused a call of {entry.__name__} (status {status}): an array is missing or too "
        "large. Install unrolled again, so that its engine and its Python come from the same version."
    )
