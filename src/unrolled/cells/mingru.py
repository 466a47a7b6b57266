"""The minimal gated unit: Feng et al., "Were RNNs all we needed?" (2024), section 3.1. Neither gate nor new state
sees the old state, so a sequence is a linear scan: h_t = a_t h_{t-1} + b_t with a = 1 - z and b = z n.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import linear

from . import Cell, Weights


class MinGRU(Cell):
    """A new state n from the input alone, mixed with the old one by a gate z. weight_hh and bias_hh are not read."""

    gates: ClassVar[int] = 2
    states: ClassVar[tuple[str, ...]] = ("h",)

    def step(self, x: Tensor, state: tuple[Tensor, ...], w: Weights) -> tuple[Tensor, ...]:
        """The next (h (B, H),) from x (B, D) and (h (B, H),)."""
        (h,) = state
        a_z, n = linear(x, w.weight_ih, w.bias_ih).chunk(2, -1)  # (B, H) each
        z = torch.sigmoid(a_z)  # (B, H)
        return ((1 - z) * h + z * n,)  # (B, H)
