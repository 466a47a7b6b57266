"""A GRU over time: one engine call for the whole loop, or the readable cell step by step."""

from __future__ import annotations

from ..cells.gru import GRU as Cell
from ._gated import Gated


class GRU(Gated):
    """`network.GRU` in torch."""

    cell = Cell()
