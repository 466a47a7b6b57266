"""Sentiment: a text in, a label and its probability out. Also any other classification of texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..data import sequence
from ..data.text import Tokenizer, Vocabulary
from ..errors import BundleError, DataError
from ..network import Dense, Embedding, Network, SimpleRNN
from . import Task


@dataclass(frozen=True)
class Sentiment(Task):
    """A classifier that reads the last `maxlen` words of a text.

    Attributes:
        labels: names of the classes; with two, the network has one output, the probability of the second.
        tokenizer: splits texts into words and knows their ids.
        network: its layers; they read `maxlen` token ids.
    """

    name: ClassVar[str] = "sentiment"
    labels: tuple[str, ...]
    tokenizer: Tokenizer
    network: Network

    @classmethod
    def learn(
        cls,
        inputs: Sequence[str],
        targets: Sequence[str],
        *,
        num_words: int = 10_000,
        maxlen: int = 500,
        embedding: int = 64,
        units: int = 32,
    ) -> Sentiment:
        """Labels and vocabulary from the training examples; the lesson's network.

        Raises:
            DataError: fewer than two different labels, or no word at all.
        """
        labels = _order(set(targets))
        if len(labels) < 2:
            raise DataError(
                f"Every example has the same label, {list(labels)}; a classifier needs at least two. "
                "Check that the label column is the right one."
            )
        vocabulary = Vocabulary.build(inputs, num_words=num_words)
        if not vocabulary.words:
            raise DataError(
                "The training texts hold no words at all. Check that the text column is the right one."
            )
        output = Dense(1, "sigmoid") if len(labels) == 2 else Dense(len(labels), "softmax")
        layers = (Embedding(vocabulary.size, embedding), SimpleRNN(units), output)
        return cls(labels, Tokenizer(vocabulary), Network(layers, (maxlen,)))

    @property
    def training_loss(self) -> str:
        """Cross-entropy for one output or several."""
        return "binary_crossentropy" if len(self.labels) == 2 else "sparse_categorical_crossentropy"

    def encode(self, inputs: Sequence[str]) -> list[np.ndarray]:
        """Texts as ids, one int32 array each."""
        return self.tokenizer.encode(inputs)

    def pad(self, sequences: Sequence[np.ndarray]) -> np.ndarray:
        """The last `maxlen` ids of each, zeros in front: (B, maxlen)."""
        return sequence.pad_sequences(sequences, maxlen=self.network.input_shape[0])

    def targets(self, labels: Sequence[str]) -> np.ndarray:
        """Positions in `labels`, (N,) int64."""
        position = {label: i for i, label in enumerate(self.labels)}
        for label in labels:
            if label not in position:
                raise DataError(
                    f"The label '{label}' does not occur in training. Known: {', '.join(self.labels)}."
                )
        return np.array([position[label] for label in labels], dtype=np.int64)

    def probabilities(self, outputs: np.ndarray) -> np.ndarray:
        """(B, 1) or (B, K) outputs to (B, K), rows summing to 1."""
        p = np.asarray(outputs, dtype=np.float64)
        return np.concatenate([1 - p, p], axis=-1) if p.shape[-1] == 1 else p / p.sum(-1, keepdims=True)

    def status(self, sequence: np.ndarray) -> str:
        """Whether a text can be judged: "empty" without a word, "unknown_words" without a known one, else "ok"."""
        known = self.tokenizer.vocabulary
        words = sequence[int(self.tokenizer.start_id is not None) :]
        if not len(words):
            return "empty"
        return "ok" if (words != known.unknown_id).any() else "unknown_words"

    def settings(self) -> dict[str, Any]:
        """Labels and words."""
        return {"labels": list(self.labels), "tokenizer": self.tokenizer.to_dict()}

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any], network: Network) -> Sentiment:
        """The classifier that `settings` described."""
        labels = settings.get("labels")
        if (
            not isinstance(labels, list)
            or len(labels) < 2
            or not all(isinstance(label, str) for label in labels)
        ):
            raise BundleError(
                f"'labels' must be a list of at least two texts, but it is {labels!r}. Train again."
            )
        tokenizer = Tokenizer.from_dict(settings.get("tokenizer", {}))
        first, outputs = network.layers[0], network.shapes()[-1][-1]
        size = tokenizer.vocabulary.size
        if not isinstance(first, Embedding) or first.input_dim != size:
            raise BundleError(f"The first layer is {first}, but an embedding of {size} ids was expected.")
        if outputs != (1 if len(labels) == 2 else len(labels)):
            raise BundleError(f"The network has {outputs} outputs, which does not fit {len(labels)} labels.")
        return cls(tuple(labels), tokenizer, network)


def _order(labels: set[str]) -> tuple[str, ...]:
    # Known scales run from bad to good, so that the last label's probability is the one to follow while reading.
    scale = ["neg", "negative", "neutral", "pos", "positive"]
    return tuple(
        sorted(
            labels, key=lambda label: (scale.index(label.lower()) if label.lower() in scale else -1, label)
        )
    )
