"""Counting: the probability of the next symbol from how often it followed the last few, without a network.

Modified Kneser-Ney smoothing (Chen and Goodman, "An empirical study of smoothing techniques for language modeling",
1999, after Kneser and Ney, 1995):

    p_n(w | h) = (c(h w) - D(c(h w))) / c(h) + m(h) / c(h) p_(n-1)(w | h without its first symbol)

with m(h) the sum of D(c(h w)) over all w, p_0 = 1 / V, D(0) = 0, and for each order D(1), D(2) and D(3 and more)
from how many n-grams were counted once, twice, three and four times. At the highest order c counts occurrences; below
it, how many different symbols an n-gram was seen behind.

Adaptive scoring adds the text already read to the counts, and `recent` is a cache: what stood in the last few
hundred symbols is expected again (Kuhn and De Mori, "A cache-based natural language model for speech
recognition", 1990).
All n-grams get exact numbers by sorting, so both kinds of scoring are a few array operations on the whole text.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np

Array = np.ndarray
FADING = 0.998
"""Of the cache: half of a symbol's weight is left after 350 others."""
USUAL = 0.75
"""What is taken from counts where a text does not say how much."""


class _Level(NamedTuple):
    """n-grams of one length, each with a number: its place among `keys`.

    keys (K,): ascending; the number of an n-gram's first n - 1 symbols, times V, plus its last symbol.
    counts (K,): c(h w).
    totals, taken: c(h) and m(h), by the number of h among the n-grams one shorter.
    discounts (4,): D of 0, 1, 2, and 3 and more.
    """

    keys: Array
    counts: Array
    totals: Array
    taken: Array
    discounts: Array

    def discount(self, counts: Array) -> Array:
        """D of each count."""
        return self.discounts[np.minimum(counts, 3)]


class NGram:
    """A counting model of a text.

    Args:
        tokens: ids (N,), the text.
        size: V, how many ids there are.
        order: the longest n-grams, in symbols.
    """

    def __init__(self, tokens: Array, size: int, order: int) -> None:
        self.tokens, self.size, self.order = np.asarray(tokens, np.int64), size, order

    @cached_property
    def levels(self) -> list[_Level]:
        """Counts of every length, from 1 to `order`."""
        keys: list[Array] = []
        numbers = [np.zeros(len(self.tokens), np.int64)]
        for _ in range(self.order):
            context = _shifted(numbers[-1]) if keys else numbers[-1]
            there = context >= 0
            ending = np.full(len(self.tokens), -1)
            found, ending[there] = np.unique(
                context[there] * self.size + self.tokens[there], return_inverse=True
            )
            keys.append(found)
            numbers.append(ending)
        levels, size = [], 1
        for found, ending, above in zip(keys, numbers[1:], [*numbers[2:], None], strict=True):
            counts = np.bincount(ending[_counted(ending, above)], minlength=len(found))
            context, discounts = found // self.size, _discounts(counts)
            totals = np.bincount(context, counts, size).astype(np.int64)
            taken = np.bincount(context, discounts[np.minimum(counts, 3)], size)
            levels.append(_Level(found, counts, totals, taken, discounts))
            size = len(found)
        return levels

    def next(self, context: Sequence[int] | Array) -> Array:
        """Probabilities (V,) of what follows `context`, of which the last `order` - 1 ids count."""
        p = np.full(self.size, 1 / self.size)
        context = np.asarray(context, np.int64)[max(0, len(context) - self.order + 1) :]
        for length, level in enumerate(self.levels[: len(context) + 1]):
            h = self._number(context[len(context) - length :])
            if h is None or not level.totals[h]:
                break
            begin, end = np.searchsorted(level.keys, (h * self.size, (h + 1) * self.size))
            p *= level.taken[h] / level.totals[h]
            followers, counts = level.keys[begin:end] - h * self.size, level.counts[begin:end]
            p[followers] += (counts - level.discount(counts)) / level.totals[h]
        return p

    def score(self, tokens: Array, *, adaptive: bool = False) -> Array:
        """Probability (N,) of each of `tokens` after those before it; the first after nothing.

        With `adaptive`, whatever stands before a token in `tokens` has been counted as if it were training text.
        """
        numbers = self._numbers(np.asarray(tokens, np.int64))
        p = np.full(len(tokens), 1 / self.size)
        context = np.zeros(len(tokens), np.int64)
        known = [len(level.keys) for level in self.levels[1:]]
        for level, ending, above, longer in zip(
            self.levels, numbers, [*numbers[1:], None], [*known, 0], strict=True
        ):
            pair, total, taken = (
                _at(counts, place)
                for counts, place in ((level.counts, ending), (level.totals, context), (level.taken, context))
            )
            if adaptive:
                flags = _counted(ending, above, known=longer).astype(np.int64)
                pair, total = pair + _before(ending, flags), total + _before(context, flags)
                taken = taken + _before(context, flags * (level.discount(pair + 1) - level.discount(pair)))
            mixed = pair - level.discount(pair) + taken * p
            p = np.where((total > 0) & (ending >= 0), mixed / np.maximum(total, 1), p)
            context = _shifted(ending)
        return p

    def _numbers(self, tokens: Array) -> list[Array]:
        """The n-gram of each length that ends at each place; those never counted get numbers from K on."""
        found: list[Array] = []
        context = np.zeros(len(tokens), np.int64)
        for level in self.levels:
            keys = np.where(context < 0, -1, context * self.size + tokens)
            place = np.searchsorted(level.keys, keys)
            known = np.append(level.keys, -2)[place] == keys
            new = ~known & (keys >= 0)
            place[keys < 0] = -1
            place[new] = len(level.keys) + np.unique(keys[new], return_inverse=True)[1]
            found.append(place)
            context = _shifted(place)
        return found

    def _number(self, gram: Array) -> int | None:
        """The number of an n-gram among those of its length; None if it was never seen."""
        number = 0
        for level, symbol in zip(self.levels, gram.tolist(), strict=False):
            key = number * self.size + symbol
            number = int(np.searchsorted(level.keys, key))
            if number == len(level.keys) or level.keys[number] != key:
                return None
        return number


def recent(tokens: Array, before: int) -> Array:
    """Probability (N,) of each token by what followed the same `before` symbols lately, 0 where nothing did.

    What stands k symbols back counts FADING^k.
    """
    p = np.zeros(len(tokens))
    ids: list[int] = np.asarray(tokens).tolist()
    weights: dict[tuple[int, ...], tuple[int, float]] = {}

    def weight(gram: tuple[int, ...], now: int) -> float:
        then, held = weights.get(gram, (now, 0.0))
        return held * FADING ** (now - then)

    for now in range(before, len(ids)):
        gram = tuple(ids[now - before : now + 1])
        seen, whole = weight(gram, now), weight(gram[:-1], now)
        p[now] = seen / whole if whole else 0.0
        weights[gram], weights[gram[:-1]] = (now, seen + 1), (now, whole + 1)
    return p


def _shifted(numbers: Array) -> Array:
    """What stands before each place; before the first, nothing (-1)."""
    return np.concatenate([[-1], numbers[:-1]])[: len(numbers)]


def _at(counts: Array, places: Array) -> Array:
    """Counts by number, zero for numbers beyond them and for -1."""
    inside = (places >= 0) & (places < len(counts))
    return np.append(counts, 0)[np.where(inside, places, -1)]


def _counted(numbers: Array, above: Array | None, known: int = 0) -> Array:
    """The places that count: all at the highest order; below it those where the n-gram one longer is a new one.

    Args:
        numbers: (N,) the n-grams that end at each place.
        above: (N,) the n-grams one longer, or None at the highest order.
        known: how many of the longer ones were counted before.
    """
    if above is None:
        return numbers >= 0
    return (numbers >= 0) & ((above < 0) | ((above >= known) & _first(above, above >= 0)))


def _first(numbers: Array, flags: Array) -> Array:
    """Where, among the flagged places, a number stands for the first time."""
    places = np.flatnonzero(flags)
    found = np.zeros(len(numbers), bool)
    found[places[np.unique(numbers[places], return_index=True)[1]]] = True
    return found


def _before(groups: Array, amounts: Array) -> Array:
    """The sum of the amounts that stand before each place in the same group."""
    order = np.argsort(groups, kind="stable")
    exclusive = np.cumsum(amounts[order]) - amounts[order]
    begins = np.concatenate([[True], np.diff(groups[order]) != 0])[: len(order)]
    found = np.empty_like(exclusive)
    found[order] = exclusive - exclusive[begins][np.cumsum(begins) - 1]
    return found


def _discounts(counts: Array) -> Array:
    """D(0) to D(3): with Y = n_1 / (n_1 + 2 n_2), D(i) = i - (i + 1) Y n_(i+1) / n_i, but at least 0.1.

    Where rare n-grams are not the more the rarer they are, the text says little about them: then USUAL serves for all.
    """
    n = [np.count_nonzero(counts == i) for i in range(5)]
    if not n[1] > n[2] > n[3] > n[4] > 0:
        return np.array([0.0, USUAL, USUAL, USUAL])
    y = n[1] / (n[1] + 2 * n[2])
    return np.array([0.0, *(max(i - (i + 1) * y * n[i + 1] / n[i], 0.1) for i in (1, 2, 3))])
