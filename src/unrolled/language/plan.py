"""How large a network, read how: what a budget of minutes on this machine allows.

Training costs about 6 operations a weight and symbol. A budget is spent well where the symbols read are a few for each
weight (Hoffmann et al., "Training compute-optimal large language models", 2022, find 20 for large models read once;
small ones that read a text many times over need fewer): the largest size that leaves at least SYMBOLS_A_WEIGHT is
taken, unless the text is too short for it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from ..errors import UsageError
from ..network import Network
from ..tasks.language import layers_of

UNITS = (64, 128, 256, 384, 512, 768, 1024)
SYMBOLS_A_WEIGHT = 5
ROWS, STEPS, RATE = 32, 64, 3e-3
"""Streams read side by side, steps of a chunk, and the highest learning rate."""
SPEED_UNITS = 256
OFTEN, DROPOUTS = 5, (0.2, 0.4)
"""What is dropped, of a text read so few times, and of one read more often: it begins to be known by heart."""


@dataclass(frozen=True)
class Plan:
    """A network and how it is trained: `rows` streams in chunks of `steps`, with the learning rate `rate` at most."""

    network: Network
    rows: int
    steps: int
    rate: float


def plan(
    size: int, tokens: int, seconds: float, *, words: bool, units: int = 0, dropout: float | None = None, steps: int = 0
) -> Plan:
    """What suits a text.

    Args:
        size: V.
        tokens: N of the training text.
        seconds: of training; where 0 the speed is not asked and the text alone decides.
        words: whether symbols are words.
        units: H; 0 finds it.
        dropout: see `layers_of`; None finds it.
        steps: updates, where `seconds` is 0.

    Raises:
        UsageError: units below 0.
    """
    if units < 0:
        raise UsageError(f"units is {units}; it must be at least 1, or 0 to let the budget decide.")
    operations = measured_speed() * seconds if seconds else float("inf")

    def read(weights: int) -> float:
        return operations / (6 * weights * (2 if words else 1))

    if not units:
        units = UNITS[0]
        for larger in UNITS[1:]:
            weights = _recurrent(larger, words)
            if read(weights) < SYMBOLS_A_WEIGHT * weights or weights > 2 * tokens:
                break
            units = larger
    if dropout is None:
        symbols = read(_recurrent(units, words)) if seconds else steps * ROWS * STEPS
        dropout = DROPOUTS[symbols > OFTEN * tokens]
    network = layers_of(size, width(units, words), units, words=words, dropout=dropout)
    return Plan(network, ROWS, STEPS, RATE)


def width(units: int, words: bool) -> int:
    """D of an embedding for H units: over words half of them, over characters at most 64."""
    return max(units // 2, 16) if words else min(units, 64)


def _recurrent(units: int, words: bool) -> int:
    return 4 * units * (units + width(units, words))


def measured_speed() -> float:
    """Operations a second that training an LSTM reaches here, from the better of two short tries."""
    import torch

    from ..nn import LSTM

    layer, x = LSTM(SPEED_UNITS, SPEED_UNITS), torch.zeros(32, 64, SPEED_UNITS)
    seconds = []
    for _ in range(3):
        begun = time.perf_counter()
        layer(x)[0].sum().backward()
        seconds.append(time.perf_counter() - begun)
    operations: Any = 6 * x.shape[0] * x.shape[1] * 4 * SPEED_UNITS * 2 * SPEED_UNITS
    return float(operations / min(seconds))
