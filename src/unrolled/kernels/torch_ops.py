"""The recurrent neuron as torch operators: differentiable, and opaque to torch.compile.

The operators stand in `torch.ops.unrolled`, each with a fake implementation (shapes only), wrapped in an
`autograd.Function`. Tensors are float32 on the CPU: ask `kernels.supports` before.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..errors import UsageError
from . import native, supports
from .recurrent import Plan, recurrent
from .recurrent_compile import define
from .recurrent_ops import differentiated, dispatched, last_axis

LENT = (1 << 18, 1 << 24)
"""Floats that are worth lending: fewer cost nothing to get, and more would be missed elsewhere."""
_free: list[np.ndarray] = []


def _lent(shape: tuple[int, ...]) -> Tensor:
    """`torch.empty` in memory that is kept when the tensor ends: fresh pages cost more than the arithmetic on them."""
    size = math.prod(shape)
    if not LENT[0] <= size <= LENT[1]:
        return torch.empty(shape)
    fitting = [i for i, block in enumerate(_free) if len(block) >= size]
    block = _free.pop(fitting[-1]) if fitting else np.empty(size, np.float32)
    view = block[:size]
    weakref.finalize(view, _give_back, block).atexit = False
    return torch.from_numpy(view).view(shape)


def _give_back(block: np.ndarray) -> None:
    _free.append(block)
    del _free[:-4]


TORCH = native.Arrays(
    torch.empty, _lent, lambda shape: torch.empty(shape, dtype=torch.int64), Tensor.data_ptr, Tensor.stride
)


def elman(
    x: Tensor, w_ih: Tensor, w_hh: Tensor, b: Tensor | None = None, h_0: Tensor | None = None,
    *, lengths: Tensor | None = None, nonlinearity: str = "tanh", reverse: bool = False,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """`kernels.elman` on tensors, differentiable in x, h_0 and the weights.

    Args:
        x: (T, B, D), any strides.
        w_ih: (H, D).
        w_hh: (H, H).
        b: (H,).
        h_0: (B, H); zeros by default.
        lengths: (B,) integers from 0 to T.
        nonlinearity: "tanh" or "relu".
        reverse: read each row from its last step to its first.

    Returns:
        output (T, B, H) and h_n (B, H).

    Raises:
        ShapeError: shapes that do not fit each other.
        UsageError: what the engine does not take: `kernels.supports` tells; a length outside 0 to T.
    """
    weights = _ready(w_ih, w_hh, b, h_0, lengths)
    native.check(tuple(x.shape), "x (T, B, D)", weights, nonlinearity)
    plan = Plan(f"rnn_{nonlinearity}", biases=int(b is not None), reverse=reverse)
    given = [tensor for tensor in weights[:3] if tensor is not None]
    first = [] if weights.h_0 is None else [weights.h_0[None]]
    output, h_n = recurrent(plan, taken(x), first, given, weights.lengths)
    return output, h_n[0]


def elman_tokens(
    tokens: Tensor, embedding: Tensor, w_ih: Tensor, w_hh: Tensor, b: Tensor | None = None, h_0: Tensor | None = None,
    *, lengths: Tensor | None = None, nonlinearity: str = "tanh", prefix_token: int = 0,
    return_sequences: bool = False, sparse: bool = False,
) -> tuple[Tensor | None, Tensor]:  # fmt: skip # mirrors torch
    """`elman` of the rows `tokens` (T, B) of `embedding` (V, D), with each word multiplied by W_ih once.

    Rows that begin with a run of `prefix_token` share it: it is computed once, forward and backward. The result
    is the same to the bit.

    Args:
        sparse: give the embedding's gradient as a coalesced sparse tensor of the words met (not while
            torch.compile traces).

    Returns:
        output (T, B, H) with `return_sequences`, else None, and h_n (B, H).

    Raises:
        ShapeError: shapes that do not fit each other.
        UsageError: what the engine does not take; a token without a row; a length outside 0 to T.
    """
    weights = _ready(w_ih, w_hh, b, h_0, lengths)
    native.check((*tokens.shape, embedding.shape[-1]), "tokens (T, B)", weights, nonlinearity)
    if h_0 is not None and h_0.requires_grad:
        prefix_token = -1  # the gradient of each row's own h_0 needs its own way back
    given = (
        tokens.to(torch.int32), taken(embedding).contiguous(), *weights,
        nonlinearity, prefix_token, return_sequences,
    )  # fmt: skip
    if differentiated(embedding, *weights):
        h_n, *kept = _Tokens.apply(*given, sparse and not torch.compiler.is_compiling())
    else:
        h_n, *kept = _run(_tokens, *given, False)
    return (kept[0] if return_sequences else None), h_n


def taken(tensor: Tensor) -> Tensor:
    """The tensor; raises UsageError with the reason if the engine does not take it."""
    if tensor.dtype != torch.float32 or tensor.device.type != "cpu":
        raise UsageError(supports("elman", dtype=tensor.dtype, device=tensor.device.type).reason)
    return tensor


def _ready(*given: Tensor | None) -> native.Weights:
    *weights, lengths = given
    ready: list[Any] = [None if tensor is None else taken(tensor).contiguous() for tensor in weights]
    ready.append(None if lengths is None else lengths.to("cpu", torch.int64).contiguous())
    return native.Weights(*ready)


def _layer(weights: list[Any], nonlinearity: str, prefix_token: int) -> native.Elman:
    return native.Elman(TORCH, native.Weights(*weights), native.Options(nonlinearity, False, prefix_token))


def _run(function: Callable[..., Any], *given: Any) -> Any:
    """Call the function itself, or through torch's dispatcher."""
    if dispatched(given[0]):
        return getattr(torch.ops.unrolled, function.__name__.lstrip("_"))(*given)
    return function(*given)


def _tokens(tokens: Tensor, embedding: Tensor, *given: Any) -> list[Tensor]:
    *weights, f, prefix_token, sequences, keep = given
    layer = _layer(weights, f, prefix_token)
    kept, h_n = layer.forward_tokens(tokens, embedding, sequences=sequences, keep=keep)
    return [h_n, *(tensor for tensor in kept if tensor is not None)]


def _tokens_backward(tokens: Tensor, embedding: Tensor, *given: Any) -> list[Tensor]:
    *weights, f, prefix_token, sequences, (states, prefix), d_output, d_h_n, sparse, want_h_0 = given
    layer, upstream = _layer(weights, f, prefix_token), native.Upstream(d_output, d_h_n)
    kept = native.Kept(states, None, prefix) if sequences else native.Kept(None, states, prefix)
    return _listed(layer.backward_tokens(tokens, embedding, kept, upstream, sparse=sparse, want_h_0=want_h_0))


def _listed(found: native.Gradients) -> list[Tensor]:
    """Weights first, then those that may be missing."""
    return [found.w_ih, found.w_hh, found.b, *(g for g in (found.x, found.ids, found.h_0) if g is not None)]


class _Tokens(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *given: Any) -> Any:
        sequences, sparse = given[9:]
        h_n, *kept = _run(_tokens, *given[:10], True)
        ctx.save_for_backward(*given[:7], *kept)
        ctx.options, ctx.sequences, ctx.sparse = given[7:9], sequences, sparse
        ctx.set_materialize_grads(False)
        return (h_n, kept[0]) if sequences else (h_n,)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_h_n: Tensor | None, d_output: Tensor | None = None) -> Any:
        *given, states, prefix = ctx.saved_tensors
        want_h_0 = ctx.needs_input_grad[5]
        d_output, d_h_n = _gradients(d_output, d_h_n)
        w_ih, w_hh, b, rows, *more = _run(
            _tokens_backward, *given, *ctx.options, ctx.sequences, [states, prefix], d_output, d_h_n,
            ctx.sparse, want_h_0,
        )  # fmt: skip
        h_0 = more.pop() if want_h_0 else None
        if ctx.sparse:
            rows = torch.sparse_coo_tensor(
                more[0][None], rows, given[1].shape, is_coalesced=True, check_invariants=False
            )
        return None, rows, w_ih, w_hh, (None if given[4] is None else b), h_0, *[None] * 5


def _gradients(d_output: Tensor | None, d_h_n: Tensor | None) -> tuple[Tensor | None, ...]:
    return (
        None if d_output is None else last_axis(d_output),
        None if d_h_n is None else d_h_n.contiguous(),
    )


def _fake_tokens(tokens: Tensor, embedding: Tensor, w_ih: Tensor, w_hh: Tensor, *given: Any) -> list[Tensor]:
    sequences, keep = given[-2:]
    (steps, batch), hidden = tokens.shape, w_hh.shape[0]
    states = [(steps, batch, hidden)] if sequences else [(steps * batch, hidden)] * keep
    sizes = [(batch, hidden), *states, *[(steps + 1, hidden)] * keep]
    return [embedding.new_empty(size) for size in sizes]


def _fake_tokens_backward(*given: Any) -> list[Tensor]:
    tokens, embedding, w_ih, w_hh, *_, want_h_0 = given
    return _fake_gradients(embedding, w_ih, w_hh, [embedding], tokens.shape[1], want_h_0)


def _fake_gradients(
    like: Tensor, w_ih: Tensor, w_hh: Tensor, inputs: list[Tensor], batch: int, want_h_0: bool
) -> list[Tensor]:
    hidden = w_hh.shape[0]
    sizes = [
        w_ih.shape,
        w_hh.shape,
        (hidden,),
        *(tensor.shape for tensor in inputs),
        *[(batch, hidden)] * want_h_0,
    ]
    return [like.new_empty(size) for size in sizes]


_GIVEN = (
    "Tensor tokens, Tensor embedding, Tensor w_ih, Tensor w_hh, Tensor? b, Tensor? h_0, Tensor? lengths, str f, "
    "int prefix_token, bool sequences"
)
_library = torch.library.Library("unrolled", "FRAGMENT")
define(_library, f"tokens({_GIVEN}, bool keep) -> Tensor[]", _tokens, _fake_tokens)
define(
    _library,
    f"tokens_backward({_GIVEN}, Tensor[] kept, Tensor? d_output, Tensor? d_h_n, bool sparse, bool want_h_0) "
    "-> Tensor[]",
    _tokens_backward,
    _fake_tokens_backward,
)
