"""Executes a `network.Network` on NumPy and the engine: prediction without torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from . import kernels
from . import network as net
from .errors import UsageError
from .kernels import reading
from .kernels.gated_reference import sigmoid

Array = np.ndarray


def _softmax(x: Array) -> Array:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "linear": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "sigmoid": sigmoid,
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

    def __call__(self, x: Array, lengths: Array | None = None) -> Array:
        """Token ids (B, T) int32 or vectors (B, T, D) float32 to the outputs (B, O).

        `lengths` (B,), int64, are the steps of each row; what stands past them is never read (token ids there must
        be in the table all the same), and no recurrent layer computes it.
        """
        for i, layer in enumerate(self.network.layers):
            x = self._apply(i, x, lengths, sequences=getattr(layer, "return_sequences", True))
        return x

    def trace(self, x: Array) -> Array:
        """What the network would answer after each step: (B, T) or (B, T, D) to (B, T, O).

        Raises:
            UsageError: a layer reads from the end to the beginning, so that every step changes all before it.
        """
        for i, layer in enumerate(self.network.layers):
            if isinstance(layer, net.Gated) and layer.bidirectional:
                raise UsageError(
                    "A bidirectional network has no answer while it reads; ask it for each beginning."
                )
            x = (
                _pooled_so_far(x, layer.how)
                if isinstance(layer, net.Pooling)
                else self._apply(i, x, sequences=True)
            )
        return x

    def _weight(self, i: int, name: str) -> Array:
        return self.weights[f"{i}.{name}"]

    def _apply(self, i: int, x: Array, lengths: Array | None = None, *, sequences: bool) -> Array:
        layer = self.network.layers[i]
        if isinstance(layer, net.Embedding):
            return x if i + 1 in self._tables else self._weight(i, "weight")[x]
        if isinstance(layer, net.SimpleRNN):
            return self._recur(i, x, lengths, sequences=sequences)
        if isinstance(layer, net.Gated):
            return self._gated(i, layer, x, lengths, sequences=sequences)
        if isinstance(layer, net.Pooling):
            return _pooled(x, layer.how, lengths)
        if isinstance(layer, net.Dropout):
            return x
        assert isinstance(layer, net.Dense)
        rows = x.reshape(-1, x.shape[-1])
        # The engine's product, not BLAS: a row's answer must not depend on what else is in the batch.
        logits = kernels.input_table(rows, self._weight(i, "weight"), self._weight(i, "bias"))
        return ACTIVATIONS[layer.activation](logits.reshape(*x.shape[:-1], layer.units))

    def _recur(self, i: int, x: Array, lengths: Array | None, *, sequences: bool) -> Array:
        layer = self.network.layers[i]
        assert isinstance(layer, net.SimpleRNN)
        options: dict[str, Any] = {"nonlinearity": layer.activation, "lengths": lengths}
        if i in self._tables:
            output, last = kernels.elman_tokens(
                x.T, self._tables[i], self._weight(i, "weight_hh"), return_sequences=sequences, **options
            )
        else:
            weights = (self._weight(i, name) for name in ("weight_ih", "weight_hh", "bias"))
            output, last = kernels.elman(x.swapaxes(0, 1), *weights, **options)
        return last if not sequences or output is None else output.swapaxes(0, 1)

    def _gated(self, i: int, layer: net.Gated, x: Array, lengths: Array | None, *, sequences: bool) -> Array:
        steps = x.swapaxes(0, 1)
        found: dict[int, list[tuple[Array, Array]]] = {}
        for number, name in layer.runs():
            if number and number not in found:
                steps = np.concatenate([output for output, _ in found[number - 1]], -1)
            w_ih, w_hh, b_ih, b_hh = (self._weight(i, f"{part}_{name}") for part in net.PARTS)
            options: dict[str, Any] = {"lengths": lengths, "reverse": name.endswith("_reverse")}
            if layer.kind == "lstm":
                output, (last, _) = kernels.lstm(steps, w_ih, w_hh, b_ih, b_hh, **options)
            else:
                output, last = kernels.gru(steps, w_ih, w_hh, b_ih, b_hh, **options)
            found.setdefault(number, []).append((output, last))
        top = found[layer.num_layers - 1]
        sides = [output.swapaxes(0, 1) if sequences else last for output, last in top]
        return sides[0] if len(sides) == 1 else np.concatenate(sides, -1)


def _pooled(x: Array, how: Sequence[str], lengths: Array | None) -> Array:
    """(B, T, D) to (B, len(how) * D)."""
    found = dict(zip(("mean", "max"), reading.pool(x, lengths), strict=True))
    if "last" in how:
        ends = np.full(len(x), x.shape[1]) if lengths is None else np.asarray(lengths)
        found["last"] = np.zeros_like(found["mean"])
        found["last"][ends > 0] = x[np.flatnonzero(ends), ends[ends > 0] - 1]
    return np.concatenate([found[name] for name in how], -1)


def _pooled_so_far(x: Array, how: Sequence[str]) -> Array:
    """(B, T, D) to (B, T, len(how) * D): each beginning pooled."""
    count = np.arange(1, x.shape[1] + 1, dtype=x.dtype)[:, None]
    so_far = {
        "mean": lambda: np.cumsum(x, 1) / count, "max": lambda: np.maximum.accumulate(x, 1), "last": lambda: x,
    }  # fmt: skip
    return np.concatenate([so_far[name]() for name in how], -1)
