"""What the LSTM and the GRU over time have in common."""

from __future__ import annotations

from collections.abc import Sequence

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
        layer = self.layer
        weights = [
            Weights(*(getattr(self, f"{part}_{name}") for part in net.PARTS)) for _, name in layer.runs()
        ]
        plan = Plan(layer.kind, layer.num_layers, 1 + layer.bidirectional)
        drop = layer.dropout if self.training else 0.0
        output, (h_n, *_) = through_time(plan, self.cell, x, weights, (), lengths, drop)
        return output, h_n


def through_time(
    plan: Plan, cell: Cell, x: Tensor, weights: Sequence[Weights], first: Sequence[Tensor] = (),
    lengths: Tensor | None = None, drop: float = 0.0,
) -> tuple[Tensor, list[Tensor]]:  # fmt: skip
    """Gated layers one above the other: on the engine where it takes them, else by the cell's equations.

    Args and answer are those of `cells._time.network_over_time`, with `plan` for what the weights belong to.
    """
    flat = [tensor for parts in weights for tensor in parts if tensor is not None]
    rows = tuple(first[0].shape[:-1]) if first else ()
    if foreign(x, *first, *flat) or misfit(plan, x.shape[-1], rows, first, flat):
        return network_over_time(cell, x, weights, first, lengths, directions=plan.directions, drop=drop)
    ends = None if lengths is None else lengths.to("cpu", torch.int64).contiguous()
    output, *last = recurrent(plan, x, first, flat, ends, drop)
    return output, last
