"""The teacher: an LSTM over all tokens that first learns to guess the next one, then to judge the text.

Dai and Le, "Semi-supervised sequence learning" (2015); Howard and Ruder, "Universal language model fine-tuning"
(2018): all weights of the language model are kept, and the judge reads mean, maximum and last of all states. One
object reads in one direction; the other direction is the same with every text reversed.

Products are in bfloat16 where that is asked for and the processor has it, weights and moments in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ..layers import products
from .corpus import START, UNKNOWN, Corpus, Ids, Numbers, batches
from .rows import RowAdam

Report = Callable[[int, int, float], None]
HEAD, TAIL, LANES, CHUNK = 600, 300, 64, 50
"""Every guess chooses among the HEAD most frequent ids, some TAIL drawn ones, and the true one."""


class Teacher(nn.Module):
    """Embedding, LSTM, a projection back to the embedding for guesses, and the judge.

    Args:
        frequency: how often each id occurs in the training texts, (V,), ids most frequent first from 3 on.
        size: numbers in a row of the embedding.
        units: of the LSTM.
        reverse: read every text from its end.
        seed: of the first weights.
    """

    def __init__(
        self, frequency: Numbers, size: int = 192, units: int = 256, *, reverse: bool = False, seed: int = 1
    ) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.reverse, self.units = reverse, units
        share = np.maximum(frequency, 1) / frequency.sum()
        self.register_buffer("rows", torch.randn(len(frequency), size) * 0.1)
        self.register_buffer("chance", torch.from_numpy(np.log(share).astype(np.float32))[:, None])
        self.rows: Tensor
        self.chance: Tensor
        self.lstm = nn.LSTM(size, units)
        self.project = nn.Linear(units, size, bias=False)
        self.judge = nn.Linear(3 * units, 1)
        nn.init.zeros_(self.judge.weight)
        with torch.no_grad():
            self.lstm.bias_ih_l0[units : 2 * units] = 1
        drawn = frequency**0.6
        drawn[:HEAD] = 0
        self._draw = drawn / max(drawn.sum(), 1e-9)

    def sequence(self, ids: Ids) -> Numbers:
        """Start mark and tokens in the order in which this teacher reads them."""
        return np.concatenate([[START], ids[::-1] if self.reverse else ids]).astype(np.int64)

    def candidates(self, rng: np.random.Generator, targets: Numbers) -> tuple[Numbers, Tensor]:
        """Ids to choose among beside the target, and minus the log of how often each is expected among the drawn."""
        edge = np.cumsum(self._draw)
        drawn = np.unique(np.minimum(np.searchsorted(edge, rng.random(TAIL)), len(edge) - 1))
        drawn = np.setdiff1d(drawn[self._draw[drawn] > 0], targets)
        head = np.arange(min(HEAD, len(edge)))
        expected = -np.expm1(TAIL * np.log1p(-self._draw[drawn]))
        shift = np.concatenate([np.zeros(len(head)), -np.log(expected)])
        return np.concatenate([head, drawn]), torch.from_numpy(shift.astype(np.float32))

    def pooled(self, embedded: Tensor, lengths: Tensor) -> Tensor:
        """Mean, maximum and last of the states of embedded texts (T, B, size): (B, 3 units)."""
        h = self.lstm(embedded)[0].float()
        past = (torch.arange(len(h))[:, None] >= lengths)[..., None]
        mean = h.masked_fill(past, 0).sum(0) / lengths[:, None]
        return torch.cat(
            [mean, h.masked_fill(past, -2).amax(0), h[lengths - 1, torch.arange(len(lengths))]], 1
        )

    def batch(self, corpus: Corpus, texts: Numbers, longest: int | None = None) -> tuple[Numbers, Tensor]:
        """Ids (T, B), padded at the end, of the last `longest` tokens of `texts`, and their lengths."""
        found = [self.sequence(corpus[i][-longest:] if longest else corpus[i]) for i in texts]
        lengths = np.array([len(row) for row in found])
        ids = np.zeros((lengths.max(), len(found)), np.int64)
        for column, row in enumerate(found):
            ids[: len(row), column] = row
        return ids, torch.from_numpy(lengths)

    @torch.no_grad()
    def logits(self, corpus: Corpus, texts: Numbers, *, half: bool = True) -> NDArray[np.float64]:
        """The judge's logits (N,) of `texts`, each read whole."""
        order, found, start = np.argsort(corpus.lengths[texts], kind="stable"), np.zeros(len(texts)), 0
        while start < len(order):
            size = int(np.clip(30_000 // (corpus.lengths[texts[order[start]]] + 1), 4, 96))
            part = order[start : start + size]
            ids, lengths = self.batch(corpus, texts[part])
            with products(half):
                vector = self.pooled(self.rows[torch.from_numpy(ids)], lengths)
            found[part] = self.judge(vector)[:, 0].numpy()
            start += size
        return found


class Learning:
    """Adam over a teacher's weights, rows of the embedding apart, with the learning rate as a share of `rate`."""

    def __init__(self, teacher: Teacher, rate: float, clip: float) -> None:
        self.teacher, self.rate, self.clip, self.done = teacher, rate, clip, 0
        body = [p for name, p in teacher.named_parameters() if not name.startswith("judge")]
        groups = [{"params": body, "times": 1.0}, {"params": list(teacher.judge.parameters()), "times": 3.0}]
        self.body, self.solver = body, torch.optim.Adam(groups, lr=rate, betas=(0.9, 0.99))
        self.rows, self.chance = RowAdam(teacher.rows), RowAdam(teacher.chance)

    def update(
        self, loss: Tensor, share: float, place: Tensor, table: Tensor, chance: Tensor | None = None
    ) -> None:
        """One step downhill from `loss` with `share` of the rate; `table` and `chance` are the rows at `place`."""
        self.solver.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_([p for p in self.body if p.grad is not None], self.clip)
        for group in self.solver.param_groups:
            group["lr"] = group["times"] * share * self.rate
        self.solver.step()
        self.done += 1
        for rows, found, times in ((self.rows, table, 1.0), (self.chance, chance, 0.3)):
            if found is not None and found.grad is not None:
                rows.update(place, found.grad, times * share * self.rate)

    def state(self) -> dict[str, Any]:
        """Everything that changes, for a checkpoint."""
        moments = [self.rows.first, self.rows.second, self.chance.first, self.chance.second]
        return {
            "teacher": self.teacher.state_dict(),
            "solver": self.solver.state_dict(),
            "moments": moments,
            "done": self.done,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        self.teacher.load_state_dict(state["teacher"])
        self.solver.load_state_dict(state["solver"])
        self.rows.first, self.rows.second, self.chance.first, self.chance.second = state["moments"]
        self.done = state["done"]


def stream(teacher: Teacher, corpus: Corpus, seed: list[int]) -> NDArray[np.int64]:
    """All texts in an order of their own in LANES lanes: (steps + 1, LANES), each lane one running text."""
    order = np.random.default_rng(seed).permutation(len(corpus))
    whole = np.concatenate([teacher.sequence(corpus[i]) for i in order])
    steps = (len(whole) - 1) // LANES
    at = np.arange(steps + 1)[:, None] + steps * np.arange(LANES)
    return whole[at]


def guesses(
    learning: Learning, corpus: Corpus, *, passes: float, seed: int, half: bool = True
) -> Iterator[float]:
    """Learn to guess the next token of every text; yields the loss of each update, so that the caller may save or stop.

    The state is carried from chunk to chunk of a running text, and the rate is a cosine from its peak to nothing.
    """
    teacher = learning.teacher
    per = int((corpus.lengths.sum() + len(corpus) - 1) // LANES // CHUNK)
    total = int(passes * per)
    while learning.done < total:
        lanes = stream(teacher, corpus, [seed, learning.done // per])
        state = None
        for chunk in range(learning.done % per, min(per, total - learning.done // per * per)):
            part = lanes[chunk * CHUNK : (chunk + 1) * CHUNK + 1]
            rng = np.random.default_rng([seed, learning.done])
            share = min(1.0, (learning.done + 1) / 150) * (0.5 + 0.5 * np.cos(np.pi * learning.done / total))
            loss, state, found = _guess(teacher, part[:-1], part[1:].reshape(-1), state, rng, half)
            learning.update(loss, share, *found)
            yield loss.item()


def _guess(
    teacher: Teacher, ids: Numbers, targets: Numbers, state: Any, rng: np.random.Generator, half: bool
) -> tuple[Tensor, Any, tuple[Tensor, Tensor, Tensor]]:
    choice, shift = teacher.candidates(rng, targets)
    place = np.unique(np.concatenate([choice, ids.reshape(-1), targets]))
    local = [torch.from_numpy(np.searchsorted(place, x)) for x in (ids, choice, targets)]
    where = torch.from_numpy(place)
    table, chance = teacher.rows[where].requires_grad_(), teacher.chance[where].requires_grad_()
    with products(half):
        h, last = teacher.lstm(functional.embedding(local[0], table), state)
        vector = teacher.project(h.reshape(-1, teacher.units))
        scores = (vector @ table[local[1]].T).float() + chance[local[1]][:, 0] + shift
    true = (vector.float() * table[local[2]]).sum(1) + chance[local[2]][:, 0]
    rare = torch.from_numpy(targets >= HEAD)  # those in the head stand among the candidates already
    beside = torch.where(rare, true, torch.tensor(-torch.inf))
    loss = torch.logsumexp(torch.cat([scores, beside[:, None]], 1), 1) - true
    return loss.mean(), tuple(part.detach() for part in last), (where, table, chance)


def judge(
    learning: Learning, corpus: Corpus, targets: NDArray[np.float32], texts: Numbers, *, epochs: int, seed: int = 1,
    half: bool = True,
) -> Iterator[float]:  # fmt: skip
    """Fine-tune everything on `texts`, whose probabilities are `targets` by number; yields the loss of each update.

    Batches of 32 of at most 400 tokens; a tenth of the updates raises the rate, the rest lowers it to nothing. Words,
    numbers of the embedding (the same ones in a whole text) and of the pooled states are left out at random.
    """
    teacher, done = learning.teacher, 0
    total = epochs * -(-len(texts) // 32)
    for epoch in range(epochs):
        for part in batches(corpus.lengths, texts, 32, [seed, epoch]):
            done += 1
            if done <= learning.done:
                continue
            rng, share = np.random.default_rng([seed, done]), done / total
            torch.manual_seed(int(rng.integers(2**31)))
            ids, lengths = teacher.batch(corpus, part, 400)
            ids = np.where((rng.random(ids.shape) < 0.08) & (ids > START), UNKNOWN, ids)
            place, local = np.unique(ids, return_inverse=True)
            table = teacher.rows[torch.from_numpy(place)].requires_grad_()
            embedded = functional.embedding(torch.from_numpy(local.reshape(ids.shape)), table)
            kept = (torch.rand(1, *embedded.shape[1:]) >= 0.2).float() / 0.8
            with products(half):
                vector = teacher.pooled(embedded * kept, lengths)
            z = teacher.judge(functional.dropout(vector, 0.4))[:, 0]
            loss = functional.binary_cross_entropy_with_logits(z, torch.from_numpy(targets[part]))
            learning.update(
                loss, max(0.01, min(share / 0.1, (1 - share) / 0.9)), torch.from_numpy(place), table
            )
            yield loss.item()
