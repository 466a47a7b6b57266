"""Numbers left out at random while training."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import dropout

from .. import network as net
from . import Executed, Rows, vectors


class Dropout(Executed):
    """`network.Dropout` in torch."""

    def __init__(self, layer: net.Dropout, shape: net.Shape) -> None:
        super().__init__(layer, shape)
        self.rate = layer.rate

    def logits(self, x: Tensor | Rows, lengths: Tensor | None = None) -> Tensor:
        """Any shape stays as it is."""
        return dropout(vectors(x), self.rate, self.training)
