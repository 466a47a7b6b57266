"""The gated recurrent unit: Cho et al., "Learning phrase representations using RNN encoder-decoder for statistical
machine translation" (2014), equations 5 to 8. Its z lets the old state through, as in torch and in equation 7.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import linear

from . import Cell, Weights


class GRU(Cell):
    """A new state n, mixed with the old one by a gate z; a gate r decides how much of the old one n sees.

    Args:
        reset_after: r multiplies W_hn h + b_hn, as in torch and cuDNN; else it multiplies h before the product,
            as in equation 8.
    """

    gates: ClassVar[int] = 3
    states: ClassVar[tuple[str, ...]] = ("h",)

    def __init__(self, reset_after: bool = True) -> None:
        self.reset_after = reset_after

    def step(self, x: Tensor, state: tuple[Tensor, ...], w: Weights) -> tuple[Tensor, ...]:
        """The next (h (B, H),) from x (B, D) and (h (B, H),)."""
        (h,) = state
        size = 2 * h.shape[-1]
        w_n, b_n = w.weight_hh[size:], None if w.bias_hh is None else w.bias_hh[size:]
        a_x = linear(x, w.weight_ih, w.bias_ih)  # (B, 3 H)
        a_h = linear(h, w.weight_hh[:size], None if w.bias_hh is None else w.bias_hh[:size])  # (B, 2 H)
        gates = torch.sigmoid(a_x[:, :size] + a_h)
        r, z = gates.chunk(2, -1)  # equations 5 and 6, (B, H) each
        a_n = r * linear(h, w_n, b_n) if self.reset_after else linear(r * h, w_n, b_n)
        n = torch.tanh(a_x[:, size:] + a_n)  # equation 8, (B, H)
        return ((1 - z) * n + z * h,)  # equation 7, (B, H)
