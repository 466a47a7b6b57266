"""What trains the candidates of `own` on some rows of somebody's texts, and lets them answer others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..bundle import Bundle
from ..data.grams import Grams
from ..data.marks import SPECIAL, MarkTokenizer, count_tokens
from ..datasets import Examples
from ..errors import DataError
from ..tasks.sentiment import classes, no_words
from . import ngrams
from .begin import begin, begin_shape, forget_unseen, plain, words_of
from .corpus import Corpus, Numbers, fold_of, frequent_pairs
from .foresee import foresee
from .steps import Course, Reading, Shape, Steps, fit, linear_start

Logits = NDArray[np.float64]
FEW = 3_000
"""Up to so many rows each is held out once, in five folds; above, every sixth is held out and the others never."""
_GRAMS_READ = 12.0
"""Epochs of a net that take about as long as fitting n-grams."""


@dataclass(frozen=True)
class Plan:
    """What is tried, and its sizes.

    Attributes:
        start: the model of the package that a net may begin at; "" for none.
        grams: whether n-grams are tried.
        scratch: whether a net that begins at nothing is tried.
        step: tokens a step of that net; one that begins at a model has the model's sizes.
        size: numbers a row.
        units: of its LSTM.
        both_ways: whether that reads in both directions.
        guesses: passes in which it first guesses the words of the next step.
        words: new ones in the vocabulary at most.
        pairs: of neighbours at most.
        epochs: of a net.
        again: whether what was chosen is trained once more on all rows.
    """

    start: str = ""
    grams: bool = True
    scratch: bool = True
    step: int = 8
    size: int = 32
    units: int = 32
    both_ways: bool = False
    guesses: int = 0
    words: int = 30_000
    pairs: int = 100_000
    epochs: int = 3
    again: bool = True

    @classmethod
    def own(cls, examples: Examples) -> Plan:
        """For these rows: short texts in shorter steps, few rows more often, a start fit for labels and lengths.

        The rules are of thumb; what becomes of it is left to the rows held out.
        """
        rows, labels = max(1, len(examples)), {plain(label) for label in examples.labels or ()}
        short = np.median([0, *map(len, examples.texts)]) < 300
        start = "general" if short or "neutral" in labels else "reviews-small"
        epochs = int(np.clip(round(60 / (rows / 64) ** 0.5), 3, 20))
        return cls(start, step=4 if short else 8, epochs=epochs, again=rows <= 200_000)


FAST = Plan(size=64, units=64, both_ways=True)


class FittedGrams(NamedTuple):
    """n-grams, each class against the rest, and the constants."""

    grams: Grams
    bias: Logits
    corpus: Corpus

    def logits(self, rows: Numbers) -> Logits:
        """(M, outputs)."""
        texts = self.corpus.take(rows)
        return self.grams.sums(texts) + self.bias


class FittedNet(NamedTuple):
    """A net of steps with what it reads."""

    net: Steps
    reading: Reading

    def logits(self, rows: Numbers) -> Logits:
        """(M, outputs)."""
        return self.net.logits(self.reading, rows).reshape(len(rows), -1)


class Workshop:
    """Texts as ids, and their classes.

    Args:
        examples: texts with labels.
        plan: what is trained.
        unlabelled: more texts, for the vocabulary and for guessing words.
        seed: of folds, first weights and order.
        report: called with the work done and the whole.

    Raises:
        DataError: fewer than two classes, or no words.
    """

    def __init__(
        self, examples: Examples, plan: Plan, unlabelled: list[str], seed: int, report: Callable[[float, float], None]
    ) -> None:  # fmt: skip
        self.examples, self.plan, self.seed, self._report, self._done = examples, plan, seed, report, 0.0
        self.labels = classes(examples.labels or [])
        place = {label: k for k, label in enumerate(self.labels)}
        self.y = np.array([place[label] for label in examples.labels or []], np.int64)
        self.outputs = 1 if len(self.labels) == 2 else len(self.labels)
        self.base = Bundle.load(plan.start) if plan.start else None
        texts = [*examples.texts, *unlabelled]
        self.tokenizer = self._tokenizer(texts)
        self.corpus = Corpus.of(self.tokenizer.encode(texts))
        if not self.tokenizer.says[self.corpus.ids].any():
            raise no_words()
        self._readings: dict[bool, tuple[Shape, Reading]] = {}
        self.folds = self._folds()

    @property
    def names(self) -> list[str]:
        """Of the candidates; nets begin with "net"."""
        wanted = {
            "n-grams": self.plan.grams,
            "net": self.plan.scratch,
            f"net from {self.plan.start}": bool(self.base),
        }
        return [name for name, tried in wanted.items() if tried]

    def train(self, name: str, rows: Numbers, path: Path | None = None) -> FittedGrams | FittedNet:
        """The candidate `name`, trained on `rows`; a net goes on with what `steps.fit` kept in `path`."""
        return self.grams(rows) if name == "n-grams" else self.net(rows, begun=name != "net", path=path)

    def grams(self, rows: Numbers) -> FittedGrams:
        """n-grams fitted to `rows`."""
        texts, words = self.corpus.take(rows), self.tokenizer.size
        ones = [1] if self.outputs == 1 else range(self.outputs)
        fitted = [ngrams.fit(texts, self.y[rows] == k, words) for k in ones]
        self._count(_GRAMS_READ * len(rows))
        found = Grams(np.concatenate(fitted[0].keys), np.stack([model.weights for model in fitted], 1), words)
        return FittedGrams(found, np.array([model.bias for model in fitted]), self.corpus)

    def net(self, rows: Numbers, *, begun: bool, path: Path | None = None) -> FittedNet:
        """A net trained on `rows`, begun at the model of the package or at nothing; `path` as in `steps.fit`."""
        net, reading = self._first(begun)
        if not begun and not (path and path.exists()):
            texts = np.concatenate([rows, np.arange(len(self.y), len(self.corpus))])
            for _ in foresee(net, reading, texts, passes=self.plan.guesses):
                self._count(64 * len(rows) / len(texts))
            forget_unseen(net, self.corpus.take(texts))
            for output in range(self.outputs):
                linear_start(net, reading, rows, self.y == (output if self.outputs > 1 else 1), output=output)
        targets = self.y if self.outputs == 1 else np.eye(self.outputs)[self.y]
        fit(
            net, reading, targets.astype(np.float32), repeated(rows, self.y),
            Course(self.plan.epochs, 1e-3 if begun else 2e-3, self.seed + 1),
            report=lambda done, total, loss: self._count(100 * 64), path=path,
        )  # fmt: skip
        return FittedNet(net, reading)

    def _tokenizer(self, texts: list[str]) -> MarkTokenizer:
        """The words of the model to begin at, then those of the texts that occur twice (once where there are few)."""
        known = words_of(self.base) if self.base else SPECIAL
        before, least = set(known), 2 if len(texts) > 100 else 1
        new = [word for word, times in count_tokens(texts).items() if times >= least and word not in before]
        return MarkTokenizer((*known, *new[: self.plan.words]))

    def _folds(self) -> list[tuple[Numbers, Numbers]]:
        """Of each fold the rows to train on and the rows held out."""
        count, groups = len(self.y), self.examples.groups
        folds = min(5 if count <= FEW else 6, count, len(set(groups)) if groups else count)
        if folds < 2:
            raise DataError(
                "All rows belong to one group, so that none can be held out. Leave --split-by out."
            )
        if groups:
            fold = fold_of(groups, folds, self.seed)
        else:  # of each class as many in every fold
            order = np.random.default_rng(self.seed).permutation(count)
            fold = np.empty(count, np.int64)
            fold[order[np.argsort(self.y[order], kind="stable")]] = np.arange(count) % folds
        used = range(folds) if count <= FEW else range(1)
        pairs = [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in used]
        return [pair for pair in pairs if len(pair[0]) and len(pair[1])]

    def _first(self, begun: bool) -> tuple[Steps, Reading]:
        plan, words = self.plan, self.tokenizer.size
        if begun not in self._readings:
            pairs = frequent_pairs(self.corpus, plan.pairs, words, least=2)
            shape = Shape(words, pairs, plan.step, plan.size, plan.units, plan.both_ways, self.outputs)
            if begun and self.base:
                shape = begin_shape(self.base, shape)
            self._readings[begun] = shape, Reading(self.corpus, shape)
        shape, reading = self._readings[begun]
        net = Steps(shape, self.seed + 1)
        if begun and self.base:
            begin(net, self.base, self.labels)
        return net, reading

    def _count(self, work: float) -> None:
        plan = self.plan
        each = _GRAMS_READ * plan.grams + plan.epochs * (plan.scratch + bool(self.base)) + plan.guesses
        rounds = sum(len(training) for training, _ in self.folds) + plan.again * len(self.y)
        self._done += work
        self._report(self._done, max(self._done, each * rounds))


def repeated(rows: Numbers, y: Numbers) -> Numbers:
    """Rows of rare classes several times: of a class n times rarer than the most frequent one sqrt(n) times."""
    counts = np.bincount(y[rows])
    times = np.rint(np.sqrt(counts.max() / np.maximum(counts, 1))).astype(np.int64)
    return np.repeat(rows, times[y[rows]])
