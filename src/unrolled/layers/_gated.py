"""What the LSTM and the GRU over time have in common."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .. import network as net
from ..cells import Cell, Weights
from ..cells._time import network_over_time
from ..kernels.recurrent import Plan, recurrent
from ..kernels.recurrent_checks import foreign, misfit
from . import Executed, Rows, vectors


class Gated(Executed):
    """`network.Gated` in torch; first states are zero."""

    cell: Cell

    def __init__(self, layer: net.Gated, shape: net.Shape) -> None:
        super().__init__(layer, shape)
        for name, size in layer.weight_shapes(shape).items():
            self.register_parameter(name, nn.Parameter(torch.empty(size)))
        self.layer = layer

    def logits(self, x: Tensor | Rows, lengths: Tensor | None = None) -> Tensor:
        """(B, T, D) to the last states (B, H) or to all states (B, T, H), H twice in both directions."""
        output, h_n = self._run(vectors(x).transpose(0, 1), lengths)
        if self.layer.return_sequences:
            return output.transpose(0, 1)
        return torch.cat(list(h_n[-1 - self.layer.bidirectional :]), -1)

    def _run(self, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """From x (T, B, D) to the states of the top (T, B, H) and the last of all layers and directions."""
        layer, directions = self.layer, 1 + self.layer.bidirectional
        drop = layer.dropout if self.training else 0.0
        weights = [
            Weights(*(getattr(self, f"{part}_{name}") for part in net.PARTS)) for _, name in layer.runs()
        ]
        flat = [tensor for parts in weights for tensor in parts if tensor is not None]
        plan = Plan(layer.kind, layer.num_layers, directions)
        if foreign(x, *flat) or misfit(plan, x.shape[-1], (), [], flat):
            output, (h_n, *_) = network_over_time(
                self.cell, x, weights, (), lengths, directions=directions, drop=drop
            )
            return output, h_n
        ends = None if lengths is None else lengths.to("cpu", torch.int64).contiguous()
        output, h_n, *_ = recurrent(plan, x, [], flat, ends, drop)
        return output, h_n
