"""Layers that know no time, and the one that leaves time behind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..errors import ShapeError, UsageError
from .base import (
    ACTIVATIONS,
    Layer,
    Shape,
    fraction,
    glorot_uniform,
    one_of,
    positive,
    size,
    time_axis,
    uniform,
)


@dataclass(frozen=True)
class Embedding(Layer):
    """Token ids (T,) to vectors (T, output_dim): row i of the weight is the vector of token i."""

    kind: ClassVar[str] = "embedding"
    input_dim: int
    output_dim: int

    def __post_init__(self) -> None:
        positive(self, "input_dim", "output_dim")

    def output_shape(self, shape: Shape) -> Shape:
        """(T,) to (T, output_dim)."""
        if len(shape) != 1:
            raise ShapeError(f"Embedding reads token ids of shape (T,), but its input has shape {shape}.")
        return (*shape, self.output_dim)

    def weight_shapes(self, shape: Shape) -> dict[str, tuple[int, ...]]:
        """The table, (input_dim, output_dim)."""
        return {"weight": (self.input_dim, self.output_dim)}

    def initial(self, shape: Shape, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Uniform between -0.05 and 0.05."""
        return {"weight": uniform(rng, (self.input_dim, self.output_dim), 0.05)}


@dataclass(frozen=True)
class Dense(Layer):
    """y = activation(W x + b) on the last axis: (..., D) to (..., units)."""

    kind: ClassVar[str] = "dense"
    units: int
    activation: str = "linear"

    def __post_init__(self) -> None:
        if not self.activation:  # Keras's spelling of no activation
            object.__setattr__(self, "activation", "linear")
        positive(self, "units")
        one_of(self, "activation", ACTIVATIONS)

    def output_shape(self, shape: Shape) -> Shape:
        """(..., D) to (..., units)."""
        size(shape)
        return (*shape[:-1], self.units)

    def weight_shapes(self, shape: Shape) -> dict[str, tuple[int, ...]]:
        """The weight (units, D), the bias (units,)."""
        return {"weight": (self.units, size(shape)), "bias": (self.units,)}

    def initial(self, shape: Shape, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Glorot-uniform weights, zero bias."""
        return {
            "weight": glorot_uniform(rng, self.units, size(shape)),
            "bias": np.zeros(self.units, np.float32),
        }


@dataclass(frozen=True)
class Dropout(Layer):
    """While training each number is zero with probability `rate`, and the others are divided by 1 - rate.

    Srivastava et al., "Dropout" (2014). Predictions drop nothing.
    """

    kind: ClassVar[str] = "dropout"
    rate: float

    def __post_init__(self) -> None:
        fraction(self, "rate")

    def output_shape(self, shape: Shape) -> Shape:
        """Any shape stays as it is."""
        size(shape)
        return shape

    def weight_shapes(self, shape: Shape) -> dict[str, tuple[int, ...]]:
        """None."""
        return {}

    def initial(self, shape: Shape, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Nothing."""
        return {}


POOLS = ("mean", "max", "last")


@dataclass(frozen=True)
class Pooling(Layer):
    """A whole sequence (T, D) as one vector: of each number the mean, the maximum, the last, one after the other.

    Steps past a row's length do not count; a row of length zero gives zeros.

    Attributes:
        how: any of "mean", "max", "last", in the order of the output.
    """

    kind: ClassVar[str] = "pooling"
    how: tuple[str, ...] = ("mean", "max")

    def __post_init__(self) -> None:
        given: Any = self.how
        object.__setattr__(self, "how", (given,) if isinstance(given, str) else tuple(given))
        if not self.how or set(self.how) - set(POOLS) or len(set(self.how)) < len(self.how):
            known = ", ".join(POOLS)
            raise UsageError(f"Pooling: how is {self.how!r}; it must be one or more of {known}, each once.")

    def output_shape(self, shape: Shape) -> Shape:
        """(T, D) to (len(how) * D,)."""
        time_axis(self, shape)
        return (len(self.how) * size(shape),)

    def weight_shapes(self, shape: Shape) -> dict[str, tuple[int, ...]]:
        """None."""
        return {}

    def initial(self, shape: Shape, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Nothing."""
        return {}
