"""What torch.compile and torch.export see of a recurrent network: the operators `torch.ops.unrolled.recurrent` and
`recurrent_backward`, opaque, with their shapes and their derivative.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from . import gated
from .recurrent_ops import counted, ends, gradients, run_backward, run_forward
from .recurrent_torch import Plan


def _keep_for_backward(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    """What the operator's own derivative, which torch.compile follows, keeps of a call."""
    x, lengths, states, noise, weights, *fields, _ = inputs
    plan = Plan(*fields)
    count = ends(plan, x, lengths)
    ctx.plan, ctx.counts, ctx.ends = plan, (len(states), len(noise), len(weights)), count
    kept = output[count:]
    ctx.save_for_backward(
        x, lengths, *states, *noise, *weights, *kept[: plan.layers - 1], output[0], *kept[plan.layers - 1 :]
    )


def _derivative(ctx: Any, upstream: Sequence[Tensor | None]) -> Any:
    plan, (x, lengths, *saved) = ctx.plan, ctx.saved_tensors
    states, noise, weights, outputs, notes = counted(saved, *ctx.counts, plan.layers)
    wanted = [ctx.needs_input_grad[0], *[True] * len(states)]
    given = (lengths, states, noise, weights, *plan, outputs, notes)
    function = torch.ops.unrolled.recurrent_backward
    d_x, d_states, d_weights = gradients(function, x, given, upstream[: ctx.ends], wanted)
    return d_x, None, d_states, [None] * len(noise), d_weights, *[None] * 6


def _fake_recurrent(x: Tensor, *given: Any) -> list[Tensor]:
    lengths, _, _, weights, *fields, keep = given
    plan = Plan(*fields)
    hidden = weights[1].shape[1]
    outputs = [x.new_empty((*x.shape[:-1], plan.directions * hidden)) for _ in range(plan.layers)]
    single = x.dim() == 2 and lengths is None
    batch = x.shape[1] if x.dim() == 3 else x.shape[0] if single else lengths.shape[0]
    size = (batch, hidden) if single else (plan.layers * plan.directions, batch, hidden)
    last = [x.new_empty(size) for _ in range((not single) + (plan.cell == "lstm"))]
    rows = x.shape[0] if x.dim() == 2 else x.shape[0] * x.shape[1]
    notes = 0 if plan.elman or not keep else plan.layers * plan.directions
    kept = [x.new_empty((rows, gated.KEPT[plan.cell] * hidden)) for _ in range(notes)]
    return [outputs[-1], *last, *(outputs[:-1] if keep else []), *kept]


def _fake_recurrent_backward(x: Tensor, *given: Any) -> list[Tensor]:
    lengths, _, _, weights, *fields = given
    plan, hidden, wanted = Plan(*fields[:5]), weights[1].shape[1], fields[-3:]
    single = x.dim() == 2 and lengths is None
    batch = x.shape[1] if x.dim() == 3 else x.shape[0] if single else lengths.shape[0]
    size = (batch, hidden) if single else (plan.layers * plan.directions, batch, hidden)
    more = [shape for shape, want in zip((x.shape, size, size), wanted, strict=True) if want]
    return [*(x.new_empty(weight.shape) for weight in weights), *(x.new_empty(shape) for shape in more)]


def define(
    library: torch.library.Library, schema: str, function: Callable[..., Any], fake: Callable[..., Any]
) -> None:
    """Register an operator of the engine: what computes it on the CPU, and what tells its shapes."""
    name = library.define(schema)
    library.impl(name, function, "CPU")
    torch.library.register_fake(f"unrolled::{name}", fake, lib=library)


_GIVEN = (
    "Tensor x, Tensor? lengths, Tensor[] states, Tensor[] noise, Tensor[] weights, str cell, int layers, "
    "int directions, int biases, bool reverse"
)
_library = torch.library.Library("unrolled", "DEF")
define(_library, f"recurrent({_GIVEN}, bool keep) -> Tensor[]", run_forward, _fake_recurrent)
torch.library.register_autograd(
    "unrolled::recurrent", _derivative, setup_context=_keep_for_backward, lib=_library
)
define(
    _library,
    f"recurrent_backward({_GIVEN}, Tensor[] outputs, Tensor[] notes, Tensor? d_output, Tensor? d_h_n, Tensor? d_c_n, "
    "bool want_x, bool want_h_0, bool want_c_0) -> Tensor[]",
    run_backward,
    _fake_recurrent_backward,
)
