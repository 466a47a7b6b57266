"""An LSTM whose sums are normalized over the units: Ba, Kiros and Hinton, "Layer normalization" (2016), equations 20
to 22 of its appendix. The engine has no path for it: each step waits for a mean and a spread of whole rows.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import layer_norm

from . import Cell, Weights


class Gains(NamedTuple):
    """What normalized numbers are multiplied with, and what is added to the cell's; None counts as ones, or zeros.

    Shapes: ih and hh (4 H,), c and bias_c (H,). The biases of the other two are those of the weights.
    """

    ih: Tensor | None = None
    hh: Tensor | None = None
    c: Tensor | None = None
    bias_c: Tensor | None = None


class LayerNormLSTM(Cell):
    """The LSTM, with W_ih x, W_hh h and c normalized before they are used."""

    gates: ClassVar[int] = 4
    states: ClassVar[tuple[str, ...]] = ("h", "c")

    def __init__(self, gains: Gains | None = None) -> None:
        self.gains = gains or Gains()

    def step(self, x: Tensor, state: tuple[Tensor, ...], w: Weights) -> tuple[Tensor, ...]:
        """The next (h, c) from x (B, D) and (h, c), (B, H) each."""
        (h, c), gains = state, self.gains
        a_x = layer_norm(x @ w.weight_ih.T, w.weight_ih.shape[:1], gains.ih, w.bias_ih)  # (B, 4 H)
        a_h = layer_norm(h @ w.weight_hh.T, w.weight_hh.shape[:1], gains.hh, w.bias_hh)  # (B, 4 H)
        a_i, a_f, a_g, a_o = (a_x + a_h).chunk(4, -1)  # equation 20, (B, H) each
        c = torch.sigmoid(a_f) * c + torch.sigmoid(a_i) * torch.tanh(a_g)  # equation 21, (B, H)
        h = torch.sigmoid(a_o) * torch.tanh(layer_norm(c, c.shape[-1:], gains.c, gains.bias_c))  # equation 22
        return h, c
