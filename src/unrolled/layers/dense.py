"""y = activation(W x + b)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from .. import network as net
from . import Executed, Rows, vectors


class Dense(Executed):
    """`network.Dense` in torch, on the last axis."""

    def __init__(self, layer: net.Dense, shape: net.Shape) -> None:
        super().__init__(layer, shape)
        sizes = layer.weight_shapes(shape)
        self.weight = nn.Parameter(torch.empty(sizes["weight"]))
        self.bias = nn.Parameter(torch.empty(sizes["bias"]))
        self.activation = layer.activation

    def logits(self, x: Tensor | Rows, lengths: Tensor | None = None) -> Tensor:
        """W x + b, (..., D) to (..., units)."""
        return linear(vectors(x), self.weight, self.bias)

    def forward(self, x: Tensor | Rows, lengths: Tensor | None = None) -> Tensor:
        """activation(W x + b)."""
        y = self.logits(x)
        if self.activation == "softmax":
            return torch.softmax(y, -1)
        return y if self.activation == "linear" else getattr(torch, self.activation)(y)
