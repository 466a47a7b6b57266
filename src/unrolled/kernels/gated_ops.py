"""One layer of an LSTM or a GRU on tensors: differentiable, and opaque to torch.compile.

Tensors are float32 on the CPU: ask `kernels.supports` before.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import gated
from .recurrent import Plan, recurrent
from .torch_ops import taken


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
    weights = gated.Weights(*(None if tensor is None else taken(tensor) for tensor in floats), *[lengths])
    gated.check(cell, tuple(x.shape), weights)
    matrices, (b_ih, b_hh, *states), lengths = weights[:2], weights[2:6], weights.lengths
    some = b_hh if b_ih is None else b_ih
    biases = [] if some is None else [torch.zeros_like(some) if b is None else b for b in (b_ih, b_hh)]
    lengths = None if lengths is None else lengths.to("cpu", torch.int64).contiguous()
    plan = Plan(cell, biases=len(biases), reverse=reverse)
    first = [state[None] for state in states if state is not None]
    output, *last = recurrent(plan, taken(x), first, [*matrices, *biases], lengths)
    return output, *(state[0] for state in last)
