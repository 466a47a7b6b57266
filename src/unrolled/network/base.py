"""What every layer is, and what their descriptions share: checks of settings, and initial values."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..errors import ShapeError, UsageError

Shape = tuple[int | None, ...]
ACTIVATIONS = ("linear", "relu", "sigmoid", "softmax", "tanh")


@dataclass(frozen=True)
class Layer(ABC):
    """One layer: frozen, comparable, and nothing but its settings."""

    kind: ClassVar[str]

    @abstractmethod
    def output_shape(self, shape: Shape) -> Shape:
        """The shape after this layer. Raises ShapeError if `shape` does not fit."""

    @abstractmethod
    def weight_shapes(self, shape: Shape) -> dict[str, tuple[int, ...]]:
        """Name and shape of every weight, for an input of `shape`."""

    @abstractmethod
    def initial(self, shape: Shape, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """The weights before training, float32, by Keras's defaults for this layer."""


def size(shape: Shape) -> int:
    """The last axis of `shape`, which must be known."""
    size = shape[-1] if shape else None
    if size is None:
        raise ShapeError(
            f"The last axis of the input must have a known size, but the input has shape {shape}."
        )
    return size


def positive(layer: Layer, *names: str) -> None:
    """Raise unless the settings are whole numbers from 1."""
    for name in names:
        value = getattr(layer, name)
        if not isinstance(value, int) or value < 1:
            raise UsageError(
                f"{type(layer).__name__}: {name} is {value!r}; it must be a whole number of at least 1."
            )


def one_of(layer: Layer, name: str, known: Sequence[str]) -> None:
    """Raise unless the setting is one of `known`."""
    value = getattr(layer, name)
    if value not in known:
        raise UsageError(f"{type(layer).__name__}: {name} is {value!r}; known: {', '.join(known)}.")


def uniform(rng: np.random.Generator, shape: tuple[int, ...], limit: float) -> np.ndarray:
    """Numbers between -limit and limit, float32."""
    return rng.uniform(-limit, limit, shape).astype(np.float32)


def glorot_uniform(rng: np.random.Generator, out: int, into: int) -> np.ndarray:
    """Uniform within sqrt(6 / (in + out)): Glorot and Bengio (2010), equation 16."""
    return uniform(rng, (out, into), math.sqrt(6.0 / (into + out)))


def orthogonal(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """Orthonormal columns, uniform over all: Saxe et al. (2014); signs fixed by R's diagonal."""
    q, r = np.linalg.qr(rng.standard_normal((rows, columns)))
    return np.asarray(q * np.sign(np.diag(r)), dtype=np.float32)


def fraction(layer: Layer, name: str) -> None:
    """Raise unless the setting is a share that may be dropped."""
    value = getattr(layer, name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
        raise UsageError(
            f"{type(layer).__name__}: {name} is {value!r}; it must be at least 0 and less than 1."
        )


def time_axis(layer: Layer, shape: Shape) -> None:
    """Raise unless `shape` is vectors in time."""
    if len(shape) != 2:
        raise ShapeError(
            f"{type(layer).__name__} reads vectors in time, shape (T, D), but its input has shape {shape}."
        )
