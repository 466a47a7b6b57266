"""Token ids to vectors."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .. import network as net
from . import Executed, Rows


class Embedding(Executed):
    """`network.Embedding` in torch; the look-up is left to the layer that follows."""

    def __init__(self, layer: net.Embedding, shape: net.Shape) -> None:
        super().__init__(layer, shape)
        self.weight = nn.Parameter(torch.empty(layer.input_dim, layer.output_dim))

    def logits(self, x: Tensor | Rows, lengths: Tensor | None = None) -> Rows:
        """Token ids (B, T) to rows of the table."""
        assert isinstance(x, Tensor)
        return Rows(x, self.weight)
