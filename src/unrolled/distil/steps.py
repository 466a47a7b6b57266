"""A small, quick net: rows of tokens and of frequent pairs, summed over steps of a few tokens, read by an LSTM.

    x_s = sum over the tokens i of step s of  rows[token_i] + rows[pair_i]
    z   = out . [mean_s h_s, max_s h_s]  +  n ** -0.5 * sum_i (linear[token_i] + linear[pair_i])

Token i belongs to step i // k, a pair to the step of its second token, and pairs that are not listed have no row. A
recurrence over steps costs k times less than one over tokens, and the rows of pairs keep the order inside a step.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ..data.grams import find
from ..nn import LSTM
from .corpus import UNKNOWN, Corpus, Numbers, batches
from .rows import RowAdam


@dataclass(frozen=True)
class Shape:
    """Sizes of a net: tokens a step, numbers a row, units of each direction, outputs, and the listed pairs' keys."""

    words: int
    pairs: Numbers
    step: int = 8
    size: int = 32
    units: int = 32
    both_ways: bool = False
    outputs: int = 1


class Reading:
    """The rows that each text asks for, found once: a token's, then its pair's where that is listed."""

    def __init__(self, corpus: Corpus, shape: Shape) -> None:
        key = np.full(len(corpus.ids), -1, np.int64)
        before, ids = corpus.ids[:-1].astype(np.int64), corpus.ids[1:]
        ok = (corpus.position[1:] > 0) & (before != UNKNOWN) & (ids != UNKNOWN)
        key[1:][ok] = before[ok] * shape.words + ids[ok]
        pair = find(key, shape.pairs)
        asked = np.stack([corpus.ids, np.where(pair >= 0, pair + shape.words, -1)], 1)
        there = asked >= 0
        self.lengths = corpus.lengths
        self._rows = asked[there].astype(np.int32)
        self._step = np.repeat(corpus.position // shape.step, there.sum(1)).astype(np.int32)
        self._begin = np.concatenate([[0], np.cumsum(there.sum(1))])[corpus.offsets]
        self._size = shape.step

    def steps(self, texts: Numbers) -> Numbers:
        """How many steps each of `texts` has, at least one."""
        return np.maximum(1, -(-self.lengths[texts] // self._size))

    def grid(self, texts: Numbers) -> tuple[Numbers, Numbers, int]:
        """Rows of `texts`, the bag of each (text * steps + step, ascending), and the steps of the longest."""
        count = int(self.steps(texts).max())
        spans = [slice(self._begin[i], self._begin[i + 1]) for i in texts]
        rows = np.concatenate([self._rows[s] for s in spans]).astype(np.int64)
        bags = np.concatenate([self._step[s] + n * count for n, s in enumerate(spans)])
        return rows, bags.astype(np.int64), count


class Steps(nn.Module):
    """The net; `rows` (words + pairs, size + outputs), a buffer, holds the linear term in its last columns."""

    def __init__(self, shape: Shape, seed: int = 1) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.shape = shape
        rows = torch.randn(shape.words + len(shape.pairs), shape.size + shape.outputs) * 0.05
        rows[shape.words :] *= 0.3
        rows[:, shape.size :] = 0
        self.register_buffer("rows", rows)
        self.rows: Tensor
        self.lstm = LSTM(shape.size, shape.units, bidirectional=shape.both_ways)
        with torch.no_grad():
            for name, bias in self.lstm.named_parameters():
                if "bias_ih" in name:
                    bias[shape.units : 2 * shape.units] = 1
        self.out = nn.Linear(2 * shape.units * (1 + shape.both_ways), shape.outputs)

    def forward(
        self, reading: Reading, texts: Numbers, drop: Drop | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (B,) of `texts`, (B, outputs) if several; the rows looked up, which want a gradient; their places."""
        rows, bags, count = reading.grid(texts)
        if drop:
            kept = drop.rng.random(len(rows)) >= drop.words
            rows, bags = rows[kept], bags[kept]
        where, local = np.unique(rows, return_inverse=True)
        place = torch.from_numpy(where)
        table = self.rows[place].requires_grad_(drop is not None)
        begin = torch.from_numpy(np.searchsorted(bags, np.arange(len(texts) * count)))
        bag = functional.embedding_bag(torch.from_numpy(local.reshape(-1)), table, begin, mode="sum")
        x = bag.view(len(texts), count, -1)
        length = torch.from_numpy(np.maximum(1, reading.lengths[texts]))
        linear = x[..., self.shape.size :].sum(1) / length.sqrt()[:, None]
        x = x[..., : self.shape.size].transpose(0, 1).contiguous()
        pooled = self._pool(
            functional.dropout(x, drop.steps) if drop else x, torch.from_numpy(reading.steps(texts))
        )
        pooled = functional.dropout(pooled, drop.pooled) if drop else pooled
        z = self.out(pooled) + linear
        return z[:, 0] if self.shape.outputs == 1 else z, table, place

    def _pool(self, x: Tensor, steps: Tensor) -> Tensor:
        h, _ = self.lstm(x, lengths=steps)
        past = (torch.arange(len(h))[:, None] >= steps)[..., None]
        return torch.cat([h.sum(0) / steps[:, None], h.masked_fill(past, -2).amax(0)], 1)

    @torch.no_grad()
    def logits(self, reading: Reading, texts: Numbers, size: int = 128) -> NDArray[np.float64]:
        """Logits of `texts` in their order, (N,) or (N, outputs)."""
        order = np.argsort(reading.lengths[texts], kind="stable")
        found = np.zeros((len(texts), self.shape.outputs)[: 1 + (self.shape.outputs > 1)])
        for start in range(0, len(order), size):
            part = order[start : start + size]
            found[part] = self(reading, texts[part])[0].numpy()
        return found

    def weights(self) -> dict[str, NDArray[np.float32]]:
        """Weights by the names under which a bundle keeps them; each direction's two biases are added."""
        own = {name: value.detach().numpy() for name, value in self.lstm.named_parameters()}
        size = self.shape.size
        linear = self.rows[:, size] if self.shape.outputs == 1 else self.rows[:, size:]
        found = {"rows.weight": self.rows[:, :size].numpy(), "rows.linear": linear.numpy()}
        for name, end in (("forward", ""), ("backward", "_reverse"))[: 1 + self.shape.both_ways]:
            found[f"{name}.weight_ih"] = own["weight_ih_l0" + end]
            found[f"{name}.weight_hh"] = own["weight_hh_l0" + end]
            found[f"{name}.bias"] = own["bias_ih_l0" + end] + own["bias_hh_l0" + end]
        found |= {"out.weight": self.out.weight.detach().numpy(), "out.bias": self.out.bias.detach().numpy()}
        return found


@dataclass(frozen=True)
class Drop:
    """What is left out in training: shares of the rows, of a step's numbers and of the pooled ones."""

    rng: np.random.Generator
    words: float
    steps: float
    pooled: float


@dataclass(frozen=True)
class Course:
    """How a net is trained: epochs, the highest rate, the seed of order and of what is left out, and shares of that."""

    epochs: int
    rate: float = 2e-3
    seed: int = 1
    drop: tuple[float, float, float] = (0.05, 0.1, 0.3)


def linear_start(
    net: Steps, reading: Reading, texts: Numbers, labels: NDArray[np.bool_], scale: float = 0.15, output: int = 0
) -> None:
    """Begin an output's linear term at the naive Bayes weight of each row that two texts or more hold."""
    count = np.ones((2, len(net.rows)))
    for i in texts:
        rows, _, _ = reading.grid(np.array([i]))
        count[int(labels[i]), np.unique(rows)] += 1
    ratio = np.log(count[1] / count[1].sum()) - np.log(count[0] / count[0].sum())
    ratio[count.sum(0) < 4] = 0
    net.rows[:, net.shape.size + output] = torch.from_numpy(scale * ratio)


def fit(
    net: Steps,
    reading: Reading,
    targets: NDArray[np.float32],
    texts: Numbers,
    course: Course,
    *,
    report: Callable[[int, int, float], None] | None = None,
    path: Path | None = None,
) -> None:
    """Train on `texts`, repeated ones counting twice, with the probabilities `targets`, by number of text.
    Adam, with a cosine from the rate to nothing; with several outputs `targets` has a row for each text.

    `report` hears of every hundredth update: its number, how many there will be, the mean loss since. In `path` each
    epoch leaves all that it changed; where that stands already, training goes on after it, to the same end.
    """
    epochs, rate, seed = course.epochs, course.rate, course.seed
    solver = torch.optim.Adam(net.parameters(), lr=rate, betas=(0.9, 0.99))
    slow = RowAdam(net.rows)
    begun = _restore(path, net, solver, slow) if path and path.exists() else 0
    each = -(-len(texts) // 64)
    total, done, losses = epochs * each, begun * each, 0.0
    for epoch in range(begun, epochs):
        drop = Drop(np.random.default_rng([seed, epoch]), *course.drop)
        for part in batches(reading.lengths, texts, 64, [seed, epoch]):
            done += 1
            warm, cool = min(1.0, done / (0.05 * total)), 0.5 + 0.5 * math.cos(math.pi * done / total)
            now = rate * warm * max(0.005, cool)
            z, table, place = net(reading, part, drop)
            told = torch.from_numpy(targets[part])
            several = net.shape.outputs > 1
            measure = functional.cross_entropy if several else functional.binary_cross_entropy_with_logits
            loss = measure(z, told)
            solver.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            for group in solver.param_groups:
                group["lr"] = now
            solver.step()
            assert table.grad is not None
            slow.update(place, table.grad, now)
            losses += loss.item()
            if report and done % 100 == 0:
                report(done, total, losses / 100)
                losses = 0.0
        if path:
            _keep(path, epoch + 1, net, solver, slow)


def _keep(path: Path, epochs: int, net: Steps, solver: torch.optim.Adam, slow: RowAdam) -> None:
    part = path.with_suffix(".part")
    state = {"epochs": epochs, "net": net.state_dict(), "solver": solver.state_dict()}
    torch.save(state | {"rows": (slow.first, slow.second), "random": torch.get_rng_state()}, part)
    os.replace(part, path)


def _restore(path: Path, net: Steps, solver: torch.optim.Adam, slow: RowAdam) -> int:
    """What `_keep` kept; the epochs that are done."""
    state = torch.load(path, weights_only=True)
    net.load_state_dict(state["net"])
    solver.load_state_dict(state["solver"])
    slow.first, slow.second = state["rows"]
    torch.set_rng_state(state["random"])
    return int(state["epochs"])
