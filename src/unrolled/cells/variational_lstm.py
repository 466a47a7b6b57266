"""An LSTM with one dropout mask for all steps: Gal and Ghahramani, "A theoretically grounded application of dropout in
recurrent neural networks" (2016), equation 7. The engine has no path for it: every row of a batch drops other units.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import linear

from . import Cell, Weights


class VariationalLSTM(Cell):
    """The LSTM, with x and h multiplied by masks that stay from step to step.

    Args:
        m_x: (B, D), `dropout(ones)` drawn once a sequence; None while not training.
        m_h: (B, H).
    """

    gates: ClassVar[int] = 4
    states: ClassVar[tuple[str, ...]] = ("h", "c")

    def __init__(self, m_x: Tensor | None = None, m_h: Tensor | None = None) -> None:
        self.m_x, self.m_h = m_x, m_h

    def step(self, x: Tensor, state: tuple[Tensor, ...], w: Weights) -> tuple[Tensor, ...]:
        """The next (h, c) from x (B, D) and (h, c), (B, H) each."""
        h, c = state
        x = x if self.m_x is None else x * self.m_x  # (B, D)
        h = h if self.m_h is None else h * self.m_h  # (B, H)
        a = linear(x, w.weight_ih, w.bias_ih) + linear(h, w.weight_hh, w.bias_hh)  # equation 7, (B, 4 H)
        a_i, a_f, a_g, a_o = a.chunk(4, -1)  # (B, H) each
        c = torch.sigmoid(a_f) * c + torch.sigmoid(a_i) * torch.tanh(a_g)  # (B, H)
        return torch.sigmoid(a_o) * torch.tanh(c), c
