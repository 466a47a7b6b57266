"""What the LSTM and the GRU over time have in common."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout

from .. import kernels
from .. import network as net
from ..cells import Cell, Weights
from ..cells._time import over_time
from ..kernels import gated_ops
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
        steps = vectors(x).transpose(0, 1)
        found: dict[int, list[tuple[Tensor, Tensor]]] = {}
        for number, name in self.layer.runs():
            if number and number not in found:
                steps = torch.cat([output for output, _ in found[number - 1]], -1)
                steps = dropout(steps, self.layer.dropout, self.training)
            found.setdefault(number, []).append(self._run(steps, name, lengths))
        top = found[self.layer.num_layers - 1]
        if self.layer.return_sequences:
            return torch.cat([output for output, _ in top], -1).transpose(0, 1)
        return torch.cat([last for _, last in top], -1)

    def _run(self, x: Tensor, name: str, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """One layer in one direction, from x (T, B, D) to all states (T, B, H) and the last (B, H)."""
        weights = [getattr(self, f"{part}_{name}") for part in net.PARTS]
        reverse = name.endswith("_reverse")
        if not kernels.supports(self.layer.kind, dtype=str(x.dtype), device=x.device.type):
            output, last = over_time(self.cell, x, Weights(*weights), (), lengths, reverse)
            return output, last[0]
        if self.layer.kind == "lstm":
            output, (h_n, _) = gated_ops.lstm(x, *weights, lengths=lengths, reverse=reverse)
            return output, h_n
        return gated_ops.gru(x, *weights, lengths=lengths, reverse=reverse)
