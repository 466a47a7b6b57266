"""A net of steps that begins at a trained model: its words and more, its pairs and more, labels of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from ..bundle import Bundle
from ..data.grams import find
from ..data.marks import UNKNOWN_ID, MarkTokenizer
from ..network import LSTM
from ..tasks.sentiment import Sentiment
from .corpus import Corpus, Numbers
from .steps import Shape, Steps

_SAME = {"neg": "negative", "pos": "positive"}


def sentiment(base: Bundle) -> Sentiment:
    """The task of a model that is a net of steps."""
    task = base.task
    assert isinstance(task, Sentiment)
    return task


def words_of(base: Bundle) -> tuple[str, ...]:
    """The words that a model knows, by id."""
    tokenizer = sentiment(base).tokenizer
    assert isinstance(tokenizer, MarkTokenizer)
    return tokenizer.words


def begin_shape(base: Bundle, shape: Shape) -> Shape:
    """`shape`, whose first words are the model's, with the model's pairs and sizes."""
    task = sentiment(base)
    lstm, size = task.network.layers[0], task.network.input_shape[1]
    assert isinstance(lstm, LSTM)
    assert size
    pairs = np.union1d(_pairs(task, shape.words), shape.pairs)
    return replace(
        shape, pairs=pairs, step=task.step, size=size, units=lstm.units, both_ways=lstm.bidirectional
    )


def _pairs(task: Sentiment, words: int) -> Numbers:
    """The model's pairs, numbered as among `words`."""
    old, before = task.arrays["pairs"].astype(np.int64), task.tokenizer.size
    return old // before * words + old % before


def begin(net: Steps, base: Bundle, labels: Sequence[str]) -> None:
    """Copy rows, LSTM and, where labels have the same names, the answers of a model into `net`.

    Other words begin as the model's unknown word, other pairs at nothing; pairs that `net` does not list are left out.
    """
    task, words = sentiment(base), net.shape.words
    a, before = task.arrays, task.tokenizer.size
    rows = torch.from_numpy(a["rows"] * (a["scale"].astype(np.float32) / 127)[:, None])
    answer = torch.from_numpy(_answers(task, labels))
    old = torch.cat([rows, torch.from_numpy(a["linear"].astype(np.float32)) @ answer.T], 1)
    net.rows[:] = 0
    net.rows[:words] = old[UNKNOWN_ID]
    net.rows[:before] = old[:before]
    place = torch.from_numpy(find(_pairs(task, words), net.shape.pairs))
    net.rows[words + place[place >= 0]] = old[before:][place >= 0]
    with torch.no_grad():
        for name, parameter in net.lstm.named_parameters():
            parameter.copy_(torch.from_numpy(base.weights[f"0.{name}"]))
        if answer.any():
            net.out.weight.copy_(answer @ torch.from_numpy(base.weights["2.weight"]))
            net.out.bias.copy_(answer @ torch.from_numpy(base.weights["2.bias"]))


def _answers(task: Sentiment, labels: Sequence[str]) -> NDArray[np.float32]:
    """How the model's outputs become those of a net with `labels`, (outputs, its outputs); zeros for other labels."""
    names = [plain(label) for label in task.labels]
    shared = np.array([[name == plain(label) for name in names] for label in labels], np.float32)
    classes = (
        np.array([[-0.5], [0.5]], np.float32) if len(names) == 2 else np.eye(len(names), dtype=np.float32)
    )
    found = shared @ classes / task.temperature
    if len(labels) == 2:
        found = (found[1:] - found[:1]) if shared.sum() == 2 else np.zeros_like(found[:1])
    return np.ascontiguousarray(found, np.float32)


def plain(label: str) -> str:
    """A label by the name that the models of the package use for it."""
    name = label.strip().lower()
    return _SAME.get(name, name)


def forget_unseen(net: Steps, corpus: Corpus) -> None:
    """Words that no text of `corpus` holds say nothing, rather than something drawn."""
    seen = np.bincount(corpus.ids, minlength=net.shape.words) > 0
    net.rows[: net.shape.words][torch.from_numpy(~seen)] = 0
