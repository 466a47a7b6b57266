"""Dynamic evaluation: the network goes on learning from the text that it is asked to score, after it has scored it.

Krause et al., "Dynamic evaluation of neural sequence models" (2018): after each chunk every weight moves against the
chunk's gradient, divided by the root of that weight's mean squared gradient on the training text, and returns a little
towards where training left it. To each root that of all weights is added: those of rare words have hardly any gradient
in the part of the training text that is measured, and one such word would throw them, and then all others, far off.
"""

from __future__ import annotations

import numpy as np
import torch

from .. import bundle as bundles
from . import learn

Array = np.ndarray
CHUNK, RATE, RETURN = 32, 7e-4, 2e-3
"""Symbols between updates, the step size, and the share of its way back that a weight goes at each."""
CHUNKS = 200
"""Chunks of the training text on which mean squared gradients are measured."""


def adapted(bundle: bundles.Bundle, tokens: Array, *, rate: float = RATE, back: float = RETURN) -> Array:
    """The log P of each of `tokens` (N,) but the first, (N - 1,); the bundle's own weights stay as they are."""
    training, network = bundle.task.arrays["tokens"], bundle.task.network
    counts = np.bincount(training, minlength=len(bundle.weights["0.weight"]))
    reader = learn.reader(network, bundle.weights, counts)
    reader.eval()
    weights = list(reader.parameters())
    start = [w.detach().clone() for w in weights]
    roots = _roots(reader, weights, training)
    reader.carried = {}
    found, done = np.zeros(len(tokens) - 1), 0
    for x, y in learn.streams(tokens, 1, CHUNK).batches(1):
        logs = torch.log_softmax(_scores(reader, x), -1)[torch.arange(y.numel()), y[0]]
        found[done : done + y.numel()] = logs.detach().numpy()
        done += y.numel()
        gradients = torch.autograd.grad(-logs.mean(), weights)
        with torch.no_grad():
            for w, first, g, root in zip(weights, start, gradients, roots, strict=True):
                w.lerp_(first, back).addcdiv_(g, root, value=-rate)
    return found


def _scores(reader: learn.Reader, x: torch.Tensor) -> torch.Tensor:
    h = reader.logits(x)[:, 0]
    return h @ reader[-1].weight.T + reader[-1].bias


def _roots(reader: learn.Reader, weights: list[torch.nn.Parameter], training: Array) -> list[torch.Tensor]:
    """Of each weight the root of the mean squared gradient, and that of all weights together."""
    squares = [torch.zeros_like(w) for w in weights]
    part = training[: CHUNKS * CHUNK + 1]
    for x, y in learn.streams(part, 1, CHUNK).batches(1):
        loss = torch.nn.functional.cross_entropy(_scores(reader, x), y[0])
        for square, g in zip(squares, torch.autograd.grad(loss, weights), strict=True):
            square.addcmul_(g, g, value=1 / CHUNKS)
    usual = torch.cat([square.reshape(-1) for square in squares]).mean().sqrt()
    return [square.sqrt_() + usual for square in squares]
