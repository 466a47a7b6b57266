"""Does a network of reviews read their order? "If the words are not in a sequence ...", put to the test.

Notation: D reviews, V words, x (D, V) 1 where a review holds a word, w (V) weights, b a number.

    bag of words: p = 1 / (1 + e^-(w x + b)): whatever the order, the same answer
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..bundle import Bundle
from ..data.sequence import Sequences
from ..datasets import Examples, imdb
from ..drawing import line_plot
from . import Lesson, Narrator, option

NETWORKS = ("reviews", "reviews-small")
PAIRS = (
    ("It was not bad, it was good.", "It was not good, it was bad."),
    ("I thought it would be dull, but it was great.", "I thought it would be great, but it was dull."),
    ("Not boring, exciting.", "Not exciting, boring."),
    ("The plot is weak, but the film is wonderful.", "The plot is wonderful, but the film is weak."),
    ("Others hate it, I love it.", "Others love it, I hate it."),
    (
        "It starts badly and ends well: brilliant, not awful.",
        "It starts well and ends badly: awful, not brilliant.",
    ),
    ("No longer terrible, now superb.", "No longer superb, now terrible."),
    (
        "The critics were wrong to call it stupid, it is clever.",
        "The critics were wrong to call it clever, it is stupid.",
    ),
)
"""Of each pair the first is positive, the second negative, and both have the same words."""


WINDOWS = (1, 2, 8, 32, 0)


def sigmoid(z: np.ndarray) -> np.ndarray:
    """1 / (1 + e^-z)."""
    return 1 / (1 + np.exp(-np.clip(z, -30, 30)))


class Bag:
    """Logistic regression on which words a review holds: it cannot know where they stand."""

    def __init__(self, size: int) -> None:
        self.w, self.b = np.zeros(size), 0.0

    def answer(self, reviews: Sequences) -> np.ndarray:
        """Log-odds of "positive", (D,)."""
        return self._sums(*held(reviews), len(reviews))

    def learn(self, reviews: Sequences, truth: np.ndarray, updates: int, rate: float = 0.02) -> None:
        """Adam (Kingma & Ba 2015) on the cross-entropy of all reviews at once."""
        review, word = held(reviews)
        m, q = np.zeros(len(self.w)), np.zeros(len(self.w))
        for number in range(1, updates + 1):
            error = sigmoid(self._sums(review, word, len(reviews))) - truth  # (D,)
            slope = np.bincount(word, error[review], len(self.w)) / len(truth)  # (V,)
            m += 0.1 * (slope - m)
            q += 0.01 * (slope**2 - q)
            self.w -= rate * m / (1 - 0.9**number) / (np.sqrt(q / (1 - 0.99**number)) + 1e-8)
            self.b -= 2 * rate * error.mean()

    def _sums(self, review: np.ndarray, word: np.ndarray, count: int) -> np.ndarray:
        return np.bincount(review, self.w[word], count) + self.b


def held(reviews: Sequences) -> tuple[np.ndarray, np.ndarray]:
    """Which review holds which word: two arrays, each word of a review once."""
    ids = reviews.ids.astype(np.int64)
    pairs = np.unique(reviews.text * (ids.max(initial=0) + 1) + ids)
    review, word = np.divmod(pairs, ids.max(initial=0) + 1)
    return review, word


def shuffled(reviews: Sequences, rng: np.random.Generator, window: int) -> Sequences:
    """The words of each review in an order drawn anew among `window` neighbours, 0 for the whole review."""

    def mixed(ids: np.ndarray) -> np.ndarray:
        size = window or max(1, len(ids))
        return ids[np.lexsort((rng.random(len(ids)), np.arange(len(ids)) // size))]

    return Sequences.of([mixed(reviews[i]) for i in range(len(reviews))])


def generated(rng: np.random.Generator, count: int) -> Examples:
    """Sentences with a word of praise or blame."""
    words = {"positive": ("great", "lovely", "brilliant"), "negative": ("dull", "awful", "boring")}
    labels = [str(label) for label in rng.choice(["negative", "positive"], count)]
    texts = [
        f"This film about {rng.choice(['love', 'war'])} was {rng.choice(words[label])}." for label in labels
    ]
    return Examples(texts, labels)


def _gap(found: list[float]) -> str:
    return f"{100 * (found[0] - found[-1]):+.1f} points"


@dataclass
class Order(Lesson):
    """The same words in another order, read by networks and by a bag of words."""

    title = "Does the order of the words matter? Networks and a bag of words on shuffled reviews"
    minutes = "half a minute, and once the download of 84 MB"

    data: str = option("", "The archive or its folder; by default looked for, then downloaded.")
    reviews: int = option(5_000, "Test reviews that are read.", least=2)
    updates: int = option(60, "Training steps of the bag of words.", least=1)
    generated: bool = option(False, "Use made-up sentences instead of the reviews.")

    def run(self, say: Narrator) -> dict[str, Any]:
        rng = np.random.default_rng(self.seed)
        models = {name: Bundle.load(name) for name in NETWORKS}
        training, test = self._examples(rng)
        truth = np.array([label == "positive" for label in test.labels or []])
        say.step("1. A bag of words")
        small = models["reviews-small"]
        bag = Bag(small.task.tokenizer.size)  # type: ignore[attr-defined]
        known = np.array([label == "positive" for label in training.labels or []])
        bag.learn(Sequences.of(small.encode(training.texts)), known, self.updates)
        say(
            f"It learns a weight for each word from {len(training):,} training reviews, and adds the weights of the "
            "words that a review holds. Where they stand it cannot know."
        )
        gaps = self._read(say, models, bag, test, truth, rng)
        both = self._pairs(say, models, bag)
        say.step("4. So why a recurrent network?")
        say(
            "On whole reviews a bag of words comes close, because 270 words repeat their verdict, and a network loses "
            "no more than the gap above when their order is destroyed. Only where a verdict hangs on order, in single "
            "sentences, must a network read; the pairs say how far these have learned to. What it gains on reviews it "
            "gains from being told more: texts without labels, neighbours, larger teachers."
        )
        return {"gaps": gaps, "both_right": both}

    def _examples(self, rng: np.random.Generator) -> tuple[Examples, Examples]:
        if self.generated:
            return generated(rng, 200), generated(rng, self.reviews)
        dataset = imdb.IMDB(self.data or None)
        test = dataset.load("test")
        return dataset.load("train"), test.take(np.sort(rng.permutation(len(test))[: self.reviews]).tolist())

    def _read(
        self, say: Narrator, models: dict[str, Bundle], bag: Bag, test: Examples, truth: np.ndarray,
        rng: np.random.Generator,
    ) -> dict[str, float]:  # fmt: skip
        say.step("2. Reviews as written, and with their words shuffled")
        lines: dict[str, list[float]] = {}
        for name, bundle in models.items():
            ids = Sequences.of(bundle.encode(test.texts))
            mixed = [shuffled(ids, rng, window) for window in WINDOWS]
            lines[name] = [float(((bundle.score_ids(some)[:, 1] > 0.5) == truth).mean()) for some in mixed]
        answers = [bag.answer(some) for some in mixed]  # the last network reads the same ids
        lines["bag of words"] = [float(((z > 0) == truth).mean()) for z in answers]
        say.table(
            ("shuffled among", "one (as written)", *(f"{window}" for window in WINDOWS[1:-1]), "all", "gap"),
            [(name, *(f"{x:.1%}" for x in found), _gap(found)) for name, found in lines.items()],
        )
        worst = float(np.abs(answers[0] - answers[-1]).max())
        say.claim(
            "the bag of words answers shuffled reviews as it does the others",
            f"{worst:.0e} apart",
            worst < 1e-9,
        )
        x = np.arange(len(WINDOWS))
        drawing = line_plot(
            {name: (x, found) for name, found in lines.items()}, title="Right on test reviews, words shuffled",
            x_label="shuffled among 1, 2, 8, 32 neighbours, all", y_label="share right",
        )  # fmt: skip
        say.picture("order", drawing)
        return {name: found[0] - found[-1] for name, found in lines.items()}

    def _pairs(self, say: Narrator, models: dict[str, Bundle], bag: Bag) -> dict[str, int]:
        say.step("3. Sentences that differ in nothing but order")
        good, bad = (list(side) for side in zip(*PAIRS))
        words = [[sorted(re.findall("[a-z]+", text.lower())) for text in side] for side in (good, bad)]
        say.claim("both sentences of a pair hold the same words", f"{len(PAIRS)} pairs", words[0] == words[1])
        both, rows = {}, []
        for name, bundle in models.items():
            p = [bundle.probabilities(texts)[:, 1] for texts in (good, bad)]
            both[name] = int(((p[0] > 0.5) & (p[1] < 0.5)).sum())
            rows += [(name, first, f"{x:.0%}", f"{y:.0%}") for (first, _), x, y in zip(PAIRS, *p)]
        z = [bag.answer(Sequences.of(models["reviews-small"].encode(texts))) for texts in (good, bad)]
        both["bag of words"] = int(((z[0] > 0) & (z[1] < 0)).sum())
        say.table(("network", "pair begins", "p(positive)", "of its other half"), rows)
        found = ", ".join(f"{name} {count}" for name, count in both.items())
        say.claim(
            "a bag of words has no pair right",
            f"both right, of {len(PAIRS)}: {found}",
            not both["bag of words"],
        )
        return both
