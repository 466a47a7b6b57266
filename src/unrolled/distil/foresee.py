"""A net of steps learns, before any label, which words its neighbouring step holds.

Johnson and Zhang, "Supervised and semi-supervised text categorization using LSTM for region embeddings" (ICML 2016),
with a softmax instead of squares: forward states guess the words of the next step, backward states those of the step
before. Only a drawn part of a batch's words can be guessed, and the most frequent ones of the language never are.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from .corpus import Numbers, batches
from .rows import RowAdam
from .steps import Reading, Steps

FRAME_WORDS, CHOICES = 40, 1000


def foresee(
    net: Steps, reading: Reading, texts: Numbers, *, passes: int, rate: float = 3e-3, seed: int = 1
) -> Iterator[float]:
    """Train on `texts` in `passes`; yields the loss of each update, nats a word among CHOICES."""
    ways, units = 1 + net.shape.both_ways, net.shape.units
    meaning = RowAdam(torch.zeros(net.shape.words, ways * units + ways))
    slow, solver = RowAdam(net.rows), torch.optim.Adam(net.lstm.parameters(), lr=rate, betas=(0.9, 0.99))
    total, done = passes * -(-len(texts) // 64), 0
    for once in range(passes):
        for part in batches(reading.lengths, texts, 64, [seed, 99, once]):
            done += 1
            now = rate * min(1.0, done / (0.02 * total)) * (0.5 + 0.5 * np.cos(np.pi * done / total))
            h, table, place, words, bags = _states(net, reading, part)
            choice, slot, kept = _choices(words, np.random.default_rng([seed, done]))
            guess = meaning.table[choice].requires_grad_()
            steps = reading.steps(part)
            loss, count = torch.zeros(()), 0
            for way in range(ways):
                source = bags[kept] + (1 if way else -1)
                text = bags[kept] // (h.shape[0] // len(part))
                step = source - text * (h.shape[0] // len(part))
                ok = (step >= 0) & (step < steps[text])
                need, where = np.unique(source[ok], return_inverse=True)
                state = h[torch.from_numpy(need), way * units : (way + 1) * units]
                scores = state @ guess[:, way * units : (way + 1) * units].T + guess[:, ways * units + way]
                at, target = torch.from_numpy(where.reshape(-1)), torch.from_numpy(slot[ok])
                loss = loss + (torch.logsumexp(scores, 1)[at] - scores[at, target]).sum()
                count += int(ok.sum())
            loss = loss / max(count, 1)
            solver.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.lstm.parameters(), 1.0)
            solver.param_groups[0]["lr"] = now
            solver.step()
            assert table.grad is not None
            assert guess.grad is not None
            slow.update(place, table.grad, now)
            meaning.update(choice, guess.grad, now)
            yield loss.item()


def _states(net: Steps, reading: Reading, part: Numbers) -> tuple[Tensor, Tensor, Tensor, Numbers, Numbers]:
    """States (texts * steps, ways * units), the rows looked up and their places, the words to guess and their bags."""
    rows, bags, count = reading.grid(part)
    where, local = np.unique(rows, return_inverse=True)
    place = torch.from_numpy(where)
    table = net.rows[place].requires_grad_()
    begin = torch.from_numpy(np.searchsorted(bags, np.arange(len(part) * count)))
    x = functional.embedding_bag(torch.from_numpy(local.reshape(-1)), table, begin, mode="sum")[
        :, : net.shape.size
    ]
    x = functional.dropout(x, 0.1).view(len(part), count, -1).transpose(0, 1).contiguous()
    h, _ = net.lstm(x, lengths=torch.from_numpy(reading.steps(part)))
    word = (rows < net.shape.words) & (rows >= FRAME_WORDS)
    return h.transpose(0, 1).reshape(len(part) * count, -1), table, place, rows[word], bags[word]


def _choices(words: Numbers, rng: np.random.Generator) -> tuple[Tensor, Numbers, NDArray[np.bool_]]:
    """Some of the distinct `words`, the place among them of each occurrence that stays, and which stay."""
    distinct, inverse = np.unique(words, return_inverse=True)
    chosen = np.sort(rng.permutation(len(distinct))[:CHOICES])
    place = np.full(len(distinct), -1)
    place[chosen] = np.arange(len(chosen))
    slot = place[inverse.reshape(-1)]
    return torch.from_numpy(distinct[chosen]), slot[slot >= 0], slot >= 0
