"""Long short-term memory: Hochreiter and Schmidhuber, Neural Computation 9 (1997), with the forget gate of Gers,
Schmidhuber and Cummins, "Learning to forget", Neural Computation 12 (2000).

The equations are numbered as in Greff et al., "LSTM: a search space odyssey" (2015), section II.A, without peepholes.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import linear

from . import Cell, Weights


class LSTM(Cell):
    """A memory c beside the state h, which gates i, f and o let in, keep and let out."""

    gates: ClassVar[int] = 4
    states: ClassVar[tuple[str, ...]] = ("h", "c")

    def step(self, x: Tensor, state: tuple[Tensor, ...], w: Weights) -> tuple[Tensor, ...]:
        """The next (h, c) from x (B, D) and (h, c), (B, H) each."""
        h, c = state
        a = linear(x, w.weight_ih, w.bias_ih) + linear(h, w.weight_hh, w.bias_hh)  # (B, 4 H)
        a_i, a_f, a_g, a_o = a.chunk(4, -1)  # (B, H) each, in torch's order
        i = torch.sigmoid(a_i)  # input gate
        f = torch.sigmoid(a_f)  # forget gate
        g = torch.tanh(a_g)  # block input
        o = torch.sigmoid(a_o)  # output gate
        c = f * c + i * g  # cell, (B, H)
        h = o * torch.tanh(c)  # block output, (B, H)
        return h, c
