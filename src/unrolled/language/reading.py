"""The network reads without torch: a whole text in a few calls of the engine, or step by step while it writes."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from .. import bundle as bundles
from .. import kernels
from ..kernels.stepper import State
from ..network import LSTM, PARTS, Dense

Array = np.ndarray
States = list[tuple[Array, Array]]
"""h and c (B, H) of each layer."""
CHUNK = 512
ROWS = 64
"""Steps read at once, and rows of which all V scores are held at once."""


class Reading:
    """A language model's network: an embedding, an LSTM, dense layers.

    Args:
        bundle: of the task "language".
    """

    def __init__(self, bundle: bundles.Bundle) -> None:
        layers = bundle.task.network.layers
        self._weights = bundle.weights
        self._at = next(i for i, layer in enumerate(layers) if isinstance(layer, LSTM))
        self._dense = [i for i, layer in enumerate(layers) if isinstance(layer, Dense)]

    @cached_property
    def _stepper(self) -> kernels.Stepper:
        return kernels.Stepper(*self._layers)

    @property
    def _layers(self) -> list[tuple[Array, ...]]:
        found: list[tuple[Array, ...]] = []
        while f"{self._at}.weight_ih_l{len(found)}" in self._weights:
            found.append(tuple(self._weights[f"{self._at}.{part}_l{len(found)}"] for part in PARTS))
        return found

    def scores(self, outputs: Array) -> Array:
        """From the LSTM's outputs (N, H) to scores (N, V), the highest of each row 0; softmax makes probabilities."""
        x = outputs
        for i in self._dense:
            x = x @ self._weights[f"{i}.weight"].T + self._weights[f"{i}.bias"]
        return x - x.max(-1, keepdims=True)

    def _logs(self, outputs: Array, targets: Array) -> Array:
        """The log P of targets (N,) after outputs (N, H), a few rows at a time: all scores would leave the cache."""
        found = []
        for begin in range(0, len(targets), ROWS):
            z, y = self.scores(outputs[begin : begin + ROWS]), targets[begin : begin + ROWS]
            picked = z[np.arange(len(y)), y]
            found.append(picked - np.log(np.exp(z, out=z).sum(-1)))
        return np.concatenate(found)

    def outputs(self, tokens: Array, states: States | None = None) -> tuple[Array, States]:
        """What the LSTM answers to tokens (T, B), (T, B, H), and the states to go on with."""
        x, last = self._weights["0.weight"][tokens], []
        for i, (w_ih, w_hh, b_ih, b_hh) in enumerate(self._layers):
            x, state = kernels.lstm(x, w_ih, w_hh, b_ih, b_hh, states[i] if states else None)
            last.append(state)
        return x, last

    def score(self, tokens: Array) -> Array:
        """The log P of each token but the first after all before it, (N - 1,); the state is carried all along."""
        found, states = [np.zeros(0)], None
        for begin in range(0, len(tokens) - 1, CHUNK):
            part = np.asarray(tokens[begin : begin + CHUNK + 1], np.int64)
            outputs, states = self.outputs(part[:-1, None], states)
            found.append(self._logs(outputs[:, 0], part[1:]))
        return np.concatenate(found)

    def score_windows(self, tokens: Array, size: int) -> Array:
        """The same where the text is cut into windows of `size`, each read from nothing; a shorter rest is left out."""
        count = (len(tokens) - 1) // size
        rows = np.asarray(tokens[: count * size + 1], np.int64)
        inputs, targets = rows[:-1].reshape(count, size), rows[1:].reshape(count, size)
        found = [np.zeros(0)]
        for begin in range(0, count, 32):
            outputs, _ = self.outputs(inputs[begin : begin + 32].T)
            found += [self._logs(outputs[:, b], targets[begin + b]) for b in range(outputs.shape[1])]
        return np.concatenate(found)

    def start(self, tokens: Array) -> State:
        """The state after a text, which must not be empty."""
        _, states = self.outputs(np.asarray(tokens, np.int64)[:, None])
        h, c = (np.stack([state[i][0] for state in states]) for i in (0, 1))
        return self._stepper.state(h, c)

    def step(self, token: int, state: State) -> State:
        """The state after one more token."""
        return self._stepper.step(self._weights["0.weight"][token], state)

    def following(self, state: State) -> Array:
        """Probabilities (V,) of what comes after `state`."""
        p = np.exp(self.scores(state.output[None])[0])
        return p / p.sum()
