"""Sentences from a trained `network.CaptionDecoder` on NumPy and the engine: greedy, drawn at random, by beam search.

P pictures, k sentences each, side by side, N = P k; R regions of D features; V words. Every product is taken picture
by picture, so that a picture's words do not depend on what else is in the batch. Two rules hold for every way of
decoding: a sentence has at least one word, and no word stands twice in a row nor any three words twice in a sentence
(Paulus et al., "A deep reinforced model for abstractive summarization", 2018, section 2.5).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from . import kernels
from .errors import UsageError
from .kernels.stepper import State, Stepper
from .network import END, PAD, PARTS, UNKNOWN, CaptionDecoder, Network

Array = np.ndarray
Choose = Callable[[Array], Array]
NEVER = np.float32(-np.inf)


@dataclass(frozen=True)
class Sentence:
    """A sentence as word ids, without END.

    Attributes:
        ids: of its words.
        log_probability: of all of it, END included, in nats.
    """

    ids: tuple[int, ...]
    log_probability: float

    @property
    def confidence(self) -> float:
        """Mean probability per word, END included: the geometric mean exp(log p / n), 0 to 1."""
        return float(np.exp(self.log_probability / (len(self.ids) + 1)))

    def score(self, length_penalty: float) -> float:
        """What beam search maximises: log p / n^length_penalty, n the number of words with END."""
        return self.log_probability / float(len(self.ids) + 1) ** length_penalty


class Seen(NamedTuple):
    """What is computed once a picture: p (P, E), states (P, H), values (P, heads, R, d), keys (P, heads, d, R)."""

    picture: Array
    states: tuple[Array, ...]
    values: Array | None
    keys: Array | None

    def take(self, rows: Array) -> Seen:
        """Some of the pictures."""
        parts = [None if part is None else part[rows] for part in (self.values, self.keys)]
        return Seen(self.picture[rows], tuple(state[rows] for state in self.states), *parts)


class Decoder:
    """A caption decoder with its weights, ready to say what is in pictures.

    Args:
        network: the one layer.
        weights: by the names of `network.weight_shapes()`, float32.

    Raises:
        BundleError: the weights are not this network's.
    """

    def __init__(self, network: Network, weights: Mapping[str, Array]) -> None:
        network.check(weights)
        (layer,) = network.layers
        assert isinstance(layer, CaptionDecoder)
        self.layer = layer
        self._w = {name.removeprefix("0."): np.asarray(value) for name, value in weights.items()}
        self._vectors = self._w["words"] * np.float32(np.sqrt(layer.embedding))
        self._stepper = Stepper(tuple(self._w[f"{part}_l0"] for part in PARTS))
        # Row by column, as BLAS reads it fastest; marks but END are never said.
        self._across = {name: np.ascontiguousarray(w.T) for name, w in self._w.items() if w.ndim == 2}
        self._bias = self._w["words_bias"].copy()
        self._bias[[PAD, UNKNOWN]] = NEVER

    def look(self, regions: Array) -> Seen:
        """Regions (P, R, D) of any float type, once for all steps."""
        regions = np.asarray(regions, np.float32)
        picture = self._product(regions.mean(1, keepdims=True), "picture")  # (P, 1, E)
        states = tuple(np.tanh(self._product(picture, name))[:, 0] for name in self.layer.states)
        if not self.layer.heads:
            return Seen(picture[:, 0], states, None, None)
        values = self._product(regions, "value")
        centred = values - values.mean(-1, keepdims=True)
        values = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + np.float32(1e-5))
        values = np.maximum(values * self._w["norm_weight"] + self._w["norm_bias"], 0)
        keys = self._heads(self._product(values, "key"))
        scaled = keys.swapaxes(-1, -2) / np.float32(np.sqrt(keys.shape[-1]))
        return Seen(picture[:, 0], states, self._heads(values), np.ascontiguousarray(scaled))

    def sentences(
        self, regions: Array, *, num_beams: int = 3, max_length: int = 20, length_penalty: float = 0.7,
        number: int = 1,
    ) -> list[list[Sentence]]:  # fmt: skip
        """The best sentences of each picture, best first, by beam search; with one beam, greedily.

        Each step keeps the `num_beams` most probable beginnings of a picture. Every one of them may end at every step,
        and a picture is done when no beginning can overtake the sentences found.

        Args:
            regions: (P, R, D).
            num_beams: k.
            max_length: words of a sentence at most.
            length_penalty: a of log p / n^a, by which sentences of different lengths are compared.
            number: of sentences a picture; at most `num_beams`.
        """
        _check(num_beams=num_beams, max_length=max_length, number=number)
        if number > num_beams:
            raise UsageError(f"{number} sentences were asked of {num_beams} beams; give at least as many beams.")
        if num_beams == 1:
            return [[one] for one in self._drawn(regions, lambda logp: logp.argmax(-1), max_length)]
        search = _Beams(self, regions, num_beams, length_penalty, number)
        for step in range(max_length + 1):
            if not search.advance(step, max_length):
                break
        return search.found

    def sample(
        self, regions: Array, *, max_length: int = 20, temperature: float = 1.0, top_p: float = 1.0, seed: int = 0
    ) -> list[Sentence]:
        """One sentence a picture (P, R, D), drawn word by word from softmax(scores / temperature).

        With `top_p` among the most probable words that together have this probability: Holtzman et al., "The curious
        case of neural text degeneration" (2020). The same seed draws the same sentence for a picture, whatever else is
        in the batch.
        """
        _check(max_length=max_length)
        if not 0 < top_p <= 1:
            raise UsageError(f"top_p is {top_p}; it must be above 0 and at most 1.")
        if not temperature > 0:
            raise UsageError(f"temperature is {temperature}; it must be greater than 0.")
        drawn = [np.random.default_rng(seed) for _ in regions]

        def choose(logp: Array) -> Array:
            chance = np.exp(logp.astype(np.float64) / temperature)
            ordered = -np.sort(-chance, -1)
            inside = ordered.cumsum(-1) - ordered < top_p * ordered.sum(-1, keepdims=True)
            edge = np.where(chance < ordered.min(-1, where=inside, initial=np.inf)[:, None], 0, chance).cumsum(-1)
            uniform = np.array([rng.random() for rng in drawn])
            found = [np.searchsorted(row, u * row[-1], "right") for row, u in zip(edge, uniform, strict=True)]
            return np.array(found)

        return self._drawn(regions, choose, max_length)

    def attention(self, regions: Array, sentence: Sentence) -> Array | None:
        """Where the network looked before each word of a sentence on one picture (R, D).

        Returns:
            (words, heads, R), each row summing to 1; None of a decoder without heads.
        """
        seen = self.look(np.asarray(regions)[None])
        if seen.keys is None:
            return None
        words = np.array([END, *sentence.ids[:-1]])
        x = (self._vectors[words] + seen.picture)[:, None]
        w_ih, w_hh, b_ih, b_hh = (self._w[f"{part}_l0"] for part in PARTS)
        if self.layer.cell == "lstm":
            h, _ = kernels.lstm(x, w_ih, w_hh, b_ih, b_hh, (seen.states[0], seen.states[1]))
        else:
            h, _ = kernels.gru(x, w_ih, w_hh, b_ih, b_hh, seen.states[0])
        query = self._heads(self._product(h.swapaxes(0, 1), "query"))
        return _softmax(query @ seen.keys)[0].swapaxes(0, 1)

    def start(self, seen: Seen, each: int) -> State:
        """The state before the first word, k = `each` rows a picture."""
        return self._stepper.state(*(np.repeat(state, each, 0)[None] for state in seen.states))

    def moved(self, state: State, rows: Array) -> State:
        """Some rows of a state, in another order."""
        return self._stepper.state(*(part[:, rows] for part in (state.h, state.c) if part is not None))

    def step(self, words: Array, state: State, seen: Seen) -> tuple[Array, State]:
        """Log-probabilities (P, k, V) of the words after `words` (P, k), and the next state."""
        x = self._vectors[words] + seen.picture[:, None]
        state = self._stepper.step(x.reshape(-1, x.shape[-1]), state)
        h = state.output.reshape(*words.shape, -1)
        parts = [h, x]
        if seen.keys is not None:
            weights = _softmax(self._heads(self._product(h, "query")) @ seen.keys)
            parts.insert(1, (weights @ seen.values).swapaxes(1, 2).reshape(*words.shape, -1))
        o = np.tanh(self._product(np.concatenate(parts, -1), "output"))
        z = o @ self._across["words"] + self._bias
        z -= z.max(-1, keepdims=True)
        z -= np.log(np.exp(z).sum(-1, keepdims=True))
        return z, state

    def _drawn(self, regions: Array, choose: Choose, max_length: int) -> list[Sentence]:
        """One sentence a picture, each word by `choose` from log-probabilities (P, V)."""
        seen, count = self.look(regions), len(regions)
        state, total, alive = self.start(seen, 1), np.zeros(count), np.ones(count, bool)
        words, said = np.full((count, 1), END), np.zeros((count, 0), np.int64)
        for step in range(max_length + 1):
            logp, state = self.step(words, state, seen)
            _forbid(logp, said[:, None])
            words = choose(logp[:, 0])[:, None] if step < max_length else np.full((count, 1), END)
            total += np.where(alive, logp[np.arange(count), 0, words[:, 0]], 0)
            alive &= words[:, 0] != END
            words[~alive] = END
            said = np.concatenate([said, words], 1)
            if not alive.any():
                break
        return [
            Sentence(tuple(w for w in row if w != END), float(p)) for row, p in zip(said.tolist(), total, strict=True)
        ]

    def _product(self, x: Array, name: str) -> Array:
        y = x @ self._across[f"{name}_weight"]
        return y + self._w[f"{name}_bias"] if f"{name}_bias" in self._w else y

    def _heads(self, x: Array) -> Array:
        return x.reshape(*x.shape[:2], self.layer.heads, -1).swapaxes(1, 2)  # (P, heads, n, A / heads)


class _Beams:
    """The beginnings of the pictures that are not done yet, and the sentences found."""

    def __init__(self, decoder: Decoder, regions: Array, beams: int, penalty: float, number: int) -> None:
        self.decoder, self.beams, self.penalty, self.number = decoder, beams, penalty, number
        self.seen, count = decoder.look(regions), len(regions)
        self.found: list[list[Sentence]] = [[] for _ in range(count)]
        self._which = np.arange(count)
        self._state = decoder.start(self.seen, beams)
        self._said = np.zeros((count, beams, 0), np.int64)
        self._logp = np.full((count, beams), NEVER)
        self._logp[:, 0] = 0  # all begin alike: one of them is enough

    def advance(self, step: int, last: int) -> bool:
        """One step of all; whether anything is left to do."""
        words = self._said[..., -1] if step else np.full(self._logp.shape, END)
        scores, self._state = self.decoder.step(words, self._state, self.seen)
        _forbid(scores, self._said)
        scores += self._logp[..., None]
        if step:
            self._end(scores[..., END])
        scores[..., END] = NEVER
        flat = scores.reshape(len(scores), -1)
        top = np.argpartition(-flat, self.beams - 1, -1)[:, : self.beams]
        order = np.lexsort((top, -np.take_along_axis(flat, top, -1)))
        top = np.take_along_axis(top, order, -1)
        self._logp = np.take_along_axis(flat, top, -1)
        parent, word = np.divmod(top, scores.shape[-1])
        said = np.take_along_axis(self._said, parent[..., None], 1)
        self._said = np.concatenate([said, word[..., None]], -1)
        return step < last and self._keep(parent, last)

    def _end(self, logp: Array) -> None:
        """Every beginning as a whole sentence, logp (P, k) with its END."""
        for i, picture in enumerate(self._which):
            ended = [
                Sentence(tuple(said), float(p))
                for said, p in zip(self._said[i].tolist(), logp[i], strict=True)
                if np.isfinite(p)
            ]
            found = sorted(self.found[picture] + ended, key=lambda one: -one.score(self.penalty))
            self.found[picture] = found[: self.number]

    def _keep(self, parent: Array, last: int) -> bool:
        """Go on with the pictures of which a beginning may still overtake what was found."""
        hope = self._logp[:, 0] / float(last + 1) ** self.penalty
        going = np.array([
            len(self.found[p]) < self.number or hope[i] > self.found[p][-1].score(self.penalty)
            for i, p in enumerate(self._which)
        ])  # fmt: skip
        rows = (np.arange(len(parent))[:, None] * self.beams + parent)[going].reshape(-1)
        self._state = self.decoder.moved(self._state, rows)
        if not going.all():
            self._which, self.seen = self._which[going], self.seen.take(going)
            self._said, self._logp = self._said[going], self._logp[going]
        return bool(going.any())


def _forbid(logp: Array, said: Array) -> None:
    """In `logp` (P, k, V), after `said` (P, k, t): no END first, no word twice in a row, no three words twice."""
    if not said.shape[-1]:
        logp[..., END] = NEVER
        return
    np.put_along_axis(logp, np.where(said[..., -1:] == END, PAD, said[..., -1:]), NEVER, -1)
    if said.shape[-1] > 2:
        again = (said[..., :-2] == said[..., -2, None]) & (said[..., 1:-1] == said[..., -1, None])
        p, k, t = np.nonzero(again & (said[..., 2:] != END))
        logp[p, k, said[p, k, t + 2]] = NEVER


def _softmax(x: Array) -> Array:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def _check(**numbers: int) -> None:
    for name, value in numbers.items():
        if value < 1:
            raise UsageError(f"{name} is {value}; it must be at least 1.")
