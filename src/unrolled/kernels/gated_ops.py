"""The LSTM and the GRU as torch operators: differentiable, and opaque to torch.compile.

The operators are `torch.ops.unrolled.gated` and `gated_backward`, wrapped in an `autograd.Function`. Tensors are
float32 on the CPU: ask `kernels.supports` before.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from . import gated
from .torch_ops import TORCH, _differentiated, _last_axis, _run, _taken


def lstm(
    x: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None, b_hh: Tensor | None = None,
    state: tuple[Tensor, Tensor] | None = None, *, lengths: Tensor | None = None, reverse: bool = False,
) -> tuple[Tensor, tuple[Tensor, Tensor]]:  # fmt: skip
    """`kernels.lstm` on tensors, differentiable in x, the states and the weights.

    Args:
        x: (T, B, D), any strides.
        w_ih: (4 H, D), gates i f g o.
        w_hh: (4 H, H).
        b_ih: (4 H,).
        b_hh: (4 H,).
        state: h_0 and c_0, (B, H) each; zeros by default.
        lengths: (B,) integers from 0 to T.
        reverse: read each row from its last step to its first.

    Returns:
        output (T, B, H), and (h_n, c_n), (B, H) each.

    Raises:
        ShapeError: shapes that do not fit each other.
        UsageError: what the engine does not take; a length outside 0 to T.
    """
    output, h_n, c_n = _apply("lstm", x, (w_ih, w_hh, b_ih, b_hh, *(state or (None, None)), lengths), reverse)
    return output, (h_n, c_n)


def gru(
    x: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None, b_hh: Tensor | None = None,
    h_0: Tensor | None = None, *, lengths: Tensor | None = None, reverse: bool = False,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """`kernels.gru` on tensors, differentiable in x, h_0 and the weights.

    Args and errors are those of `lstm`, with 3 gates r z n and one state.

    Returns:
        output (T, B, H) and h_n (B, H).
    """
    output, h_n = _apply("gru", x, (w_ih, w_hh, b_ih, b_hh, h_0, None, lengths), reverse)
    return output, h_n


def _apply(cell: str, x: Tensor, given: tuple[Tensor | None, ...], reverse: bool) -> Any:
    *floats, lengths = given
    ready = [None if tensor is None else _taken(tensor).contiguous() for tensor in floats]
    lengths = None if lengths is None else lengths.to("cpu", torch.int64).contiguous()
    weights = gated.Weights(*ready, *[lengths])
    gated.check(cell, tuple(x.shape), weights)
    arguments = (_last_axis(_taken(x)), *weights, cell, reverse)
    if _differentiated(x, *given[:-1]):
        return _Gated.apply(*arguments)
    return _run(_gated, *arguments, False)


def _gated(x: Tensor, *given: Any) -> list[Tensor]:
    """The states, then with `keep` what the backward pass reads."""
    *weights, cell, reverse, keep = given
    states, kept = gated.forward(TORCH, cell, x, gated.Weights(*weights), reverse=reverse, keep=keep)
    return [tensor for tensor in (*states, kept) if tensor is not None]


def _gated_backward(x: Tensor, *given: Any) -> list[Tensor]:
    """Weights first, then those that are wanted of x, h_0, c_0."""
    *weights, cell, reverse, output, kept, d_output, d_h_n, d_c_n, want_x, want_h_0, want_c_0 = given
    found = gated.backward(
        TORCH, cell, x, gated.Weights(*weights), (output, kept), gated.States(d_output, d_h_n, d_c_n),
        reverse=reverse, wanted=(want_x, want_h_0, want_c_0),
    )  # fmt: skip
    return [tensor for tensor in found if tensor is not None]


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *given: Any) -> Any:
        *states, kept = _run(_gated, *given, True)
        ctx.save_for_backward(*given[:8], states[0], kept)
        ctx.options = given[8:]
        ctx.set_materialize_grads(False)
        return tuple(states)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_output: Tensor | None, *d_last: Tensor | None) -> Any:
        wanted = [ctx.needs_input_grad[i] for i in (0, 5, 6)]
        d_last = tuple(None if d is None else d.contiguous() for d in d_last)
        w_ih, w_hh, b_ih, b_hh, *more = _run(
            _gated_backward, *ctx.saved_tensors[:8], *ctx.options, *ctx.saved_tensors[8:],
            None if d_output is None else _last_axis(d_output), *(*d_last, None)[:2], *wanted,
        )  # fmt: skip
        x, h_0, c_0 = (more.pop(0) if want else None for want in wanted)
        has_bias = [given is not None for given in ctx.saved_tensors[3:5]]
        biases = [d if there else None for d, there in zip((b_ih, b_hh), has_bias, strict=True)]
        return x, w_ih, w_hh, *biases, h_0, c_0, None, None, None


def _fake_gated(x: Tensor, w_ih: Tensor, w_hh: Tensor, *given: Any) -> list[Tensor]:
    cell, _, keep = given[-3:]
    (steps, batch, _), hidden = x.shape, w_hh.shape[1]
    last = [(batch, hidden)] * len(gated.STATES[cell])
    kept = [(steps * batch, gated.KEPT[cell] * hidden)] * keep
    return [x.new_empty(size) for size in [(steps, batch, hidden), *last, *kept]]


def _fake_gated_backward(x: Tensor, w_ih: Tensor, w_hh: Tensor, *given: Any) -> list[Tensor]:
    state = (x.shape[1], w_hh.shape[1])
    more = [size for size, want in zip((x.shape, state, state), given[-3:], strict=True) if want]
    return [x.new_empty(size) for size in (w_ih.shape, w_hh.shape, w_hh.shape[:1], w_hh.shape[:1], *more)]


_GIVEN = (
    "Tensor x, Tensor w_ih, Tensor w_hh, Tensor? b_ih, Tensor? b_hh, Tensor? h_0, Tensor? c_0, Tensor? lengths, "
    "str cell, bool reverse"
)
_library = torch.library.Library("unrolled", "FRAGMENT")
for _schema, _function, _fake in (
    (f"gated({_GIVEN}, bool keep) -> Tensor[]", _gated, _fake_gated),
    (f"gated_backward({_GIVEN}, Tensor output, Tensor kept, Tensor? d_output, Tensor? d_h_n, Tensor? d_c_n, "
     "bool want_x, bool want_h_0, bool want_c_0) -> Tensor[]", _gated_backward, _fake_gated_backward),
):  # fmt: skip
    _name = _library.define(_schema)
    _library.impl(_name, _function, "CPU")
    torch.library.register_fake(f"unrolled::{_name}", _fake, lib=_library)
