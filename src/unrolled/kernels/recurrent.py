"""The door to a whole recurrent network on the engine, differentiable.

x is (T, B, D); or packed (N, D), of each step the rows that have it, longest first, which `lengths` (B,) describe; or
without `lengths` a single step (B, D).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import ShapeError
from . import recurrent_compile  # noqa: F401 - registers the operators
from .recurrent_ops import Recurrent, differentiated, dispatched, ends, last_axis, run_forward
from .recurrent_torch import Plan

__all__ = ["Plan", "lengths_of", "recurrent"]

Tensors = Sequence[Tensor]


def recurrent(
    plan: Plan,
    x: Tensor,
    states: Tensors,
    weights: Tensors,
    lengths: Tensor | None = None,
    dropout: float = 0.0,
) -> tuple[Tensor, ...]:
    """The outputs, in the layout of x with directions * H columns, and the last states, as torch gives them.

    Args:
        plan: what the weights belong to.
        x: see above; any strides.
        states: h_0, and for an LSTM c_0, (layers * directions, B, H), of a single step (B, H); empty for zeros.
        weights: w_ih, w_hh and the biases of every direction of every layer.
        lengths: (B,) int64 on the CPU, from 0 to T.
        dropout: share of the outputs between layers that is dropped, by torch's generator as torch would.

    Returns:
        output, h_n, and for an LSTM c_n, in the shape of `states`; for a single step h (B, H), and for an LSTM c.

    Raises:
        ShapeError: lengths of another number than rows.
        UsageError: a length outside 0 to T, or packed rows that are not longest first.
    """
    if lengths is not None and x.dim() == 3 and lengths.shape != x.shape[1:2]:
        raise ShapeError(f"lengths is {tuple(lengths.shape)}; expected ({x.shape[1]},), one for each row.")
    x = last_axis(x)
    states, weights = ([t if t.is_contiguous() else t.contiguous() for t in ts] for ts in (states, weights))
    noise = _noise(plan, x, weights, dropout) if dropout and plan.layers > 1 else []
    keep = differentiated(x, *states, *weights)
    if dispatched(x):
        found = torch.ops.unrolled.recurrent(x, lengths, states, noise, weights, *plan, keep)
        return tuple(found[: ends(plan, x, lengths)])
    if keep:
        return Recurrent.apply(*plan, len(states), len(noise), x, lengths, *states, *noise, *weights)
    return tuple(run_forward(x, lengths, states, noise, weights, *plan, False))


def lengths_of(sizes: Tensor) -> Tensor:
    """Lengths of packed rows, longest first, from how many rows each step has."""
    rows = torch.arange(int(sizes[0]) if len(sizes) else 0)
    return len(sizes) - torch.searchsorted(sizes.flip(0), rows, right=True)


def _noise(plan: Plan, x: Tensor, weights: Tensors, p: float) -> list[Tensor]:
    """What torch's dropout multiplies the outputs of each layer but the last with."""
    size = (*x.shape[:-1], plan.directions * weights[1].shape[1])
    if p == 1:
        return [x.new_zeros(size) for _ in range(plan.layers - 1)]
    return [x.new_empty(size).bernoulli_(1 - p).div_(1 - p) for _ in range(plan.layers - 1)]
