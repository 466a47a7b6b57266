"""How well a text is predicted, by which method, and what the figures are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np

from .. import bundle as bundles
from ..ngram import recent
from ..tasks.language import Language
from .reading import Reading

Array = np.ndarray
FOLLOWING = 0.002
"""How quickly the shares of an adaptive mixture follow what has predicted best."""
CACHES = {"word": (0, 1)}
"""Symbols that the caches beside adaptive counting look back on; characters say too little about each other."""
CACHED = 0.1
"""The share that each of them begins with."""


@dataclass(frozen=True, eq=False)
class Score:
    """A text's probability by one method.

    Attributes:
        method: which.
        adaptive: whether it learned from the text while it read it. Figures of both kinds are never compared.
        logs: log P in nats of each symbol but the first, (N - 1,).
        characters: how many characters the text has.
    """

    method: str
    adaptive: bool
    logs: Array
    characters: int

    @property
    def nats(self) -> float:
        """Mean of -log P, a symbol."""
        return float(-self.logs.mean())

    @property
    def perplexity(self) -> float:
        """The exp of `nats`: among how many equally probable symbols the method would be as uncertain."""
        return math.exp(min(self.nats, 700.0))

    @property
    def bits_per_character(self) -> float:
        """-log2 P of the whole text, divided by its characters."""
        return float(-self.logs.sum() / math.log(2) / max(self.characters, 1))

    def figures(self) -> dict[str, float]:
        """The three figures by name."""
        return {
            "nats": self.nats,
            "perplexity": self.perplexity,
            "bits_per_character": self.bits_per_character,
        }


def scores(
    bundle: bundles.Bundle, tokens: Array, characters: int, *, adaptive: bool = False, window: int = 0
) -> list[Score]:
    """Each method's score of `tokens` (N,), N of 2 or more; the counting model is always among them.

    Args:
        bundle: of a language model.
        tokens: the text.
        characters: how many it is written with.
        adaptive: by the methods that learn while they read.
        window: by the network alone, in windows of so many symbols that are read from nothing each; 0: as one text.
    """
    task = bundle.task
    assert isinstance(task, Language)
    if window:
        logs = Reading(bundle).score_windows(tokens, window)
        return [Score(f"network, windows of {window}", False, logs, characters)]
    counting = np.log(task.counts.score(tokens, adaptive=adaptive)[1:])
    caches = _caches(tokens, task.symbols.level) if adaptive else []

    def together(parts: Sequence[Array], shares: Sequence[float]) -> Array:
        if not adaptive:
            return mixed(parts, shares)
        rest = 1 - CACHED * len(caches)
        return followed((*parts, *caches), (*(rest * share for share in shares), *[CACHED] * len(caches)))

    counted = together([counting], [1.0])
    if task.counted:
        return [Score("counting", adaptive, counted, characters)]
    learns = adaptive and find_spec("torch") is not None
    network = _moving(bundle, tokens) if learns else Reading(bundle).score(tokens)
    both = together([network, counting], [task.share, 1 - task.share])
    found = {"network": network, "counting": counted, "network and counting": both}
    if adaptive and not learns:
        del found["network"]  # it has not adapted, and such figures stand apart
    return [Score(name, adaptive, logs, characters) for name, logs in found.items()]


def _caches(tokens: Array, level: str) -> list[Array]:
    with np.errstate(divide="ignore"):
        return [np.log(recent(tokens, before)[1:]) for before in CACHES.get(level, ())]


def _moving(bundle: bundles.Bundle, tokens: Array) -> Array:
    from . import adapt  # needs torch

    return adapt.adapted(bundle, tokens)


def mixed(parts: Sequence[Array], shares: Sequence[float]) -> Array:
    """The log of the weighted mean of probabilities; parts are their logarithms, (N,) each."""
    with np.errstate(divide="ignore"):
        weighted = [part + np.log(share) for part, share in zip(parts, shares, strict=True)]
    return np.logaddexp.reduce(weighted)


def fitted_share(first: Array, second: Array, rounds: int = 50) -> float:
    """The share of `first` (log P, (N,)) in a mixture with `second` that makes a text most probable.

    Found by expectation maximisation, as Jelinek and Mercer (1980) did for n-grams of several lengths.
    """
    share = 0.5
    for _ in range(rounds):
        both = mixed((first, second), (share, 1 - share))
        share = float(np.exp(first + math.log(share) - both).mean())
        if not 1e-6 < share < 1 - 1e-6:
            break
    return min(max(share, 0.0), 1.0)


def followed(parts: Sequence[Array], shares: Sequence[float]) -> Array:
    """The log P of a mixture whose `shares` go, after each symbol, a little towards what had predicted it."""
    return np.log(np.fromiter(_followed(np.exp(parts), list(shares)), float, len(parts[0])))


def _followed(p: Array, shares: list[float]) -> Iterator[float]:
    for row in p.T.tolist():
        weighted = [share * q for share, q in zip(shares, row, strict=True)]
        total = sum(weighted)
        yield total
        shares = [s + FOLLOWING * (w / total - s) for s, w in zip(shares, weighted, strict=True)]
