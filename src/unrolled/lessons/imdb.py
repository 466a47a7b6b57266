"""The text's classifier of movie reviews, with the lines that its print lost: 25,000 reviews, one recurrent layer.

The names are those of the text. Whoever has its program changes the import lines and runs it:

    from unrolled import Dense, Embedding, Sequential, SimpleRNN
    from unrolled.data import sequence
    from unrolled.datasets import imdb
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..data import sequence
from ..data.text import PAD_ID, START_ID, UNKNOWN_ID
from ..datasets import imdb
from ..drawing import heatmap, line_plot
from ..network import Dense, Embedding, SimpleRNN
from ..runtime import Runtime
from ..sequential import History, Sequential
from . import Lesson, Narrator, option

OPENING = "this film was just brilliant casting location scenery story direction everyone's"
IN_THE_TEXT = (1, 14, 22, 16, 43, 530, 973, 1622, 1385, 65, 458, 4468)
PROBES = ("great", "awful", "boring")
# Percent of the test reviews that Keras 3.15 on JAX has right with the text's program, seeds 0 to 4; recorded by
# tests/golden/keras/record.py.
KERAS_BEST = (85.46, 86.20, 84.92, 81.78, 85.89)
KERAS_LAST = (84.51, 81.16, 84.07, 78.70, 85.89)
Reviews = tuple[np.ndarray, np.ndarray]


class Words:
    """Ids to words: the ranks of `get_word_index`, moved up by 3 for padding, start and unknown."""

    def __init__(self, data: str) -> None:
        self.ids = {word: rank + 3 for word, rank in imdb.get_word_index(data or None).items()}
        self.names = {i: word for word, i in self.ids.items()}
        self.names |= {PAD_ID: "<pad>", START_ID: "<start>", UNKNOWN_ID: "<unknown>"}

    def of(self, review: list[int]) -> list[str]:
        """The words of a row of ids."""
        return [self.names[i] for i in review]


def neighbours(vectors: np.ndarray, token: int, words: Words, count: int = 5) -> list[str]:
    """The words whose vectors point most nearly the same way as that of `token` (cosine), nearest first."""
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    order = np.argsort(-(unit @ unit[token]))
    return [words.names[int(i)] for i in order if i != token and i > UNKNOWN_ID + 1][:count]


@dataclass
class Imdb(Lesson):
    """Embedding, SimpleRNN, Dense on the movie reviews."""

    title = "Movie reviews: is the writer pleased?"
    minutes = "half a minute, and once the download of 84 MB"
    needs = ("train",)
    aliases = ("sentiment", "reviews")

    data: str = option("", "The archive, its folder or imdb.npz; by default looked for, then downloaded.")
    num_words: int = option(10_000, "Ids of the vocabulary; rarer words are <unknown>.", least=8)
    maxlen: int = option(500, "Every review is cut or filled to this many words.", least=1)
    dimension: int = option(64, "Size of a word's vector.", least=1)
    units: int = option(32, "Recurrent neurons.", least=1)
    epochs: int = option(5, "Passes over the reviews.", least=1)
    batch_size: int = option(128, "Reviews per update.", least=1)

    def run(self, say: Narrator) -> dict[str, Any]:
        say.step("1. Load the reviews")
        (x_train, y_train), (x_test, y_test) = imdb.load_data(self.data or None, num_words=self.num_words)
        words = Words(self.data)
        self.ragged(say, x_train, x_test, words)
        train = (self.padded(say, x_train), y_train)
        test = (sequence.pad_sequences(x_test, maxlen=self.maxlen), y_test)
        model = self.network(say)
        before = model.weights["0.weight"].copy()
        history = self.training(say, model, train)
        self.nearest(say, words, before, model.weights["0.weight"])
        found = self.testing(say, model, history, test)
        self.reading(say, model, words, x_test, y_test)
        return found | {"parameters": sum(model.network.parameter_counts())}

    def as_in_the_text(self, reviews: int = 25_000) -> bool:
        """Whether the sizes are the text's, so that its numbers can be asked for."""
        default = Imdb()
        sizes = ("num_words", "maxlen", "dimension", "units", "epochs", "batch_size")
        return reviews == 25_000 and all(getattr(self, name) == getattr(default, name) for name in sizes)

    def ragged(self, say: Narrator, x_train: np.ndarray, x_test: np.ndarray, words: Words) -> None:
        """Shapes, lengths, and the review that the text shows."""
        say(
            "Each review is a list of word ids, and each has its own length: the arrays are ragged, arrays of "
            "lists, so their shape has one number only."
        )
        say.claim(
            "25000 training and 25000 test reviews",
            f"x_train {x_train.shape}, x_test {x_test.shape}",
            x_train.shape == x_test.shape == (25_000,) or not self.as_in_the_text(len(x_train)),
        )
        lengths = np.array([len(review) for review in x_train])
        say(
            f"Lengths run from {lengths.min()} to {lengths.max()}, {lengths.mean():.0f} on average; "
            f"{(lengths > self.maxlen).mean():.1%} are longer than {self.maxlen} and will be cut, at the front."
        )
        for review in x_train:
            opening = words.of(review[1 : 1 + len(OPENING.split())])
            if opening == OPENING.split():
                say("The review that the text shows begins:")
                say.table(
                    ("word", *words.of(review[:12])), [("id", *review[:12]), ("id in the text", *IN_THE_TEXT)]
                )
                say(
                    "An id is a word's rank by frequency, plus 3. Words that occur equally often may stand in "
                    "either order, so a few rare ones have another id than in the text. "
                    f"{UNKNOWN_ID} stands for words beyond the {self.num_words:,} ids."
                )
                break

    def padded(self, say: Narrator, x_train: np.ndarray) -> np.ndarray:
        """All reviews of one length."""
        say.step("2. Bring all reviews to one length")
        padded = sequence.pad_sequences(x_train, maxlen=self.maxlen)
        say(
            "A batch is a matrix, so every review gets the same length: zeros in front of short ones, long ones "
            "lose their beginning. The network reads the zeros like words; its last state has seen the end."
        )
        say.claim(
            f"x_train has shape ({len(x_train)}, {self.maxlen})",
            f"{padded.shape}",
            padded.shape == (len(x_train), self.maxlen),
        )
        return padded

    def network(self, say: Narrator) -> Sequential:
        """The three layers and their parameters, counted."""
        say.step("3. The network")
        model = Sequential(
            [
                Embedding(self.num_words, self.dimension),
                SimpleRNN(self.units),
                Dense(1, activation="sigmoid"),
            ],
            seed=self.seed,
        )
        model.build((None, self.maxlen))
        shapes, counts = model.network.shapes()[1:], model.network.parameter_counts()
        say.table(
            ("layer", "output shape", "parameters"),
            [
                (x.kind, (None, *shape), f"{n:,}")
                for x, shape, n in zip(model.layers, shapes, counts, strict=True)
            ],
        )
        v, d, h = self.num_words, self.dimension, self.units
        expected = [v * d, h * d + h * h + h, h + 1]
        say.claim(
            f"{expected[0]:,} + {expected[1]:,} + {expected[2]} = {sum(expected):,} parameters",
            " + ".join(f"{count:,}" for count in model.network.parameter_counts()),
            model.network.parameter_counts() == expected,
        )
        say(
            f"The recurrent layer has W_xh ({h} x {d}), W_hh ({h} x {h}) and {h} more: a bias, which the formula "
            "h_t = tanh(W_hh h_t-1 + W_xh x_t) leaves out and every framework adds."
        )
        return model

    def training(self, say: Narrator, model: Sequential, train: Reviews) -> History:
        """RMSprop on four fifths of the training half, the last fifth for validation."""
        say.step("4. Train")
        model.compile(optimizer="rmsprop", loss="binary_crossentropy", metrics=["acc"])

        def report(row: dict[str, float]) -> None:
            shown = ", ".join(f"{k} {v:.4f}" for k, v in row.items() if k not in ("epoch", "seconds"))
            say(f"epoch {int(row['epoch'])} of {self.epochs}, {row['seconds']:.2f} s: {shown}")

        history = model.fit(
            *train,
            epochs=self.epochs,
            batch_size=self.batch_size,
            validation_split=0.2,
            verbose=0,
            on_epoch=report,
        )
        curves = {
            label: (history.history["epoch"], history.history[name])
            for label, name in (("training", "accuracy"), ("validation", "val_accuracy"))
        }
        picture = line_plot(curves, title="Accuracy while training", x_label="epoch", y_label="accuracy")
        say.picture("imdb-history", picture)
        say.claim(
            "training makes the loss smaller",
            f"loss {history.history['loss'][0]:.3f} in the first epoch, {min(history.history['loss']):.3f} in the best",
            self.epochs == 1 or min(history.history["loss"]) < history.history["loss"][0],
        )
        return history

    def nearest(self, say: Narrator, words: Words, before: np.ndarray, after: np.ndarray) -> None:
        """What training did to the words' vectors."""
        say.step("5. What the embedding learned")
        say("The words nearest to a word by the angle between their vectors, before training and after:")
        known = [probe for probe in PROBES if words.ids.get(probe, self.num_words) < self.num_words]
        rows = [
            (probe, *(", ".join(neighbours(v, words.ids[probe], words)) for v in (before, after)))
            for probe in known
        ]
        say.table(("word", "before", "after"), rows)

    def testing(self, say: Narrator, model: Sequential, history: History, test: Reviews) -> dict[str, Any]:
        """Accuracy on reviews that the network has never seen."""
        say.step("6. Test")
        x_test, y_test = test
        _, last = model.evaluate(x_test, y_test, verbose=0)
        model.weights = history.best_weights
        _, best = model.evaluate(x_test, y_test, verbose=0)
        say(
            "A plain recurrent network is a nervous learner: its accuracy jumps between epochs. So we keep the "
            f"epoch that was best on the validation reviews, number {history.best_epoch}, beside the last."
        )
        say.claim(
            "83.25% of the test reviews are right",
            f"{best:.2%} with the best epoch by validation, {last:.2%} with the last",
            best > 0.8 or not self.as_in_the_text(len(y_test)),
        )
        say.table(
            ("% right", "here", "Keras, seeds 0 to 4", "their mean"),
            [
                (epoch, f"{here:.2%}"[:-1], " ".join(f"{p:.2f}" for p in keras), f"{np.mean(keras):.2f}")
                for epoch, here, keras in (("best epoch", best, KERAS_BEST), ("last epoch", last, KERAS_LAST))
            ],
        )
        guess = model.predict(x_test)[:, 0] > 0.5
        table = [[int(((y_test == truth) & (guess == said)).sum()) for said in (0, 1)] for truth in (0, 1)]
        names = ("negative", "positive")
        say.table(
            ("the writer is", *(f"said {n}" for n in names)),
            [(n, *row) for n, row in zip(names, table, strict=True)],
        )
        picture = heatmap(table, names, [f"said {n}" for n in names], title="Test reviews", form=",.0f")
        say.picture("imdb-confusion", picture)
        return {"best_epoch": history.best_epoch, "test_accuracy": best, "last_test_accuracy": last}

    def reading(
        self, say: Narrator, model: Sequential, words: Words, x_test: np.ndarray, y_test: np.ndarray
    ) -> None:
        """Two short test reviews, with the probability after each word."""
        say.step("7. Watch it read")
        say("Two of the shortest test reviews, and the probability of a positive one after each word:")
        runtime = Runtime(model.network, model.weights)
        order = sorted(range(len(x_test)), key=lambda i: (len(x_test[i]) < 20, len(x_test[i]), i))
        curves = {}
        for label, name in ((0, "negative"), (1, "positive")):
            review = x_test[next(i for i in order if y_test[i] == label)][-self.maxlen :]
            padded = sequence.pad_sequences([review], maxlen=self.maxlen)
            p = runtime.trace(padded)[0, -len(review) :, 0]
            said = (f"{word} {value:.2f}" for word, value in zip(words.of(review), p, strict=True))
            say(f"{name}: " + ", ".join(said))
            curves[f"a {name} review"] = (np.arange(len(p)), p)
        picture = line_plot(
            curves,
            title="How sure the network is, word by word",
            x_label="words read",
            y_label="probability of positive",
            y_range=(0.0, 1.0),
            levels={"undecided": 0.5},
        )
        say.picture("imdb-reading", picture)
