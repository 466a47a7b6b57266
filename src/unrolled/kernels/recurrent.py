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
from .abi import bad_length
from .recurrent_ops import Recurrent, differentiated, dispatched, ends, last_axis, run_forward
from .recurrent_torch import Plan

__all__ = ["Plan", "lengths_of", "recurrent"]

Tensors = Sequence[Tensor]


LONG = 3e11
"""Multiplications and additions that one call of the engine makes at most (a few seconds), so that Ctrl-C is heard."""


def recurrent(
    plan: Plan, x: Tensor, states: Tensors, weights: Tensors, lengths: Tensor | None = None, dropout: float = 0.0,
    *, recompute: int = 0,
) -> tuple[Tensor, ...]:  # fmt: skip
    """The outputs, in the layout of x with directions * H columns, and the last states, as torch gives them.

    Args:
        plan: what the weights belong to.
        x: see above; any strides.
        states: h_0, and for an LSTM c_0, (layers * directions, B, H), of a single step (B, H); empty for zeros.
        weights: w_ih, w_hh and the biases of every direction of every layer.
        lengths: (B,) int64 on the CPU, from 0 to T.
        dropout: share of the outputs between layers that is dropped, by torch's generator as torch would.
        recompute: with a number of steps, the backward pass computes the gates anew, block by block of so many steps.

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
    if dispatched(x):
        keep = differentiated(x, *states, *weights)
        found = torch.ops.unrolled.recurrent(x, lengths, states, noise, weights, *plan, keep)
        return tuple(found[: ends(plan, x, lengths)])
    single = x.dim() == 2 and lengths is None
    recompute = 0 if plan.elman else recompute  # it keeps nothing but its outputs
    rows, size = len(x) if x.dim() == 2 else x.shape[0] * x.shape[1], max(x.shape[-1], weights[0].shape[1])
    work = 2 * rows * len(weights[1]) * (size + weights[1].shape[1])
    if single or (work <= LONG and not recompute):
        return _at_once(plan, x, states, weights, lengths, noise)
    steps = len(x) if lengths is None or x.dim() == 3 else int(lengths.max())
    if lengths is not None and not 0 <= int(lengths.min()) <= int(lengths.max()) <= steps:
        raise bad_length(steps)
    block = recompute or max(1, int(steps * LONG / work))
    return _in_blocks(plan, x, states, weights, lengths, noise, _borders(steps, block), bool(recompute))


def _at_once(
    plan: Plan, x: Tensor, states: Tensors, weights: Tensors, lengths: Tensor | None, noise: Tensors = (),
    *, again: bool = False,
) -> tuple[Tensor, ...]:  # fmt: skip
    if differentiated(x, *states, *weights):
        return Recurrent.apply(*plan, len(states), len(noise), again, x, lengths, *states, *noise, *weights)
    return tuple(run_forward(x, lengths, states, noise, weights, *plan, False))


def _borders(steps: int, block: int) -> list[tuple[int, int]]:
    return [(first, min(first + block, steps)) for first in range(0, steps, block)]


def _in_blocks(
    plan: Plan, x: Tensor, states: Tensors, weights: Tensors, lengths: Tensor | None, noise: Tensors,
    blocks: Sequence[tuple[int, int]], recompute: bool,
) -> tuple[Tensor, ...]:  # fmt: skip
    """The same in blocks of steps: no bit of the states differs."""
    batch = x.shape[1] if lengths is None else len(lengths)
    if not states:
        zeros = x.new_zeros(plan.layers * plan.directions, batch, weights[1].shape[1])
        states = [zeros] * (1 + (plan.cell == "lstm"))
    last = []
    for layer in range(plan.layers):
        outputs = []
        for index in plan.indices(layer):
            reverse = plan.reverse or bool(index % plan.directions)
            first, given = [state[index : index + 1] for state in states], plan.weights(weights, index)
            one = Plan(plan.cell, biases=plan.biases, reverse=reverse)
            output, final = _direction(one, x, first, given, lengths, blocks, recompute)
            outputs.append(output)
            last.append(final)
        x = torch.cat(outputs, -1) if plan.directions > 1 else outputs[0]
        x = x * noise[layer] if noise and layer < plan.layers - 1 else x
    return x, *(torch.cat(state) for state in zip(*last, strict=True))


def _direction(
    plan: Plan, x: Tensor, state: Tensors, weights: Tensors, lengths: Tensor | None,
    blocks: Sequence[tuple[int, int]], recompute: bool,
) -> tuple[Tensor, Tensors]:  # fmt: skip
    """Output and last states of one direction of one layer, which reads from the end with `plan.reverse`."""
    rows = [end - first for first, end in blocks]
    if lengths is not None and x.dim() == 2:
        rows = [int((lengths.clamp(max=end) - lengths.clamp(max=first)).sum()) for first, end in blocks]
    # One split, not a slice for each block: the gradient of a slice is as large as x.
    pieces = list(x.split(rows))
    for i in reversed(range(len(blocks))) if plan.reverse else range(len(blocks)):
        first, end = blocks[i]
        some = state[0].shape[1] if lengths is None or x.dim() == 3 else int((lengths > first).sum())
        counts = None if lengths is None else (lengths[:some] - first).clamp(0, end - first)
        before = [part[:, :some].contiguous() for part in state]
        pieces[i], *after = _at_once(plan, pieces[i], before, weights, counts, again=recompute)
        state = [torch.cat([new, old[:, some:]], 1) for new, old in zip(after, state, strict=True)]
    return torch.cat(pieces), state


def lengths_of(sizes: Tensor, count: int) -> Tensor | None:
    """Lengths of `count` packed rows, longest first, from how many rows each step has; None where these do not fit."""
    if not len(sizes) or int(sizes.sum()) != count or int(sizes[-1]) < 1 or (sizes[1:] > sizes[:-1]).any():
        return None
    return len(sizes) - torch.searchsorted(sizes.flip(0), torch.arange(int(sizes[0])), right=True)


def _noise(plan: Plan, x: Tensor, weights: Tensors, p: float) -> list[Tensor]:
    """What torch's dropout multiplies the outputs of each layer but the last with."""
    size = (*x.shape[:-1], plan.directions * weights[1].shape[1])
    if p == 1:
        return [x.new_zeros(size) for _ in range(plan.layers - 1)]
    return [x.new_empty(size).bernoulli_(1 - p).div_(1 - p) for _ in range(plan.layers - 1)]
