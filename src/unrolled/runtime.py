"""Executes a `network.Network` on NumPy and the engine: prediction without torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property

import numpy as np

from . import kernels
from . import network as net

Array = np.ndarray


def _sigmoid(x: Array) -> Array:
    # exp of a negative number only: large inputs of either sign must not overflow.
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e))


def _softmax(x: Array) -> Array:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "linear": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "sigmoid": _sigmoid,
    "softmax": _softmax,
    "tanh": np.tanh,
}


class Runtime:
    """A network with its weights, ready to predict.

    Args:
        network: the layers.
        weights: by the names of `network.weight_shapes()`, float32.

    Raises:
        BundleError: the weights are not this network's.
    """

    def __init__(self, network: net.Network, weights: Mapping[str, Array]) -> None:
        network.check(weights)
        self.network = network
        self.weights = dict(weights)

    @cached_property
    def _tables(self) -> dict[int, Array]:
        """W_ih E + b for each recurrent layer that reads an embedding: the input product, once per word."""
        pairs = zip(self.network.layers, self.network.layers[1:], strict=False)
        return {
            i + 1: kernels.input_table(
                self._weight(i, "weight"), self._weight(i + 1, "weight_ih"), self._weight(i + 1, "bias")
            )
            for i, (layer, following) in enumerate(pairs)
            if isinstance(layer, net.Embedding) and isinstance(following, net.SimpleRNN)
        }

    def __call__(self, x: Array) -> Array:
        """Token ids (B, T) int32 or vectors (B, T, D) float32 to the outputs (B, O)."""
        for i in range(len(self.network.layers)):
            x = self._apply(i, x)
        return x

    def trace(self, tokens: Array) -> Array:
        """What the network would answer after each token: (B, T) to (B, T, O).

        Needs a network whose only recurrent layer returns its last state.
        """
        for i, layer in enumerate(self.network.layers):
            if isinstance(layer, net.SimpleRNN):
                tokens = self._recur(i, tokens, sequences=True)
            else:
                tokens = self._apply(i, tokens)
        return tokens

    def _weight(self, i: int, name: str) -> Array:
        return self.weights[f"{i}.{name}"]

    def _apply(self, i: int, x: Array) -> Array:
        layer = self.network.layers[i]
        if isinstance(layer, net.Embedding):
            return x if i + 1 in self._tables else self._weight(i, "weight")[x]
        if isinstance(layer, net.SimpleRNN):
            return self._recur(i, x, sequences=layer.return_sequences)
        assert isinstance(layer, net.Dense)
        rows = x.reshape(-1, x.shape[-1])
        # The engine's product, not BLAS: a row's answer must not depend on what else is in the batch.
        logits = kernels.input_table(rows, self._weight(i, "weight"), self._weight(i, "bias"))
        return ACTIVATIONS[layer.activation](logits.reshape(*x.shape[:-1], layer.units))

    def _recur(self, i: int, x: Array, *, sequences: bool) -> Array:
        layer = self.network.layers[i]
        assert isinstance(layer, net.SimpleRNN)
        if i in self._tables:
            output, last = kernels.elman_tokens(
                x.T, self._tables[i], self._weight(i, "weight_hh"),
                nonlinearity=layer.activation, return_sequences=sequences,
            )  # fmt: skip
        else:
            weights = (self._weight(i, name) for name in ("weight_ih", "weight_hh", "bias"))
            output, last = kernels.elman(x.swapaxes(0, 1), *weights, nonlinearity=layer.activation)
        return last if not sequences or output is None else output.swapaxes(0, 1)
