"""A classifier small enough to check by hand: each word pushes one number up or down, slowly forgotten."""

from __future__ import annotations

import numpy as np

from unrolled.bundle import Bundle
from unrolled.config import RunConfig
from unrolled.data.text import Tokenizer, Vocabulary
from unrolled.network import Dense, Embedding, Network, SimpleRNN
from unrolled.tasks.sentiment import Sentiment

PUSH = {"good": 0.5, "great": 0.8, "fine": 0.2, "film": 0.0, "bad": -0.5, "awful": -0.9}
MEMORY, SLOPE = 0.9, 4.0


def tiny_bundle(maxlen: int = 8) -> Bundle:
    """h_t = tanh(push(word_t) + 0.9 h_{t-1}), p(positive) = sigmoid(4 h_T); unknown words and the start push 0."""
    vocabulary = Vocabulary(list(PUSH))
    layers = (Embedding(vocabulary.size, 1), SimpleRNN(1), Dense(1, "sigmoid"))
    task = Sentiment(("negative", "positive"), Tokenizer(vocabulary), Network(layers, (maxlen,)))
    weights = {
        "0.weight": np.array([[0.0]] * 4 + [[push] for push in PUSH.values()], np.float32),
        "1.weight_ih": np.ones((1, 1), np.float32),
        "1.weight_hh": np.full((1, 1), MEMORY, np.float32),
        "1.bias": np.zeros(1, np.float32),
        "2.weight": np.full((1, 1), SLOPE, np.float32),
        "2.bias": np.zeros(1, np.float32),
    }
    return Bundle(task, weights, RunConfig(), "# A model made by hand\n", "tiny")


def logit(words: list[str], maxlen: int = 8) -> float:
    """The log-odds of "positive" by the formulas above, in float64."""
    h = 0.0
    for word in words[-maxlen:]:
        h = float(np.tanh(PUSH.get(word, 0.0) + MEMORY * h))
    return SLOPE * h
