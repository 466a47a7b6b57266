"""The same network in torch's own cells, step by step: what `recurrent_ops` falls back on for derivatives of
derivatives, and for gradients that are batched or otherwise no plain memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

Tensors = Sequence[Tensor]
COMPOSITE = torch._C.DispatchKey.CompositeImplicitAutograd


class Plan(NamedTuple):
    """What weights belong to: `directions` of each of `layers`, forwards first.

    `cell` is torch's name of the recurrence: rnn_tanh, rnn_relu, lstm or gru. `biases`: of each direction, 0 or 2; of
    rnn_tanh and rnn_relu also 1. `reverse`: the one direction is the one from the end.
    """

    cell: str
    layers: int = 1
    directions: int = 1
    biases: int = 2
    reverse: bool = False

    @property
    def elman(self) -> bool:
        return self.cell.startswith("rnn")

    def indices(self, layer: int) -> range:
        """Where the directions of a layer stand among all."""
        return range(layer * self.directions, (layer + 1) * self.directions)

    def weights(self, weights: Tensors, index: int) -> Tensors:
        """Those of one direction."""
        return weights[index * (2 + self.biases) : (index + 1) * (2 + self.biases)]


def composite(op: Any, *given: Any) -> Any:
    """Torch's own way to compute `op`, whatever else is registered for it."""
    return op._op_dk(COMPOSITE, *given)


def gradients(
    plan: Plan, x: Tensor, lengths: Tensor | None, given: tuple[Tensors, Tensors, Tensors],
    upstream: Sequence[Tensor | None], wanted: Sequence[bool],
) -> list[Tensor | None]:  # fmt: skip
    """Differentiable gradients of x and of all that is given (states, noise, weights), where they are wanted.

    Args:
        plan: what the weights belong to; with x and lengths as in `recurrent_ops.recurrent`.
        x: the input.
        lengths: steps of each row.
        given: first states, what dropout multiplies with, weights.
        upstream: gradients of what `recurrent` answers.
        wanted: for x and each of the given, whether it is.
    """
    create = torch.is_grad_enabled()
    with torch.enable_grad():
        # Of each an alias, so that what one was computed from is not taken for another's path.
        tensors = (x, *given[0], *given[1], *given[2])
        alias = [t.view_as(t) if want else t for t, want in zip(tensors, wanted, strict=True)]
        firsts, noises = len(given[0]), len(given[1])
        parts = (alias[1 : 1 + firsts], alias[1 + firsts : 1 + firsts + noises], alias[1 + firsts + noises :])
        answer = _network(plan, alias[0], lengths, *parts)
    pairs = [(a, d) for a, d in zip(answer, upstream, strict=True) if d is not None]
    inputs = [t for t, want in zip(alias, wanted, strict=True) if want]
    outputs, d_outputs = ([pair[i] for pair in pairs] for i in (0, 1))
    found = iter(torch.autograd.grad(outputs, inputs, d_outputs, create_graph=create, allow_unused=True))
    return [next(found) if want else None for want in wanted]


def _network(
    plan: Plan, x: Tensor, lengths: Tensor | None, states: Tensors, noise: Tensors, weights: Tensors
) -> list[Tensor]:
    """What `recurrent_ops.recurrent` answers."""
    single, packed = x.dim() == 2 and lengths is None, x.dim() == 2 and lengths is not None
    if packed and lengths is not None:
        sizes = (torch.arange(int(lengths[0]))[:, None] < lengths).sum(1)
        x, *noise = (torch._pad_packed_sequence(t, sizes, False, 0.0, len(sizes))[0] for t in (x, *noise))
    x = x[None] if single else x
    last = []
    for layer in range(plan.layers):
        outputs = []
        for index in plan.indices(layer):
            first = [state if single else state[index] for state in states]
            output, final = _direction(plan, index, x, lengths, first, plan.weights(weights, index))
            outputs.append(output)
            last.append(final)
        x = torch.cat(outputs, -1)
        x = x * noise[layer] if noise and layer < plan.layers - 1 else x
    if single:
        return [x[0], *last[0][1:]]
    output = torch._pack_padded_sequence(x, lengths, False)[0] if packed else x
    return [output, *(torch.stack(state) for state in zip(*last, strict=True))]


def _direction(
    plan: Plan, index: int, x: Tensor, lengths: Tensor | None, state: Tensors, weights: Tensors
) -> tuple[Tensor, Tensors]:
    """Output (T, B, H) and last states of one direction of one layer."""
    cell = partial(composite, getattr(torch.ops.aten, f"{plan.cell}_cell").default)
    lstm, zeros = plan.cell == "lstm", x.new_zeros(x.shape[1], weights[1].shape[1])
    weights = [*weights, torch.zeros_like(weights[2])] if len(weights) == 3 else weights
    state = list(state) or [zeros] * (1 + lstm)
    outputs = [zeros] * len(x)
    for t in reversed(range(len(x))) if plan.reverse or index % plan.directions else range(len(x)):
        after = cell(x[t], state if lstm else state[0], *weights)
        after = list(after) if lstm else [after]
        if lengths is not None:
            alive = (t < lengths)[:, None]
            outputs[t] = torch.where(alive, after[0], zeros)
            state = [torch.where(alive, new, old) for new, old in zip(after, state, strict=True)]
        else:
            outputs[t], state = after[0], after
    return torch.stack(outputs) if outputs else x.new_zeros(0, *zeros.shape), state
