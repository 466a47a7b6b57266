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
            for weight in group["params"]:
                if weight.grad is not None:
                    state = self.state[weight]
                    if not state:
                        state["square_average"] = torch.zeros_like(weight)
                    _rmsprop(weight, state["square_average"], group)


def _rmsprop(weight: Tensor, square_average: Tensor, group: dict[str, Any]) -> None:
    gradient = weight.grad
    assert gradient is not None
    options = {"lr": group["lr"], "rho": group["rho"], "eps": group["eps"]}
    if weight.device.type == "cpu" and weight.dtype == torch.float32 and weight.is_contiguous():
        given: Any = gradient.contiguous().numpy() if not gradient.is_sparse else (
            gradient._indices()[0].numpy(), gradient._values().numpy()
        )  # fmt: skip
        kernels.rmsprop(weight.numpy(), square_average.numpy(), given, **options)
        return
    dense = gradient.to_dense() if gradient.is_sparse else gradient
    square_average.mul_(options["rho"]).addcmul_(dense, dense, value=1 - options["rho"])
    weight.addcdiv_(dense, (square_average + options["eps"]).sqrt_(), value=-options["lr"])


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
