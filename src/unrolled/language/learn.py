"""Training of the network: a long text cut into B streams that are read side by side, T steps at a time.

The state of every stream is carried from chunk to chunk, and gradients end at a chunk's beginning: truncated
backpropagation through time (Williams and Peng, 1990). What is dropped stays the same over a chunk (Gal and
Ghahramani, "A theoretically grounded application of dropout in recurrent neural networks", 2016), also of the
recurrent weights (Merity et al., "Regularizing and optimizing LSTM language models", 2018).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, dropout, embedding

from .. import layers, train
from .. import network as net
from ..cells import Weights
from ..kernels.recurrent import Plan
from ..layers._gated import through_time
from ..layers.dropout import Dropout
from ..layers.lstm import LSTM

Array = np.ndarray
CHOICES = 2000
"""Words drawn for a chunk, of which the right one has to be told apart; more symbols than twice this are sampled."""
RECURRENT = 0.75
"""Of the recurrent weights as many are dropped as this times the share of the output."""


@dataclass(frozen=True)
class Streams(train.Arrays):
    """Tokens (N,) and those that follow them, read as `rows` streams in chunks of `steps`.

    Each epoch cuts the text at other places, and joins its end to its beginning.
    """

    rows: int = 32
    steps: int = 64

    def count(self, size: int) -> int:
        """Chunks of an epoch; `size` is not asked."""
        return -(-(len(self) // self.rows) // self.steps)

    def order(self, seed: int, epoch: int) -> Array:
        """Where the first stream begins, (1,)."""
        return (
            np.random.default_rng([seed, epoch]).integers(0, len(self), 1) if epoch else np.zeros(1, np.int64)
        )

    def batches(
        self, size: int, order: Array | None = None, start: int = 0
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs and targets (rows, steps) of each chunk, from chunk number `start`."""
        each = len(self) // self.rows
        begin = np.arange(self.rows)[:, None] * each + (0 if order is None else int(order[0]))
        for first in range(start * self.steps, each, self.steps):
            at = (begin + np.arange(first, min(first + self.steps, each))) % len(self)
            yield tuple(torch.from_numpy(part[at].astype(np.int64)) for part in (self.inputs, self.targets))


def streams(tokens: Array, rows: int, steps: int) -> Streams:
    """The streams of a text; fewer where it is short."""
    return Streams(tokens[:-1], tokens[1:], max(1, min(rows, (len(tokens) - 1) // steps)), steps)


class Reader(layers.Stack):
    """A language model's layers, with the state carried from call to call.

    Where the last layer has the shape of the embedding they share one matrix.

    Args:
        network: as `tasks.language.layers_of` makes it.
        tokens: how often each symbol occurs in the training text, (V,); what is drawn follows it.
    """

    def __init__(self, network: net.Network, counts: Array) -> None:
        super().__init__(network)
        self.carried = {}
        last = self[-1]
        if last.weight.shape == self[0].weight.shape:
            last.weight = self[0].weight
        self.weights_dropped = RECURRENT * max((m.rate for m in self if isinstance(m, Dropout)), default=0.0)
        often = torch.from_numpy((counts + 1.0) ** 0.75)
        self.sampled = len(counts) > 2 * CHOICES
        self.p = (often / often.sum()).float()
        self.kept = torch.log(-torch.expm1(CHOICES * torch.log1p(-self.p)))  # log P(among the drawn ones)

    def logits(self, x: Tensor | layers.Ragged) -> Tensor:
        """Token ids (B, T) to what the last layer reads, (T, B, D); `loss` applies that layer."""
        assert isinstance(x, Tensor)
        vectors = embedding(x.T, self[0].weight)
        for number, module in enumerate(list(self)[1:-1]):
            if isinstance(module, Dropout):
                if self.training and module.rate:
                    vectors = vectors * dropout(torch.ones_like(vectors[:1]), module.rate)
            elif isinstance(module, LSTM):
                vectors = self._read(module, vectors, str(number))
            else:
                vectors = module.logits(vectors)
        return vectors

    def _read(self, module: LSTM, x: Tensor, key: str) -> Tensor:
        for layer, name in module.layer.runs():
            w_ih, w_hh, b_ih, b_hh = (getattr(module, f"{part}_{name}") for part in net.PARTS)
            w_hh = dropout(w_hh, self.weights_dropped, self.training)
            names = [f"{state}{key}.{layer}" for state in "hc"]
            first = [self.carried[n] for n in names if n in self.carried]
            if first and first[0].shape[1] != x.shape[1]:
                first = []
            x, last = through_time(Plan("lstm"), module.cell, x, [Weights(w_ih, w_hh, b_ih, b_hh)], first)
            self.carried |= {n: value.detach() for n, value in zip(names, last, strict=True)}
        return x

    def loss(self, vectors: Tensor, targets: Tensor) -> Tensor:
        """Mean of -log P(target), in nats; targets (B, T). While training over words it is estimated from a sample."""
        h, y = vectors.reshape(-1, vectors.shape[-1]), targets.T.reshape(-1)
        last = self[-1]
        if self.training and self.sampled:
            return self._sampled(h, y)
        return cross_entropy(h @ last.weight.T + last.bias, y)

    def _sampled(self, h: Tensor, y: Tensor) -> Tensor:
        """The sum over all words, estimated without bias from drawn ones, each divided by its chance of being drawn.

        Jean et al., "On using very large target vocabulary for neural machine translation" (2015).
        """
        drawn = torch.unique(torch.multinomial(self.p, CHOICES, replacement=True))
        weight, bias = self[-1].weight, self[-1].bias
        right = (h * weight[y]).sum(1) + bias[y]
        others = h @ weight[drawn].T + (bias[drawn] - self.kept[drawn])
        others = others.masked_fill(y[:, None] == drawn, -torch.inf)
        return (torch.logsumexp(torch.cat([right[:, None], others], 1), 1) - right).mean()


def reader(network: net.Network, weights: Mapping[str, Array], counts: Array) -> Reader:
    """The module that computes `network`, with a copy of `weights`."""
    made = Reader(network, counts)
    made.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in weights.items()})
    return made


def adam(parameters: list[nn.Parameter], rate: float) -> torch.optim.Optimizer:
    """Adam in one pass over each tensor: most of the weights are a table of words."""
    return torch.optim.Adam(parameters, rate, (0.9, 0.99), fused=True)
