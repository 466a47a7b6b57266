"""A cell over a whole sequence: where the engine does not serve, and to test it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import dropout

from . import Cell, Weights


def network_over_time(
    cell: Cell, x: Tensor, weights: Sequence[Weights], first: Sequence[Tensor], lengths: Tensor | None,
    *, directions: int = 1, drop: float = 0.0,
) -> tuple[Tensor, list[Tensor]]:  # fmt: skip
    """Layers one above the other by the cell's equations.

    Args:
        cell: the equations.
        x: (T, B, D).
        weights: of every direction of every layer, forwards first.
        first: states (layers * directions, B, H) before the first step; empty for zeros.
        lengths: (B,) steps of each row; None for all of them.
        directions: 1, or 2 to read from the end too.
        drop: share of the outputs between layers that is dropped.

    Returns:
        output (T, B, directions * H), zero past the end of a row, and the states after the last step, as `first`.
    """
    last = []
    for index, given in enumerate(weights):
        if index % directions == 0:
            x, outputs = dropout(x, drop) if index and drop else x, []
        start = [state[index] for state in first]
        output, state = over_time(cell, x, given, start, lengths, bool(index % directions))
        outputs.append(output)
        last.append(state)
        if len(outputs) == directions:
            x = torch.cat(outputs, -1)
    return x, [torch.stack(states) for states in zip(*last, strict=True)]


def over_time(
    cell: Cell, x: Tensor, weights: Weights, first: Sequence[Tensor], lengths: Tensor | None, reverse: bool
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """One layer in one direction, step by step.

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
