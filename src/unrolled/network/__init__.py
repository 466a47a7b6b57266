"""A network as a list of layers: what a bundle stores, what torch trains, what the runtime predicts with.

Nothing here computes; each layer only says which shapes it turns into which, which weights it has and how they
begin. `layers` executes the same list in torch, `runtime` in NumPy and the engine.

Shapes leave the batch out: `(T,)` is a sequence of T token ids, `(T, D)` a sequence of T vectors, `(D,)` one
vector. Weights are called and laid out as in torch: "0.weight", "1.weight_ih" (H, D), "1.weight_hh" (H, H).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..errors import BundleError, UsageError
from .base import ACTIVATIONS, Layer, Shape
from .captions import END, MARKS, PAD, UNKNOWN, CaptionDecoder
from .plain import Dense, Dropout, Embedding, Pooling
from .recurrent import GRU, LSTM, PARTS, Gated, SimpleRNN

__all__ = [
    "ACTIVATIONS", "END", "GRU", "LSTM", "MARKS", "PAD", "PARTS", "UNKNOWN", "CaptionDecoder", "Dense", "Dropout",
    "Embedding", "Gated", "Layer", "Network", "Pooling", "Shape", "SimpleRNN", "check_arrays",
]  # fmt: skip


@dataclass(frozen=True)
class Network:
    """A list of layers and the shape of one input, `(T,)` token ids or `(T, D)` vectors; T may be None."""

    layers: tuple[Layer, ...]
    input_shape: Shape = (None,)

    def __post_init__(self) -> None:
        if not self.layers:
            raise UsageError("A network needs at least one layer, but the list is empty.")
        self.shapes()

    def shapes(self) -> list[Shape]:
        """The input shape, then the shape after each layer."""
        found = [self.input_shape]
        for layer in self.layers:
            found.append(layer.output_shape(found[-1]))
        return found

    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """Every weight's full name ("1.weight_hh") and shape."""
        return {
            f"{i}.{name}": shape
            for i, (layer, before) in enumerate(zip(self.layers, self.shapes(), strict=False))
            for name, shape in layer.weight_shapes(before).items()
        }

    def parameter_counts(self) -> list[int]:
        """Parameters of each layer."""
        counts = [0] * len(self.layers)
        for name, shape in self.weight_shapes().items():
            counts[int(name.partition(".")[0])] += math.prod(shape)
        return counts

    def initial(self, seed: int) -> dict[str, np.ndarray]:
        """Weights before training, float32; the same seed gives the same weights."""
        rng = np.random.default_rng(seed)
        return {
            f"{i}.{name}": value
            for i, (layer, before) in enumerate(zip(self.layers, self.shapes(), strict=False))
            for name, value in layer.initial(before, rng).items()
        }

    def check(self, weights: Mapping[str, np.ndarray]) -> None:
        """Raise BundleError unless `weights` are exactly this network's, by name, shape and type."""
        check_arrays(weights, {name: (shape, "float32") for name, shape in self.weight_shapes().items()})

    def to_list(self) -> list[dict[str, Any]]:
        """The layers as plain data, for `task.json`."""
        return [{"layer": layer.kind, **asdict(layer)} for layer in self.layers]

    @classmethod
    def from_list(cls, layers: Sequence[Mapping[str, Any]], input_shape: Shape = (None,)) -> Network:
        """The network that `to_list` described.

        Raises:
            BundleError: an unknown layer, or settings that it does not have.
        """
        return cls(tuple(_layer(settings) for settings in layers), tuple(input_shape))


KINDS: dict[str, type[Layer]] = {
    kind.kind: kind for kind in (Embedding, SimpleRNN, LSTM, GRU, Pooling, Dropout, Dense, CaptionDecoder)
}


def _layer(settings: Mapping[str, Any]) -> Layer:
    options = dict(settings)
    kind = options.pop("layer", None)
    if kind not in KINDS:
        raise BundleError(f"There is no layer called '{kind}'. Known: {', '.join(KINDS)}.")
    try:
        return KINDS[kind](**options)
    except (TypeError, UsageError) as error:
        raise BundleError(f"The layer '{kind}' cannot be built from {options}: {error}") from error


def check_arrays(found: Mapping[str, np.ndarray], expected: Mapping[str, tuple[Shape, str]]) -> None:
    """Raise BundleError unless `found` holds exactly the expected names, each of its shape and type.

    Args:
        found: arrays by name.
        expected: of each name the shape (None: any size) and the type's name.
    """
    for name in sorted(expected.keys() ^ found.keys()):
        problem = "is missing" if name in expected else "does not belong to this network"
        raise BundleError(f"The weight '{name}' {problem}. Expected: {', '.join(expected)}.")
    for name, (shape, kind) in expected.items():
        array = found[name]
        fits = len(array.shape) == len(shape) and all(
            n in (m, None) for n, m in zip(shape, array.shape, strict=True)
        )
        if not fits or array.dtype != kind:
            raise BundleError(
                f"The weight '{name}' has shape {array.shape} and type {array.dtype}, "
                f"but shape {shape} and type {kind} were expected."
            )
