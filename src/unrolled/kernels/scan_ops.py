"""Recurrences without a recurrent product, on the engine and differentiable: the linear scan, and the minGRU over it.

Tensors are float32 on the CPU: ask `kernels.supports` before.
"""

from __future__ import annotations

from ctypes import sizeof
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..errors import ShapeError, UsageError
from . import abi, supports
from .library import engine


def scan(a: Tensor, b: Tensor, h_0: Tensor | None = None) -> Tensor:
    """h_t = a_t h_{t-1} + b_t, number by number.

    Args:
        a: (T, ...).
        b: of the same shape.
        h_0: (...), the shape of one step; zeros by default.

    Returns:
        All h, in the shape of a.

    Raises:
        ShapeError: shapes that do not fit each other.
        UsageError: another dtype or device, or no engine.
    """
    h_0 = a.new_zeros(a.shape[1:]) if h_0 is None else h_0
    if a.dim() < 1 or b.shape != a.shape or h_0.shape != a.shape[1:]:
        raise ShapeError(
            f"a is {tuple(a.shape)}, b {tuple(b.shape)} and h_0 {tuple(h_0.shape)}; expected one shape (T, ...), "
            "and h_0 that of a step."
        )
    return _Scan.apply(*(_taken(tensor) for tensor in (a, b, h_0)))


def mingru(
    x: Tensor, w_ih: Tensor, b_ih: Tensor | None = None, h_0: Tensor | None = None,
    *, lengths: Tensor | None = None, reverse: bool = False,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The minGRU over a whole sequence (`cells/mingru.py` has the equations, with their source).

    Args:
        x: (T, B, D).
        w_ih: (2 H, D), gates z n.
        b_ih: (2 H,).
        h_0: (B, H); zeros by default.
        lengths: (B,) integers from 0 to T.
        reverse: read each row from its last step to its first.

    Returns:
        output (T, B, H), zero past the end of a row, and h_n (B, H).

    Raises:
        ShapeError: shapes that do not fit each other.
        UsageError: another dtype or device, or no engine; a length outside 0 to T.
    """
    _, batch, size = x.shape if x.dim() == 3 else (0, 0, -1)
    hidden = len(w_ih) // 2
    wanted = ((2 * hidden, size), (2 * hidden,), (batch, hidden), (batch,))
    for name, given, shape in zip(
        ("w_ih", "b_ih", "h_0", "lengths"), (w_ih, b_ih, h_0, lengths), wanted, strict=True
    ):
        if given is not None and tuple(given.shape) != shape:
            raise ShapeError(f"{name} is {tuple(given.shape)}; expected {shape} for x {tuple(x.shape)}.")
    b_ih = w_ih.new_zeros(2 * hidden) if b_ih is None else b_ih
    h_0 = x.new_zeros(batch, hidden) if h_0 is None else h_0
    lengths = None if lengths is None else lengths.to("cpu", torch.int64).contiguous()
    return _MinGRU.apply(*(_taken(tensor) for tensor in (x, w_ih, b_ih, h_0)), lengths, reverse)


def _taken(tensor: Tensor) -> Tensor:
    support = supports("mingru", dtype=tensor.dtype, device=tensor.device.type)
    if not support:
        raise UsageError(
            f"A scan takes float32 on the CPU and needs the engine; here are {tensor.dtype} on {tensor.device.type}. "
            f"{support.reason} Convert the tensors, or use the readable cell."
        )
    return tensor.contiguous()


def _run(name: str, kind: Any, sizes: dict[str, Any], tensors: dict[str, Tensor | None]) -> None:
    """Make one call of the engine: 3-dimensional tensors of a recurrence are unrolled_steps, others addresses."""
    call = kind(size=sizeof(kind), **sizes)
    for field, tensor in tensors.items():
        if tensor is None:
            continue
        steps = isinstance(getattr(call, field), abi.Steps)
        setattr(call, field, (tensor.data_ptr(), *tensor.stride()[:2]) if steps else tensor.data_ptr())
    abi.call(getattr(engine(), name), call)


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, h_0: Tensor) -> Tensor:
        h = torch.empty_like(a)
        _run(
            "unrolled_scan_forward",
            abi.Scan,
            {"T": len(a), "N": h_0.numel()},
            {"a": a, "b": b, "h_0": h_0, "h": h},
        )
        ctx.save_for_backward(a, h_0, h)
        return h

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_h: Tensor) -> Any:
        a, h_0, h = ctx.saved_tensors
        d_a, d_b, d_h_0 = torch.empty_like(a), torch.empty_like(a), torch.empty_like(h_0)
        given = {"a": a, "h_0": h_0, "h": h, "d_h": d_h.contiguous(), "d_a": d_a, "d_b": d_b, "d_h_0": d_h_0}
        _run("unrolled_scan_backward", abi.Scan, {"T": len(a), "N": h_0.numel()}, given)
        return d_a, d_b, d_h_0


class _MinGRU(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, w_ih: Tensor, b_ih: Tensor, h_0: Tensor, lengths: Tensor | None, reverse: bool
    ) -> tuple[Tensor, Tensor]:
        (steps, batch, size), hidden = x.shape, h_0.shape[1]
        ctx.sizes = {"T": steps, "B": batch, "D": size, "H": hidden, "reverse": reverse}
        output, h_n = x.new_empty(steps, batch, hidden), x.new_empty(batch, hidden)
        kept = x.new_empty(steps * batch, 2 * hidden)
        given = {
            "x": x,
            "w_ih": w_ih,
            "b_ih": b_ih,
            "h_0": h_0,
            "lengths": lengths,
            "output": output,
            "kept": kept,
        }
        _run("unrolled_mingru_forward", abi.Gated, ctx.sizes, {**given, "h_n": h_n})
        ctx.save_for_backward(*given.values())
        ctx.fields = tuple(given)
        return output, h_n

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_output: Tensor, d_h_n: Tensor) -> Any:
        given = dict(zip(ctx.fields, ctx.saved_tensors, strict=True))
        found = {f"d_{name}": torch.empty_like(given[name]) for name in ("x", "w_ih", "b_ih", "h_0")}
        upstream = {"d_output": d_output.contiguous(), "d_h_n": d_h_n.contiguous()}
        _run("unrolled_mingru_backward", abi.Gated, ctx.sizes, {**given, **upstream, **found})
        return *found.values(), None, None
