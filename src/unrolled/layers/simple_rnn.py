"""The Elman layer over time: one engine call for the whole loop, or the readable cell step by step."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .. import kernels
from .. import network as net
from ..cells import Weights
from ..cells._time import over_time
from ..cells.elman import Elman
from ..kernels import torch_ops
from . import Executed, Rows, vectors


class SimpleRNN(Executed):
    """`network.SimpleRNN` in torch; h_0 = 0."""

    def __init__(self, layer: net.SimpleRNN, shape: net.Shape) -> None:
        super().__init__(layer, shape)
        for name, size in layer.weight_shapes(shape).items():
            self.register_parameter(name, nn.Parameter(torch.empty(size)))
        self.activation, self.return_sequences = layer.activation, layer.return_sequences

    def logits(self, x: Tensor | Rows, lengths: Tensor | None = None) -> Tensor:
        """(B, T, D), or rows of a table, to the last state (B, H) or to all states (B, T, H)."""
        weight = self.weight_hh
        if not kernels.supports("elman", dtype=str(weight.dtype), device=weight.device.type):
            given = (
                Elman(self.activation),
                vectors(x).transpose(0, 1),
                Weights(self.weight_ih, weight, self.bias),
            )
            output, (last,) = over_time(*given, (), lengths, False)
            return output.transpose(0, 1) if self.return_sequences else last
        weights = (self.weight_ih, self.weight_hh, self.bias)
        if isinstance(x, Rows):
            output, last = torch_ops.elman_tokens(
                x.tokens.T, x.table, *weights, nonlinearity=self.activation,
                return_sequences=self.return_sequences, sparse=True, lengths=lengths,
            )  # fmt: skip
        else:
            steps = x.transpose(0, 1)
            output, last = torch_ops.elman(steps, *weights, lengths=lengths, nonlinearity=self.activation)
        return last if not self.return_sequences or output is None else output.transpose(0, 1)
