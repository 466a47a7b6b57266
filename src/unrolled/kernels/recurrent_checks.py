"""Whether the engine may compute a recurrent network on these tensors, here and now; if not, why, as a sentence.

Each function answers with an empty string where nothing stands in the way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from . import available, supports
from .recurrent_torch import Plan

Tensors = Sequence[Tensor]
GATES = {"lstm": 4, "gru": 3}


def foreign(*tensors: Tensor, subclasses: bool = False) -> str:
    """Why the engine may not read the tensors' memory: another dtype or device, batched, a lazy negation.

    With `subclasses`, and while torch.compile traces, tensors of other classes pass: they meet the operators in torch's
    dispatcher.
    """
    compiling = torch.compiler.is_compiling()
    for tensor in tensors:
        if tensor.dtype is not torch.float32:
            return supports("lstm", dtype=tensor.dtype).reason
        if compiling or (subclasses and type(tensor) not in (Tensor, nn.Parameter)):
            if tensor.device.type != "cpu":
                return supports("lstm", device=tensor.device.type).reason
        elif _key_of(torch._C._dispatch_keys(tensor)) not in _PLAIN:
            elsewhere = supports("lstm", device=tensor.device.type).reason
            return elsewhere or "A tensor that is no plain one on the CPU."
    return "" if available() else supports("lstm").reason


def misfit(plan: Plan, size: int, rows: tuple[int, ...], states: Tensors, weights: Tensors) -> str:
    """Why tensors do not fit each other: torch's own kernel computes it (a projection) or says what is wrong.

    Args:
        plan: what the weights belong to.
        size: D.
        rows: the shape of a state but for its last axis.
        states: h_0, and for an LSTM c_0; or none.
        weights: of every direction of every layer.
    """
    gates, each = GATES.get(plan.cell, 1), 2 + plan.biases
    if len(weights) != plan.layers * plan.directions * each:
        return "Weights of another number (a projection)."
    hidden = weights[1].shape[-1]
    units = gates * hidden
    shapes = [(units, size), (units, hidden), (units,), (units,)]
    for i, weight in enumerate(weights):
        if i == plan.directions * each:
            shapes[0] = (units, plan.directions * hidden)
        if weight.shape != shapes[i % each]:
            return "Weights of other shapes (a projection)."
    if len(states) not in (0, 1 + (plan.cell == "lstm")) or any(s.shape != (*rows, hidden) for s in states):
        return "First states of other shapes."
    return ""


def transformed() -> str:
    """What of torch's is at work that the operators do not know."""
    if torch._C._functorch.peek_interpreter_stack() is not None:
        return "A transform of torch.func is at work (vmap, grad, jvp)."
    if torch._C._get_tracing_state() is not None:
        return "torch.jit traces."
    return "Forward-mode differentiation." if forward_ad._current_level >= 0 else ""


def watched() -> str:
    """What of torch's is at work that has to see torch's own operators."""
    if torch._C._len_torch_dispatch_stack():
        return "A mode watches or traces torch's operators (compile, export, fake tensors)."
    return "torch.autocast chooses the precision." if torch.is_autocast_enabled("cpu") else ""


def plain(tensor: Tensor | None) -> bool:
    """Whether a tensor is nothing but memory on the CPU: no subclass, not batched, no lazy negation."""
    return tensor is None or _key_of(torch._C._dispatch_keys(tensor)) in _PLAIN


def _plain_keys() -> set[Any]:
    found = set()
    for inference in (False, True):  # said both times: who imports this first may be in inference mode
        with torch.inference_mode(inference):
            found.add(_key_of(torch._C._dispatch_keys(torch.empty(0))))
    return found


_key_of: Callable[[Any], Any] = getattr(torch._C.DispatchKeySet, "raw_repr", repr)  # older torch has none
_PLAIN = _plain_keys()
