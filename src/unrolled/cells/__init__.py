"""The equations of recurrent networks, one time step each, readable as the paper. They are the definition.

Notation, here and everywhere: T time, B batch, D input size, H hidden size, G gates, V vocabulary.
x_t is (B, D), h_t is (B, H); a weight that maps D to H is (H, D), as in torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor


class Weights(NamedTuple):
    """Weights of one recurrent layer in torch's layout; gates are stacked along the first axis.

    Shapes: weight_ih (G*H, D), weight_hh (G*H, H), bias_ih and bias_hh (G*H,) or None.
    """

    weight_ih: Tensor
    weight_hh: Tensor
    bias_ih: Tensor | None = None
    bias_hh: Tensor | None = None


class Cell(ABC):
    """One recurrence: what happens between h_{t-1} and h_t."""

    gates: ClassVar[int]
    """How many blocks of H rows the weights hold."""
    states: ClassVar[tuple[str, ...]]
    """What is carried from step to step; the first is the output."""

    @abstractmethod
    def step(self, x: Tensor, state: tuple[Tensor, ...], w: Weights) -> tuple[Tensor, ...]:
        """The state after reading `x` (B, D); every state is (B, H)."""
