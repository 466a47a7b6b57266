"""A network as a list of layers: what a bundle stores, what torch trains, what the runtime predicts with.

Nothing here computes; each layer only says which shapes it turns into which, which weights it has and how they
begin. `layers` executes the same list in torch, `runtime` in NumPy and the engine.

Shapes leave the batch out: `(T,)` is a sequence of T token ids, `(T, D)` a sequence of T vectors, `(D,)` one
vector. Weights are called and laid out as in torch: "0.weight", "1.weight_ih" (H, D), "1.weight_hh" (H, H).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np

from .errors import BundleError, ShapeError, UsageError

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


@dataclass(frozen=True)
class Embedding(Layer):
    """Token ids (T,) to vectors (T, output_dim): row i of the weight is the vector of token i."""

    kind: ClassVar[str] = "embedding"
    input_dim: int
    output_dim: int

    def __post_init__(self) -> None:
        _positive(self, "input_dim", "output_dim")

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
        return {"weight": _uniform(rng, (self.input_dim, self.output_dim), 0.05)}


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
        _positive(self, "units")
        _one_of(self, "activation", ("relu", "tanh"))

    def output_shape(self, shape: Shape) -> Shape:
        """(T, D) to (units,), or to (T, units) with `return_sequences`."""
        if len(shape) != 2:
            raise ShapeError(
                f"SimpleRNN reads vectors in time, shape (T, D), but its input has shape {shape}."
            )
        return (shape[0], self.units) if self.return_sequences else (self.units,)

    def weight_shapes(self, shape: Shape) -> dict[str, tuple[int, ...]]:
        """weight_ih (H, D), weight_hh (H, H), bias (H,)."""
        units = self.units
        return {"weight_ih": (units, _size(shape)), "weight_hh": (units, units), "bias": (units,)}

    def initial(self, shape: Shape, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Glorot-uniform input weights, orthogonal recurrent weights, zero bias."""
        return {
            "weight_ih": _glorot_uniform(rng, self.units, _size(shape)),
            "weight_hh": _orthogonal(rng, self.units),
            "bias": np.zeros(self.units, np.float32),
        }


@dataclass(frozen=True)
class Dense(Layer):
    """y = activation(W x + b) on the last axis: (..., D) to (..., units)."""

    kind: ClassVar[str] = "dense"
    units: int
    activation: str = "linear"

    def __post_init__(self) -> None:
        if not self.activation:  # Keras's spelling of no activation
            object.__setattr__(self, "activation", "linear")
        _positive(self, "units")
        _one_of(self, "activation", ACTIVATIONS)

    def output_shape(self, shape: Shape) -> Shape:
        """(..., D) to (..., units)."""
        _size(shape)
        return (*shape[:-1], self.units)

    def weight_shapes(self, shape: Shape) -> dict[str, tuple[int, ...]]:
        """The weight (units, D), the bias (units,)."""
        return {"weight": (self.units, _size(shape)), "bias": (self.units,)}

    def initial(self, shape: Shape, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Glorot-uniform weights, zero bias."""
        return {
            "weight": _glorot_uniform(rng, self.units, _size(shape)),
            "bias": np.zeros(self.units, np.float32),
        }


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
        expected = self.weight_shapes()
        for name in sorted(expected.keys() ^ weights.keys()):
            problem = "is missing" if name in expected else "does not belong to this network"
            raise BundleError(f"The weight '{name}' {problem}. Expected: {', '.join(expected)}.")
        for name, shape in expected.items():
            found = weights[name]
            if found.shape != shape or found.dtype != np.float32:
                raise BundleError(
                    f"The weight '{name}' has shape {found.shape} and type {found.dtype}, "
                    f"but shape {shape} and type float32 were expected."
                )

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


KINDS: dict[str, type[Layer]] = {kind.kind: kind for kind in (Embedding, SimpleRNN, Dense)}


def _layer(settings: Mapping[str, Any]) -> Layer:
    options = dict(settings)
    kind = options.pop("layer", None)
    if kind not in KINDS:
        raise BundleError(f"There is no layer called '{kind}'. Known: {', '.join(KINDS)}.")
    try:
        return KINDS[kind](**options)
    except (TypeError, UsageError) as error:
        raise BundleError(f"The layer '{kind}' cannot be built from {options}: {error}") from error


def _size(shape: Shape) -> int:
    size = shape[-1] if shape else None
    if size is None:
        raise ShapeError(
            f"The last axis of the input must have a known size, but the input has shape {shape}."
        )
    return size


def _positive(layer: Layer, *names: str) -> None:
    for name in names:
        value = getattr(layer, name)
        if not isinstance(value, int) or value < 1:
            raise UsageError(
                f"{type(layer).__name__}: {name} is {value!r}; it must be a whole number of at least 1."
            )


def _one_of(layer: Layer, name: str, known: Sequence[str]) -> None:
    value = getattr(layer, name)
    if value not in known:
        raise UsageError(f"{type(layer).__name__}: {name} is {value!r}; known: {', '.join(known)}.")


def _uniform(rng: np.random.Generator, shape: tuple[int, ...], limit: float) -> np.ndarray:
    return rng.uniform(-limit, limit, shape).astype(np.float32)


def _glorot_uniform(rng: np.random.Generator, out: int, into: int) -> np.ndarray:
    """Uniform within sqrt(6 / (in + out)): Glorot and Bengio (2010), equation 16."""
    return _uniform(rng, (out, into), math.sqrt(6.0 / (into + out)))


def _orthogonal(rng: np.random.Generator, size: int) -> np.ndarray:
    """A random rotation (with reflections), uniform over all: Saxe et al. (2014); signs fixed by R's diagonal."""
    q, r = np.linalg.qr(rng.standard_normal((size, size)))
    return np.asarray(q * np.sign(np.diag(r)), dtype=np.float32)
