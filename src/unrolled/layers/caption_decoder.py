"""The decoder of captions in torch: whole sentences at once, or a word a step to draw sentences.

P pictures, k sentences each, N = P k, R regions, T steps, M words of all sentences together.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, embedding, layer_norm, linear

from .. import network as net
from ..cells import Weights
from ..cells.gru import GRU
from ..cells.lstm import LSTM
from ..kernels.recurrent import Plan
from . import Executed, Rows, products
from ._gated import through_time


class Sentences(NamedTuple):
    """Pictures and what was said of them.

    Attributes:
        regions: (P, R, D).
        words: (N, T) int64, the word before each: END, then the sentence; k rows a picture, side by side.
        lengths: (N,) int64, of the sentences with their END.
    """

    regions: Tensor
    words: Tensor
    lengths: Tensor


class Seen(NamedTuple):
    """What is computed once a picture: p (P, E), first states (P, H) each, and with attention v and k (P, R, A)."""

    picture: Tensor
    states: tuple[Tensor, ...]
    values: Tensor | None
    keys: Tensor | None


class CaptionDecoder(Executed):
    """`network.CaptionDecoder` in torch.

    Attributes:
        half: whether products are in bfloat16; the cell's loop, sums and weights stay in float32.
    """

    half = False

    def __init__(self, layer: net.CaptionDecoder, shape: net.Shape) -> None:
        super().__init__(layer, shape)
        for name, sizes in layer.weight_shapes(shape).items():
            self.register_parameter(name, nn.Parameter(torch.empty(sizes)))
        self.layer, self.loud = layer, math.sqrt(layer.embedding)
        self.cell = LSTM() if layer.cell == "lstm" else GRU()

    def logits(self, x: Sentences | Tensor | Rows, lengths: Tensor | None = None) -> Tensor:
        """Scores (M, words) of the next word after each word of each sentence, sentence by sentence."""
        assert isinstance(x, Sentences)
        with products(self.half):
            return self._logits(x).float()

    def _logits(self, x: Sentences) -> Tensor:
        seen, each = self.look(x.regions), len(x.words) // len(x.regions)
        inputs = self._drop(embedding(x.words, self.words) * self.loud)  # (N, T, E)
        inputs = inputs + seen.picture.repeat_interleave(each, 0)[:, None]
        states = [state.repeat_interleave(each, 0) for state in seen.states]
        h = self._over_time(inputs.transpose(0, 1), states, x.lengths).transpose(0, 1)  # (N, T, H)
        attended = self.attend(h.reshape(len(x.regions), -1, h.shape[-1]), seen)
        there = torch.arange(h.shape[1]) < x.lengths[:, None]
        parts = [h[there], inputs[there]]
        if attended is not None:
            parts.insert(1, attended[0].reshape(*there.shape, -1)[there])
        return self.scores(*parts)

    def look(self, regions: Tensor) -> Seen:
        """Regions (P, R, D) once for all sentences."""
        # The same features of all regions are left out: cheaper, and neighbours would tell them otherwise.
        kept = dropout(regions.new_ones(len(regions), 1, regions.shape[-1]), self.layer.picture_dropout, self.training)
        regions = regions * kept
        mean = regions.mean(1)
        picture = linear(mean, self.picture_weight, self.picture_bias).float()
        states = tuple(
            torch.tanh(linear(picture, getattr(self, f"{name}_weight"), getattr(self, f"{name}_bias")).float())
            for name in self.layer.states
        )
        values = keys = None
        if self.layer.heads:
            values = linear(regions, self.value_weight, self.value_bias)
            values = layer_norm(values, values.shape[-1:], self.norm_weight, self.norm_bias).relu()
            keys = linear(values, self.key_weight)
        return Seen(picture, states, values, keys)

    def attend(self, h: Tensor, seen: Seen) -> tuple[Tensor, Tensor] | None:
        """What states h (P, n, H) look at: (P, n, A), and the weights (P, heads, n, R); None without heads."""
        if seen.values is None or seen.keys is None:
            return None
        query, keys, values = (self._heads(x) for x in (linear(h, self.query_weight), seen.keys, seen.values))
        weights = (query @ keys.transpose(-1, -2) / math.sqrt(query.shape[-1])).softmax(-1)
        return (weights @ values).transpose(1, 2).flatten(2), weights

    def scores(self, *parts: Tensor) -> Tensor:
        """Scores (M, words) from h, a (with attention) and x, (M, ...) each."""
        o = torch.tanh(linear(torch.cat(parts, -1), self.output_weight, self.output_bias))
        return linear(self._drop(o), self.words, self.words_bias)

    def step(self, word: Tensor, states: tuple[Tensor, ...], seen: Seen) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Scores (N, words) after `word` (N,), and the next states (N, H): k sentences a picture side by side."""
        each = len(word) // len(seen.picture)
        x = self.words[word] * self.loud + seen.picture.repeat_interleave(each, 0)
        states = self.cell.step(x, states, self._cell_weights())
        attended = self.attend(states[0].view(len(seen.picture), each, -1), seen)
        parts = [states[0], x] if attended is None else [states[0], attended[0].flatten(0, 1), x]
        return self.scores(*parts), states

    @torch.no_grad()
    def draw(self, regions: Tensor, each: int, longest: int, temperature: float = 1.0) -> Tensor:
        """Sentences (N, T) drawn from softmax(scores / temperature), `each` a picture: ids, END, then PAD.

        No sentence is empty or longer than `longest` words, and none holds a mark.
        """
        with products(self.half):
            seen, found = self.look(regions), list[Tensor]()
            states = tuple(state.repeat_interleave(each, 0) for state in seen.states)
            word = torch.full((len(regions) * each,), net.END)
            while len(found) < longest and (not found or bool((word > net.END).any())):
                scores, states = self.step(word.clamp(min=net.END), states, seen)
                scores = scores.float() / temperature
                scores[:, [net.PAD, net.UNKNOWN, *([] if found else [net.END])]] = -torch.inf
                edge = scores.softmax(-1).cumsum(-1)
                drawn = torch.searchsorted(edge, torch.rand(len(word), 1) * edge[:, -1:], right=True)[:, 0]
                going = word > net.END if found else torch.ones_like(word, dtype=torch.bool)
                word = torch.where(going, drawn.clamp(max=scores.shape[-1] - 1), net.PAD)
                found.append(word)
        ends = torch.where(word > net.END, net.END, net.PAD)  # those that were cut off at `longest`
        return torch.stack([*found, ends], 1)

    def _over_time(self, x: Tensor, states: list[Tensor], lengths: Tensor) -> Tensor:
        first = [state[None] for state in states]
        return through_time(Plan(self.layer.cell), self.cell, x, [self._cell_weights()], first, lengths)[0]

    def _cell_weights(self) -> Weights:
        return Weights(*(getattr(self, f"{part}_l0") for part in net.PARTS))

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.layer.heads, -1)).transpose(1, 2)  # (P, heads, n, A / heads)

    def _drop(self, x: Tensor) -> Tensor:
        return dropout(x, self.layer.dropout, self.training)
