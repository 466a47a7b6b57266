"""Recurrent layers: their weights by torch's names and in torch's layout."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .base import Layer, Shape, fraction, glorot_uniform, one_of, orthogonal, positive, size, time_axis


@dataclass(frozen=True)
class SimpleRNN(Layer):
    """The recurrent neuron: h_t = tanh(W_hh h_{t-1} + W_ih x_t + b), h_0 = 0; (T, D) to (units,) or (T, units).

    Elman, "Finding structure in time" (1990), with one bias as in Keras.
    """

    kind: ClassVar[str] = "simple_rnn"
    units: int
    activation: str = "tanh"
    return_sequences: bool = False

    def __post_init__(self) -> None:
        positive(self, "units")
        one_of(self, "activation", ("relu", "tanh"))

    def output_shape(self, shape: Shape) -> Shape:
        """(T, D) to (units,), or to (T, units) with `return_sequences`."""
        time_axis(self, shape)
        return (shape[0], self.units) if self.return_sequences else (self.units,)

    def weight_shapes(self, shape: Shape) -> dict[str, tuple[int, ...]]:
        """weight_ih (H, D), weight_hh (H, H), bias (H,)."""
        units = self.units
        return {"weight_ih": (units, size(shape)), "weight_hh": (units, units), "bias": (units,)}

    def initial(self, shape: Shape, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Glorot-uniform input weights, orthogonal recurrent weights, zero bias."""
        return {
            "weight_ih": glorot_uniform(rng, self.units, size(shape)),
            "weight_hh": orthogonal(rng, self.units, self.units),
            "bias": np.zeros(self.units, np.float32),
        }


PARTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
"""Of each layer and direction of a gated layer: what the names of its weights begin with."""


@dataclass(frozen=True)
class Gated(Layer):
    """What the LSTM and the GRU have in common; (T, D) to (units,) or (T, units), twice the units in both directions.

    Attributes:
        units: H, of each direction.
        return_sequences: answer with all states instead of the last ones.
        bidirectional: read also from the end to the beginning, with weights of its own; the answers stand side by side.
        num_layers: one above the other, each reading all states of the one below.
        dropout: share of the numbers dropped between layers while training.
    """

    gates: ClassVar[int]
    units: int
    return_sequences: bool = False
    bidirectional: bool = False
    num_layers: int = 1
    dropout: float = 0.0

    def __post_init__(self) -> None:
        positive(self, "units", "num_layers")
        fraction(self, "dropout")

    def output_shape(self, shape: Shape) -> Shape:
        """(T, D) to (units,), to (T, units) with `return_sequences`; 2 * units with `bidirectional`."""
        time_axis(self, shape)
        width = self.units * (1 + self.bidirectional)
        return (shape[0], width) if self.return_sequences else (width,)

    def runs(self) -> Iterator[tuple[int, str]]:
        """The layer and the ending of the names of each set of weights: (0, "l0"), (0, "l0_reverse"), (1, "l1"), ..."""
        for layer in range(self.num_layers):
            for ending in ("", "_reverse")[: 1 + self.bidirectional]:
                yield layer, f"l{layer}{ending}"

    def weight_shapes(self, shape: Shape) -> dict[str, tuple[int, ...]]:
        """For each of `runs` weight_ih (G H, D), weight_hh (G H, H), bias_ih and bias_hh (G H,)."""
        rows = self.gates * self.units
        found: dict[str, tuple[int, ...]] = {}
        for layer, name in self.runs():
            into = self.units * (1 + self.bidirectional) if layer else size(shape)
            found |= {f"weight_ih_{name}": (rows, into), f"weight_hh_{name}": (rows, self.units)}
            found |= {f"bias_ih_{name}": (rows,), f"bias_hh_{name}": (rows,)}
        return found

    def initial(self, shape: Shape, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Glorot-uniform input weights, orthonormal columns of recurrent weights, zero biases."""
        found = {}
        for name, shape_ in self.weight_shapes(shape).items():
            if name.startswith("bias"):
                found[name] = np.zeros(shape_, np.float32)
            else:
                found[name] = (orthogonal if "_hh_" in name else glorot_uniform)(rng, *shape_)
        return found


@dataclass(frozen=True)
class LSTM(Gated):
    """Long short-term memory, gates i f g o (`cells/lstm.py` has the equations)."""

    kind: ClassVar[str] = "lstm"
    gates: ClassVar[int] = 4

    def initial(self, shape: Shape, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """As of `Gated`, but the forget gate's bias is one (Gers et al., 2000), as in Keras."""
        found = super().initial(shape, rng)
        for name, value in found.items():
            if name.startswith("bias_ih"):
                value[self.units : 2 * self.units] = 1
        return found


@dataclass(frozen=True)
class GRU(Gated):
    """The gated recurrent unit, gates r z n, reset after the product (`cells/gru.py` has the equations)."""

    kind: ClassVar[str] = "gru"
    gates: ClassVar[int] = 3
