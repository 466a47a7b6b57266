"""The optimizers of training, as torch optimizers.

Recurrent layers give the gradient of an embedding as rows (a sparse tensor): these optimizers take it as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from . import kernels
from .errors import UnknownNameError
from .kernels import native, torch_ops


class RMSprop(torch.optim.Optimizer):
    """Keras's RMSprop: v = rho v + (1 - rho) g², w = w - lr g / sqrt(v + eps).

    Unlike torch's, eps is inside the root. v also decays for rows without a gradient, as if it were zero there.
    Hinton, "Neural networks for machine learning", lecture 6e (2012).
    """

    def __init__(
        self, params: Iterable[Tensor], lr: float = 0.001, rho: float = 0.9, eps: float = 1e-7
    ) -> None:
        super().__init__(params, {"lr": lr, "rho": rho, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            engine: list[native.Update] = []
            factors = (group["lr"], group["rho"], group["eps"])
            for weight in group["params"]:
                gradient = weight.grad
                if gradient is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["square_average"] = torch.zeros_like(weight)
                square = state["square_average"]
                ours = weight.is_cpu and weight.dtype == torch.float32 and weight.is_contiguous()
                if not ours or not kernels.available():
                    _rmsprop(weight, square, gradient.to_dense() if gradient.is_sparse else gradient, *factors)
                elif gradient.is_sparse:
                    # Ours is sorted, though torch forgets that when it passes it on; the engine checks it.
                    ids, rows = gradient._indices()[0], gradient._values().contiguous()
                    engine.insert(0, native.Update(weight, square, rows, ids))
                else:
                    engine.append(native.Update(weight, square, gradient.contiguous()))
            native.rmsprop(torch_ops.TORCH, engine, factors)


def _rmsprop(weight: Tensor, square: Tensor, gradient: Tensor, lr: float, rho: float, eps: float) -> None:
    square.mul_(rho).addcmul_(gradient, gradient, value=1 - rho)
    weight.addcdiv_(gradient, (square + eps).sqrt_(), value=-lr)


class Adam(torch.optim.Adam):
    """torch's Adam (Kingma and Ba, 2015), taking row gradients by spreading them out."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None and weight.grad.is_sparse:
                    weight.grad = weight.grad.to_dense()
        super().step()


OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {"adam": Adam, "rmsprop": RMSprop}


def make(name: str, params: Iterable[Tensor], lr: float) -> torch.optim.Optimizer:
    """The optimizer called `name`. Raises UnknownNameError."""
    if name not in OPTIMIZERS:
        raise UnknownNameError("optimizer", name, OPTIMIZERS)
    return OPTIMIZERS[name](params, lr=lr)


def clip_norm(params: Iterable[Tensor], limit: float) -> float:
    """Scale all gradients so that their joint norm is at most `limit`; returns the norm before.

    Pascanu et al., "On the difficulty of training recurrent neural networks" (2013).
    """
    gradients = [p.grad._values() if p.grad.is_sparse else p.grad for p in params if p.grad is not None]
    norm = float(torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in gradients])))
    if norm > limit:
        for gradient in gradients:
            gradient.mul_(limit / norm)
    return norm
