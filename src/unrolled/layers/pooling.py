"""A whole sequence as one vector."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import network as net
from . import Executed, Rows, vectors


class Pooling(Executed):
    """`network.Pooling` in torch."""

    def __init__(self, layer: net.Pooling, shape: net.Shape) -> None:
        super().__init__(layer, shape)
        self.how = layer.how

    def logits(self, x: Tensor | Rows, lengths: Tensor | None = None) -> Tensor:
        """(B, T, D) to (B, len(how) * D)."""
        x = vectors(x)
        ends = torch.full((len(x),), x.shape[1], device=x.device) if lengths is None else lengths.to(x.device)
        there = (torch.arange(x.shape[1], device=x.device) < ends[:, None])[..., None]
        return torch.cat([getattr(self, f"_{how}")(x, there, ends[:, None]) for how in self.how], -1)

    @staticmethod
    def _mean(x: Tensor, there: Tensor, ends: Tensor) -> Tensor:
        return (x * there).sum(1) / ends.clamp(min=1)

    @staticmethod
    def _max(x: Tensor, there: Tensor, ends: Tensor) -> Tensor:
        if not x.shape[1]:
            return x.new_zeros(len(x), x.shape[2])
        return torch.where(ends > 0, x.masked_fill(~there, -torch.inf).amax(1), 0.0)

    @staticmethod
    def _last(x: Tensor, there: Tensor, ends: Tensor) -> Tensor:
        if not x.shape[1]:
            return x.new_zeros(len(x), x.shape[2])
        place = (ends - 1).clamp(min=0)[..., None].expand(-1, 1, x.shape[2])
        return x.gather(1, place)[:, 0] * (ends > 0)
