"""A cell over a whole sequence."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from . import Cell, Weights


def over_time(
    cell: Cell, x: Tensor, weights: Weights, first: Sequence[Tensor], lengths: Tensor | None, reverse: bool
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """One layer by the cell's equations, step by step: where the engine does not serve, and to test it.

    Args:
        cell: the equations.
        x: (T, B, D).
        weights: of the layer.
        first: states (B, H) before the first step; empty for zeros.
        lengths: (B,) steps of each row; None for all of them.
        reverse: read each row from its last step to its first.

    Returns:
        output (T, B, H), zero past the end of a row, and the states after its last step.
    """
    steps, batch, _ = x.shape
    hidden = weights.weight_hh.shape[1]
    state = tuple(first) or tuple(x.new_zeros(batch, hidden) for _ in cell.states)
    ends = torch.full((batch,), steps, device=x.device) if lengths is None else lengths.to(x.device)
    outputs = [x.new_zeros(batch, hidden)] * steps
    for t in reversed(range(steps)) if reverse else range(steps):
        alive = (t < ends)[:, None]
        after = cell.step(x[t], state, weights)
        outputs[t] = torch.where(alive, after[0], outputs[t])
        state = tuple(torch.where(alive, new, old) for new, old in zip(after, state, strict=True))
    return (torch.stack(outputs) if steps else x.new_zeros(0, batch, hidden)), state
