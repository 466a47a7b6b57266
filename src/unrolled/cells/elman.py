"""The recurrent neuron of the lesson: Elman, "Finding structure in time", Cognitive Science 14 (1990)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import linear

from . import Cell, Weights


class Elman(Cell):
    """h_t = f(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh), with f = tanh or relu."""

    gates: ClassVar[int] = 1
    states: ClassVar[tuple[str, ...]] = ("h",)

    def __init__(self, nonlinearity: str = "tanh") -> None:
        self.f = {"tanh": torch.tanh, "relu": torch.relu}[nonlinearity]

    def step(self, x: Tensor, state: tuple[Tensor, ...], w: Weights) -> tuple[Tensor, ...]:
        """From x (B, D) and (h (B, H),) to (h (B, H),)."""
        (h,) = state
        a = linear(x, w.weight_ih, w.bias_ih) + linear(h, w.weight_hh, w.bias_hh)  # (B, H)
        return (self.f(a),)
