"""A whole recurrent network in one pass: layers, directions, dropout, ragged and packed batches, one step.

`recurrent.py` is the door. Tensors are float32 on the CPU and fit each other: callers check.

x is (T, B, D); or packed (N, D), of each step the rows that have it, longest first, which `lengths` (B,) describe; or
without `lengths` a single step (B, D).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from ctypes import sizeof
from typing import Any

import torch
from torch import Tensor, nn

from . import abi, gated, recurrent_torch
from .library import engine
from .recurrent_checks import plain
from .recurrent_torch import Plan

Tensors = Sequence[Tensor]
with torch.inference_mode(False):  # who imports this first may be in it, and its tensors never train
    _NOTHING = torch.empty(0)


def last_axis(tensor: Tensor) -> Tensor:
    """The tensor with neighbours along its last axis."""
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()


def differentiated(*tensors: Tensor | None) -> bool:
    """Whether a gradient of any will be asked for."""
    return torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors)


def dispatched(tensor: Tensor) -> bool:
    """Whether a call has to go through torch's dispatcher, because somebody traces: that costs 8 us more."""
    return torch.compiler.is_compiling() or type(tensor) not in (Tensor, nn.Parameter)


def ends(plan: Plan, x: Tensor, lengths: Tensor | None) -> int:
    """How many tensors the output and the last states are."""
    return 1 + (x.dim() == 3 or lengths is not None) + (plan.cell == "lstm")


class _Pass:
    """One pass over all layers: makes the engine's calls, with what forward and backward have in common."""

    def __init__(
        self, plan: Plan, x: Tensor, lengths: Tensor | None, states: Tensors, weights: Tensors
    ) -> None:
        self.plan, self.first, self.weights = plan, states, weights
        self.hidden = weights[1].shape[1]
        self.single, packed = x.dim() == 2 and lengths is None, x.dim() == 2 and lengths is not None
        steps, self.batch = x.shape[:2] if x.dim() == 3 else (1, x.shape[0])
        self.structure: Any = abi.Elman if plan.elman else abi.Gated
        self.common: dict[str, Any] = {"size": sizeof(self.structure), "H": self.hidden}
        if lengths is not None:
            self.common["lengths"] = lengths.data_ptr()
        if packed and lengths is not None:
            self.batch = len(lengths)
            steps = int(lengths[0]) if self.batch else 0
            self.common["packed"] = True
        if plan.elman:
            self.common |= {"activation": plan.cell == "rnn_relu", "prefix_token": -1}
        self.common |= {"T": steps, "B": self.batch}

    def states(self, new: Callable[..., Tensor]) -> Tensor:
        """Room for states of all layers and directions."""
        rows = (self.batch, self.hidden)
        return new(rows if self.single else (self.plan.layers * self.plan.directions, *rows))

    def call(self, index: int, x: Tensor) -> Any:
        """The descriptor of one direction of a layer that reads x."""
        plan = self.plan
        w_ih, w_hh, *biases = plan.weights(self.weights, index)
        call = self.structure(
            D=x.shape[-1], reverse=plan.reverse or index % plan.directions, x=_place(x),
            w_ih=w_ih.data_ptr(), w_hh=w_hh.data_ptr(), **self.common,
        )  # fmt: skip
        self.point(call, index, **dict(zip(("h_0", "c_0"), self.first, strict=False)))
        if biases and not plan.elman:
            call.b_ih, call.b_hh = biases[0].data_ptr(), biases[1].data_ptr()
        return call

    def point(self, call: Any, index: int, **states: Tensor | None) -> None:
        """Set fields to this direction's part of states."""
        for name, tensor in states.items():
            if tensor is not None:
                setattr(call, name, tensor.data_ptr() + 4 * index * self.batch * self.hidden)

    def column(self, index: int) -> int:
        """Where this direction's outputs begin among those of its layer."""
        return index % self.plan.directions * self.hidden

    def run(self, way: str, call: Any) -> None:
        abi.call(getattr(engine(), f"unrolled_{'elman' if self.plan.elman else self.plan.cell}_{way}"), call)


def _place(x: Tensor, column: int = 0) -> tuple[int, int, int]:
    """X from a column on, as an unrolled_steps."""
    *time, row, _ = x.stride()
    return x.data_ptr() + 4 * column, time[0] if time else 0, row


def run_forward(
    x: Tensor, lengths: Tensor | None, states: Tensors, noise: Tensors, weights: Tensors, *given: Any
) -> list[Tensor]:
    """What `recurrent` answers, then with `keep` the outputs of all layers but the last, and the engine's notes."""
    plan, keep = Plan(*given[:-1]), given[-1]
    way = _Pass(plan, x, lengths, states, weights)
    h_n = None if way.single else way.states(x.new_empty)
    c_n = way.states(x.new_empty) if plan.cell == "lstm" else None
    outputs, notes = [], []
    for layer in range(plan.layers):
        output = x.new_empty((*x.shape[:-1], plan.directions * way.hidden))
        for index in plan.indices(layer):
            call = way.call(index, x)
            call.output = _place(output, way.column(index))
            way.point(call, index, h_n=h_n, c_n=c_n)
            biases = plan.weights(weights, index)[2:]
            if biases and plan.elman:
                bias = biases[0] if len(biases) == 1 else biases[0] + biases[1]
                call.bias = bias.data_ptr()
            if keep and not plan.elman:
                rows = output.shape[:-1].numel()
                notes.append(x.new_empty((rows, gated.KEPT[plan.cell] * way.hidden)))
                call.kept = notes[-1].data_ptr()
            way.run("forward", call)
        outputs.append(output)
        x = output * noise[layer] if noise and layer < plan.layers - 1 else output
    last = [state for state in (h_n, c_n) if state is not None]
    return [outputs[-1], *last, *(outputs[:-1] if keep else []), *notes]


def run_backward(
    x: Tensor, lengths: Tensor | None, states: Tensors, noise: Tensors, weights: Tensors, *given: Any
) -> list[Tensor]:
    """Gradients of all weights, then those that are wanted of x, h_0, c_0."""
    *fields, outputs, notes, d_output, d_h_n, d_c_n, want_x, want_h_0, want_c_0 = given
    plan = Plan(*fields)
    way = _Pass(plan, x, lengths, states, weights)
    found = [torch.empty_like(weight) for weight in weights]
    d_h_0, d_c_0 = (way.states(x.new_empty) if want else None for want in (want_h_0, want_c_0))
    for layer in reversed(range(plan.layers)):
        source = outputs[layer - 1] if layer else x
        source = source * noise[layer - 1] if layer and noise else source
        d_x: Tensor | None = None
        for index in plan.indices(layer):
            call = way.call(index, source)
            call.output = _place(outputs[layer], way.column(index))
            if d_output is not None:
                call.d_output = _place(d_output, way.column(index))
            part = x.new_empty(source.shape) if layer or want_x else None
            if part is not None:
                call.d_x = _place(part)
            if notes:
                call.kept = notes[index].data_ptr()
            way.point(call, index, d_h_n=d_h_n, d_c_n=d_c_n, d_h_0=d_h_0, d_c_0=d_c_0)
            _differentiate(way, call, plan.weights(found, index))
            d_x = part if d_x is None or part is None else d_x.add_(part)
        d_output = d_x.mul_(noise[layer - 1]) if noise and layer and d_x is not None else d_x
    return [*found, *(d for d in (d_output, d_h_0, d_c_0) if d is not None)]


def _differentiate(way: _Pass, call: Any, found: Tensors) -> None:
    """Run the backward call that fills the gradients of one direction's weights."""
    d_w_ih, d_w_hh, *biases = found
    call.d_w_ih, call.d_w_hh = d_w_ih.data_ptr(), d_w_hh.data_ptr()
    if way.plan.elman:
        if biases:
            call.d_bias = biases[0].data_ptr()
        way.run("backward", call)
        for other in biases[1:]:
            other.copy_(biases[0])
        return
    d_b_ih, d_b_hh = biases or [d_w_hh.new_empty(d_w_hh.shape[:1]) for _ in range(2)]
    call.d_b_ih, call.d_b_hh = d_b_ih.data_ptr(), d_b_hh.data_ptr()
    way.run("backward", call)


class Recurrent(torch.autograd.Function):
    """The operator without torch's dispatcher, twice differentiable, and with outputs that may be changed in place.

    `again`: nothing but the outputs is kept, and the backward pass computes the engine's notes anew.
    """

    @staticmethod
    def forward(ctx: Any, *given: Any) -> Any:
        plan, (firsts, noises, again, x, lengths), tensors = Plan(*given[:5]), given[5:10], given[10:]
        parts = (tensors[:firsts], tensors[firsts : firsts + noises], tensors[firsts + noises :])
        found = run_forward(x, lengths, *(list(part) for part in parts), *plan, not again)
        count = ends(plan, x, lengths)
        output, kept = found[0], found[count:]
        ctx.plan, ctx.counts, ctx.again = plan, (firsts, noises, len(parts[2])), again
        ctx.set_materialize_grads(False)
        # The output may be changed in place, as torch's may. An alias without memory keeps count of that.
        ctx.witness = output.detach()
        ctx.witness.data = _NOTHING
        ctx.version = ctx.witness._version
        lower = 0 if again else plan.layers - 1
        ctx.save_for_backward(x, lengths, *tensors, *kept[:lower], output.data, *kept[lower:])
        return tuple(found[:count])

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor | None) -> Any:
        plan, (firsts, noises, _), (x, lengths, *saved) = ctx.plan, ctx.counts, ctx.saved_tensors
        states, noise, weights, outputs, notes = counted(saved, *ctx.counts, plan.layers)
        need = ctx.needs_input_grad
        wanted = [need[8], *need[10 : 10 + firsts], *[False] * noises, *need[10 + firsts + noises :]]
        if torch.is_grad_enabled() or not all(map(plain, upstream)):
            found = recurrent_torch.gradients(plan, x, lengths, (states, noise, weights), upstream, wanted)
            return *[None] * 8, found[0], None, *found[1:]
        if ctx.again or ctx.witness._version != ctx.version:
            top, *kept = run_forward(x, lengths, states, noise, weights, *plan, True)
            kept = kept[ends(plan, x, lengths) - 1 :]
            outputs, notes = [*kept[: plan.layers - 1], top], kept[plan.layers - 1 :]
        parts = (lengths, states, noise, weights, *plan, outputs, notes)
        d_x, d_states, d_weights = gradients(run_backward, x, parts, upstream, wanted[: 1 + firsts])
        given = [d if wish else None for d, wish in zip(d_weights, wanted[1 + firsts + noises :], strict=True)]
        return *[None] * 8, d_x, None, *d_states, *[None] * noises, *given


def counted(tensors: Tensors, *counts: int) -> Iterator[Tensors]:
    """So many tensors of a list, so many next, and the rest."""
    for count in counts:
        yield tensors[:count]
        tensors = tensors[count:]
    yield tensors


def gradients(
    function: Callable[..., list[Tensor]], x: Tensor, parts: Sequence[Any], upstream: Sequence[Tensor | None],
    wanted: Sequence[bool],
) -> tuple[Tensor | None, list[Tensor | None], list[Tensor]]:  # fmt: skip
    """Gradients of x and the states, where they are wanted, and of the weights."""
    weights = parts[3]
    d_output = None if upstream[0] is None else last_axis(upstream[0])
    last = [None if d is None else d.contiguous() for d in upstream[1:]]
    last = [None, *last] if x.dim() == 2 and parts[0] is None else last
    want = [*wanted, False, False][:3]
    found = function(x, *parts, d_output, *[*last, None][:2], *want)
    spots = [len(weights) + sum(want[:i]) for i in range(3)]
    d_x, *d_states = [found[spot] if wish else None for spot, wish in zip(spots, want, strict=True)]
    return d_x, d_states[: len(wanted) - 1], found[: len(weights)]
