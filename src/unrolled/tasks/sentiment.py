"""Sentiment: a text in, a label and its probability out. Also any other classification of texts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np

from ..data import sequence
from ..data.grams import Grams
from ..data.marks import UNKNOWN_ID, MarkTokenizer
from ..data.sequence import Sequences
from ..data.text import Tokenizer, Vocabulary
from ..errors import BundleError, DataError
from ..kernels.gated_reference import sigmoid
from ..kernels.reading import RowTable
from ..network import LSTM, Dense, Embedding, Network, Pooling, Shape, SimpleRNN, check_arrays
from ..runtime import Runtime
from . import Task

LEAST_KNOWN = 0.5
"""Share of a text's words that a model must know, or the text is in another language, or in none."""


@dataclass(frozen=True)
class Sentiment(Task):
    """A classifier of texts.

    The network of the lesson reads the last `maxlen` words. Those of other models read the whole text in steps of a
    few tokens: `arrays` holds rows for tokens and listed pairs of them (`kernels.reading.RowTable`). With z_net what
    the network makes of the steps, n the number of tokens and w the rows' weights,

        z = z_net + n^-1/2 sum w,    p = sigmoid(z / temperature), or softmax.

    Where `arrays` holds weights v of runs of one to three tokens (`data.grams`), z has also the sum of v over the
    different runs of the text.

    Attributes:
        labels: names of the classes; with two, the network has one output, the probability of the second.
        tokenizer: splits texts into words and knows their ids.
        network: its layers; they read `maxlen` token ids, or steps.
        step: tokens a step; 0: the network reads token ids.
        temperature: Guo et al., "On calibration of modern neural networks" (2017); fitted on examples held out.
    """

    name: ClassVar[str] = "sentiment"
    labels: tuple[str, ...]
    tokenizer: Tokenizer | MarkTokenizer
    network: Network
    step: int = 0
    temperature: float = 1.0
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict, compare=False)

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
        labels = classes(targets)
        vocabulary = Vocabulary.build(inputs, num_words=num_words)
        if not vocabulary.words:
            raise no_words()
        output = Dense(1, "sigmoid") if len(labels) == 2 else Dense(len(labels), "softmax")
        layers = (Embedding(vocabulary.size, embedding), SimpleRNN(units), output)
        return cls(labels, Tokenizer(vocabulary), Network(layers, (maxlen,)))

    @property
    def training_loss(self) -> str:
        """Cross-entropy for one output or several."""
        return "binary_crossentropy" if len(self.labels) == 2 else "sparse_categorical_crossentropy"

    @classmethod
    def of_steps(
        cls, labels: Sequence[str], tokenizer: MarkTokenizer, found: Mapping[str, np.ndarray], *, step: int,
        temperature: float = 1.0,
    ) -> tuple[Sentiment, dict[str, np.ndarray]]:  # fmt: skip
        """The task and the network's weights of a trained net of steps.

        Args:
            labels: of the classes.
            tokenizer: of the ids.
            found: pairs (M,), sorted numbers of listed pairs; rows.weight (V + M, D); rows.linear (V + M,) or
                (V + M, K); forward.weight_ih (4 H, D), forward.weight_hh (4 H, H), forward.bias (4 H,), and if it reads
                both ways the same of backward; out.weight (K, 2 H or 4 H) on the means, then the maxima; out.bias (K,).
                Optional: grams (G,), ascending numbers of runs, and gram_weights (G, K).
            step: tokens a step.
            temperature: that probabilities are computed with.
        """
        both, outputs = "backward.bias" in found, len(found["out.bias"])
        units, size = found["forward.weight_hh"].shape[1], found["rows.weight"].shape[1]
        lstm = LSTM(units, return_sequences=True, bidirectional=both)
        network = Network((lstm, Pooling(("mean", "max")), Dense(outputs)), (None, size))
        weights = {"2.weight": found["out.weight"], "2.bias": found["out.bias"]}
        for way, end in (("forward", "l0"), ("backward", "l0_reverse"))[: 1 + both]:
            weights |= {f"0.{part}_{end}": found[f"{way}.{part}"] for part in ("weight_ih", "weight_hh")}
            weights[f"0.bias_ih_{end}"] = found[f"{way}.bias"]
            weights[f"0.bias_hh_{end}"] = np.zeros_like(found[f"{way}.bias"])
        scale = np.maximum(np.abs(found["rows.weight"]).max(1), 1e-6).astype(np.float16)
        rows = np.rint(found["rows.weight"] / scale.astype(np.float32)[:, None] * 127).clip(-127, 127)
        arrays = {
            "rows": rows.astype(np.int8), "scale": scale, "pairs": found["pairs"].astype(np.uint32),
            "linear": found["rows.linear"].reshape(len(rows), -1).astype(np.float16),
        }  # fmt: skip
        if "grams" in found:
            arrays |= {
                "grams": found["grams"].astype(np.uint64),
                "gram_weights": found["gram_weights"].astype(np.float16),
            }
        task = cls(tuple(labels), tokenizer, network, step, temperature).with_arrays(arrays)
        return task, {name: np.ascontiguousarray(w, np.float32) for name, w in weights.items()}

    def with_arrays(self, arrays: Mapping[str, np.ndarray]) -> Sentiment:
        """The same task with its rows: int8, scales and weights float16, pairs uint32, runs uint64."""
        size, outputs = self.network.input_shape[-1], self.network.shapes()[-1][-1]
        kinds: dict[str, tuple[Shape, str]] = {
            "rows": ((None, size), "int8"), "scale": ((None,), "float16"), "linear": ((None, outputs), "float16"),
            "pairs": ((None,), "uint32"),
        }  # fmt: skip
        if "grams" in arrays:
            kinds |= {
                "grams": ((None,), "uint64"),
                "gram_weights": ((len(arrays["grams"]), outputs), "float16"),
            }
        check_arrays(arrays, kinds if self.step else {})
        if self.step and len(arrays["rows"]) != self.tokenizer.size + len(arrays["pairs"]):
            raise BundleError(
                f"There are {len(arrays['rows'])} rows for {self.tokenizer.size} words "
                f"and {len(arrays['pairs'])} pairs."
            )
        return replace(self, arrays=dict(arrays))

    @cached_property
    def rows(self) -> RowTable:
        """The rows as the engine reads them."""
        a = self.arrays
        return RowTable(a["rows"], a["scale"].astype(np.float32) / 127, a["linear"], a["pairs"], self.step)

    @cached_property
    def grams(self) -> Grams | None:
        """The weights of runs of tokens, if there are any."""
        a = self.arrays
        if "grams" not in a:
            return None
        return Grams(a["grams"].astype(np.int64), a["gram_weights"].astype(np.float32), self.tokenizer.size)

    def scores(self, run: Runtime, sequences: Sequence[np.ndarray]) -> np.ndarray:
        """Probabilities (B, K), float64, of encoded texts."""
        if not self.step:
            return super().scores(run, sequences)
        rows = Sequences.of(sequences)
        order = np.argsort(-rows.lengths, kind="stable")
        if (np.diff(order) != 1).any():
            rows = rows.take(order)
        tokens, z = rows.lengths, np.empty((len(rows), self.rows.sums))
        edges = [0, *(np.flatnonzero(np.diff(tokens // 512)) + 1).tolist(), len(rows)]
        for low, high in pairwise(edges):  # of like lengths: little room
            some = rows[low:high]
            read = self.rows.read(some.ids, some.offsets)
            root = np.sqrt(np.maximum(tokens[low:high], 1))
            z[order[low:high]] = run(read.x, read.lengths) + read.weights / root[:, None]
        if self.grams is not None:
            z[order] += self.grams.sums(rows)
        z = z / self.temperature
        return self.probabilities(sigmoid(z) if z.shape[1] == 1 else np.exp(z - z.max(1, keepdims=True)))

    def encode(self, inputs: Sequence[str]) -> Sequence[np.ndarray]:
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

    def trace(self, run: Runtime, sequence: np.ndarray) -> np.ndarray:
        """Probabilities (T, K) after each of the T ids, as the network reads on.

        A net of steps reads both ways, so it is asked for each beginning of the text.
        """
        if self.step:
            return self.scores(run, [sequence[: i + 1] for i in range(len(sequence))])
        return self.probabilities(run.trace(self.pad([sequence]))[0])[-len(sequence) :]

    @cached_property
    def spoken(self) -> np.ndarray:
        """Which ids are known words or symbols, rather than numbers, marks and special ids, (V,)."""
        if isinstance(self.tokenizer, MarkTokenizer):
            return self.tokenizer.says
        return np.arange(self.tokenizer.size) > self.tokenizer.vocabulary.index_from

    def status(self, sequence: np.ndarray) -> str:
        """Whether a text can be judged: "empty" without a word, "unknown_words" without a known one, else "ok"."""
        words = sequence[int(self.tokenizer.start_id is not None) :]
        if isinstance(self.tokenizer, MarkTokenizer):  # marks and numbers alone say nothing
            known, unknown = int(self.tokenizer.says[words].sum()), int((words == UNKNOWN_ID).sum())
            if not known + unknown:
                return "empty"
            return "ok" if known >= LEAST_KNOWN * (known + unknown) else "unknown_words"
        if not len(words):
            return "empty"
        return "ok" if (words != self.tokenizer.unknown_id).any() else "unknown_words"

    def settings(self) -> dict[str, Any]:
        """Labels and words; of a net of steps how many tokens a step has, and the temperature."""
        found = {"labels": list(self.labels), "tokenizer": self.tokenizer.to_dict()}
        return found | ({"step": self.step, "temperature": self.temperature} if self.step else {})

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
        if "step" in settings:
            return cls._of_steps(tuple(labels), settings, network)
        tokenizer = Tokenizer.from_dict(settings.get("tokenizer", {}))
        first, outputs = network.layers[0], network.shapes()[-1][-1]
        size = tokenizer.vocabulary.size
        if not isinstance(first, Embedding) or first.input_dim != size:
            raise BundleError(f"The first layer is {first}, but an embedding of {size} ids was expected.")
        if outputs != (1 if len(labels) == 2 else len(labels)):
            raise BundleError(f"The network has {outputs} outputs, which does not fit {len(labels)} labels.")
        return cls(tuple(labels), tokenizer, network)

    @classmethod
    def _of_steps(cls, labels: tuple[str, ...], settings: Mapping[str, Any], network: Network) -> Sentiment:
        step, temperature = settings["step"], settings.get("temperature")
        if type(step) is not int or step < 1 or not isinstance(temperature, float) or not temperature > 0:
            raise BundleError(
                f"'step' is {step!r} and 'temperature' {temperature!r}; expected a whole number and a number above 0."
            )
        if len(network.input_shape) != 2 or network.shapes()[-1] != (1 if len(labels) == 2 else len(labels),):
            raise BundleError(
                f"The network answers {network.shapes()[-1]}, which does not fit {len(labels)} labels."
            )
        return cls(labels, MarkTokenizer.from_dict(settings.get("tokenizer", {})), network, step, temperature)


def classes(labels: Iterable[str]) -> tuple[str, ...]:
    """Different labels in order: known scales from bad to good, so that the last label's probability is the one to
    follow while reading; others by the alphabet, before them.

    Raises:
        DataError: fewer than two.
    """
    scale = ["neg", "negative", "neutral", "pos", "positive"]
    found = sorted(
        set(labels), key=lambda label: (scale.index(label.lower()) if label.lower() in scale else -1, label)
    )
    if len(found) < 2:
        raise DataError(
            f"Every example has the same label, {found}; a classifier needs at least two. "
            "Check that the label column is the right one."
        )
    return tuple(found)


def no_words() -> DataError:
    """What to raise where training texts hold no word."""
    return DataError("The training texts hold no words at all. Check that the text column is the right one.")
