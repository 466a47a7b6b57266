"""How a next symbol is drawn, and the words that a beginning may lead to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..config import Options, option
from ..kernels.stepper import State
from ..ngram import NGram
from .reading import Reading

Array = np.ndarray


@dataclass
class Drawing(Options):
    """How next symbols are drawn; given as options of `generate`."""

    temperature: float = option(
        0.8, "Above 1 more surprising, below 1 safer; 0 always the most probable.", least=0
    )
    top_k: int = option(0, "Draw among this many most probable symbols; 0: among all.", least=0)
    top_p: float = option(
        1.0, "Draw among the most probable symbols that together have this probability.", least=0, most=1
    )
    repetition_penalty: float = option(
        1.0, "Power that lowers what stood in the last 64 symbols: p becomes p^penalty.", least=1
    )

    def choose(self, p: Array, recent: Sequence[int], rng: np.random.Generator) -> int:
        """One symbol.

        Temperature divides the logarithms (Ackley et al., 1985); top-p is the nucleus of Holtzman et al., "The curious
        case of neural text degeneration" (2020); the penalty that of Keskar et al., "CTRL" (2019), on logarithms.

        Args:
            p: probabilities (V,).
            recent: the last symbols.
            rng: where chance comes from.
        """
        with np.errstate(divide="ignore"):
            z = np.log(np.asarray(p, np.float64))
        if self.repetition_penalty > 1:
            seen = np.unique(np.asarray(recent[-64:], np.int64))
            z[seen] = z[seen] * self.repetition_penalty
        if not self.temperature:
            return int(z.argmax())
        q = np.exp((z - z.max()) / self.temperature)
        order = np.argsort(-q, kind="stable")
        sums = np.cumsum(q[order])
        # The most probable symbol always stays.
        kept = max(1, int(np.searchsorted(sums, self.top_p * sums[-1]) + 1) if self.top_p < 1 else len(q))
        kept = min(kept, self.top_k or len(q))
        return int(order[np.searchsorted(sums[:kept], rng.random() * sums[kept - 1], side="right")])


@dataclass(frozen=True, eq=False)
class Speaking:
    """The network, and its state after what it has read."""

    reading: Reading
    state: State

    def following(self) -> Array:
        """Probabilities (V,) of the next symbol."""
        return self.reading.following(self.state)

    def after(self, token: int) -> Speaking:
        """The same after one more symbol."""
        return Speaking(self.reading, self.reading.step(token, self.state))


@dataclass(frozen=True, eq=False)
class Counting:
    """The counting model, and the last symbols that it has read."""

    counts: NGram
    tokens: Sequence[int]

    def following(self) -> Array:
        """Probabilities (V,) of the next symbol."""
        return self.counts.next(self.tokens)

    def after(self, token: int) -> Counting:
        """The same after one more symbol."""
        return Counting(self.counts, [*self.tokens[-self.counts.order :], token])


Voice = Speaking | Counting


def words_after(
    voice: Voice, letters: Array, *, most: int, beams: int = 40, longest: int = 24
) -> list[tuple[list[int], float]]:
    """The most probable words of a model of characters, by beam search; each with the probability of ending there.

    Args:
        voice: what has read the text.
        letters: (V,) whether a character can stand in a word; any other ends it.
        most: how many words.
        beams: beginnings that are followed at a time.
        longest: letters of a word.
    """
    found: list[tuple[list[int], float]] = []
    alive: list[tuple[list[int], float, Voice]] = [([], 1.0, voice)]
    for _ in range(longest):
        options = []
        for word, p, at in alive:
            following = at.following()
            if word:
                found.append((word, p * float(following[~letters].sum())))
            begins = np.flatnonzero(letters)
            best = begins[np.argsort(-following[begins], kind="stable")[:beams]]
            options += [(p * float(following[i]), word, int(i), at) for i in best]
        least = sorted((p for _, p in found), reverse=True)[most - 1 : most]
        kept = sorted((o for o in options if not least or o[0] > least[0]), key=lambda o: -o[0])[:beams]
        alive = [([*word, i], p, at.after(i)) for p, word, i, at in kept]
    return sorted(found, key=lambda pair: -pair[1])[:most]


def until(stop: str, pieces: Iterator[str]) -> Iterator[str]:
    """The pieces before the text `stop`, none of it among them; what may be its beginning waits."""
    waiting = ""
    for piece in pieces:
        waiting += piece
        if stop and stop in waiting:
            yield waiting[: waiting.index(stop)]
            return
        held = next(
            (n for n in range(min(len(stop) - 1, len(waiting)), 0, -1) if waiting.endswith(stop[:n])), 0
        )
        if len(waiting) > held:
            yield waiting[: len(waiting) - held]
            waiting = waiting[len(waiting) - held :]
    if waiting:
        yield waiting
