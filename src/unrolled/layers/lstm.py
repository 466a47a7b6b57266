"""An LSTM over time: one engine call for the whole loop, or the readable cell step by step."""

from __future__ import annotations

from ..cells.lstm import LSTM as Cell
from ._gated import Gated


class LSTM(Gated):
    """`network.LSTM` in torch."""

    cell = Cell()
