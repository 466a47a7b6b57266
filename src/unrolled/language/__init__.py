"""Language models: which word, or character, comes next.

    model = LanguageModel(level="char", minutes=5).fit("shakespeare.txt")
    model.generate("ROMEO:", length=300)
    model.predict_next("the film was")

docs/language.md says what the figures are and how they were measured.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from .. import bundle as bundles
from ..config import RunConfig
from ..data.symbols import LEVELS, Symbols
from ..errors import DataError, UsageError
from ..tasks.language import Language
from . import fitting, scoring, writing
from .copied import Copied as Copied
from .copied import copied
from .reading import Reading
from .scoring import Score as Score
from .writing import Drawing as Drawing

Array = np.ndarray


class LanguageModel:
    """A model of texts; see docs/language.md.

    Args:
        level: what a symbol is: "char", "byte" or "word".
        minutes: of training; the network's size follows from it and from this machine's speed.
        steps: updates, instead of minutes.
        units: of the LSTM; 0 lets budget and text decide.
        dropout: share of the LSTM's output that is dropped in training; of the recurrent weights three quarters and of
            the embedding a quarter as much. None: more where the text is read many times over.
        vocabulary: words that are known at most; those that occur once never are.
        held_out: share of the text, its end, on which nothing is learned but shares of mixtures.
        seed: of first weights and of all that is drawn in training.

    Raises:
        UsageError: an option that makes no sense.
    """

    def __init__(
        self,
        level: str = "char",
        *,
        minutes: float = 5.0,
        steps: int = 0,
        units: int = 0,
        dropout: float | None = None,
        vocabulary: int = 40_000,
        held_out: float = 0.03,
        seed: int = 0,
    ) -> None:
        if level not in LEVELS:
            raise UsageError(f"The level is '{level}'; it must be one of {', '.join(LEVELS)}.")
        if minutes <= 0 and not steps:
            raise UsageError(f"minutes is {minutes}; it must be more than 0, or give steps.")
        if vocabulary < 1:
            raise UsageError(f"vocabulary is {vocabulary}; it must be at least 1.")
        self.level, self.units, self.dropout, self.vocabulary = level, units, dropout, vocabulary
        self.config = RunConfig(
            task="language", epochs=1_000_000, optimizer="adam", clip_norm=1.0, schedule="cosine", seed=seed,
            validation_split=held_out, minutes=0.0 if steps else minutes, steps=steps,
        )  # fmt: skip
        self.bundle: bundles.Bundle | None = None
        self.note = ""

    @classmethod
    def load(cls, name: str | os.PathLike[str]) -> LanguageModel:
        """A model that ships with the package, or the folder of a run.

        Raises:
            BundleError, UnknownNameError: it cannot be loaded.
            UsageError: it is a model of another task.
        """
        bundle = bundles.Bundle.load(name)
        if not isinstance(bundle.task, Language):
            raise UsageError(
                f"{name} is a model of the task '{bundle.task.name}', not of language. {bundle.task.answers}."
            )
        model = cls(bundle.task.symbols.level)
        model.bundle = bundle
        return model

    def save(self, folder: str | os.PathLike[str], *, half: bool = False) -> Path:
        """Write the model into `folder`; `half` stores the weights in 16 bits."""
        return self._fitted.save(folder, half=half)

    def fit(
        self,
        source: str | os.PathLike[str] | Sequence[str],
        *,
        validation: str | os.PathLike[str] | Sequence[str] | None = None,
        folder: Path | None = None,
        resume: bool = False,
        on_batch: fitting.Watch | None = None,
        on_epoch: Callable[[dict[str, float]], None] | None = None,
    ) -> LanguageModel:
        """Learn a text. A model that has learned already goes on from its weights, with its symbols.

        Args:
            source: a file, a folder of texts, or a list of texts.
            validation: the text to hold out, instead of the end of `source`.
            folder: where checkpoints, ids and at last the model are written; None keeps nothing.
            resume: go on from the checkpoint in `folder`.
            on_batch: called after each update.
            on_epoch: called with the figures of each pass over the text.

        Raises:
            DataError: no text, or no text at all in it.
            UsageError: `folder` holds a run already, and `resume` is false.
        """
        finished = folder is not None and (folder / "task.json").exists()
        if folder is not None and not resume and (finished or (folder / bundles.CHECKPOINT).exists()):
            raise UsageError(
                f"{folder} holds a run already. Continue it with --resume, or give another folder."
            )
        if finished:
            assert folder
            self.bundle = LanguageModel.load(folder).bundle
            return self
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".", ignore_cleanup_errors=True) as place:
            text = fitting.text_of(
                source, validation, Path(place), self._symbols, self.config.validation_split
            )
            run = fitting.Run(
                text, self.config, folder, self.bundle, self.units, self.dropout, on_batch, on_epoch
            )
            self.bundle, self.note = run.bundle(), run.note
        if folder is not None:
            self.save(folder)
            (folder / bundles.CHECKPOINT).unlink(missing_ok=True)
        return self

    def _symbols(self, blocks: Iterable[str]) -> Symbols:
        if self.bundle:
            return self.task.symbols
        return Symbols.build(blocks, self.level, most=self.vocabulary)

    @property
    def task(self) -> Language:
        """What the trained model is. Raises UsageError before it was trained."""
        task = self._fitted.task
        assert isinstance(task, Language)
        return task

    @property
    def _fitted(self) -> bundles.Bundle:
        if self.bundle is None:
            raise UsageError("The model has not been trained. Call fit, or load one.")
        return self.bundle

    def score(self, text: str, *, adaptive: bool = False, window: int = 0) -> list[Score]:
        """How well each method predicts `text`; see `Score`.

        Args:
            text: what to read, with the state carried all along.
            adaptive: the methods that learn while they read, instead of those that do not; the network learns only
                where torch is installed.
            window: read windows of this many symbols instead, each from nothing, by the network alone.

        Raises:
            DataError: the text has fewer than two symbols, or fewer than a window.
        """
        tokens = self.task.symbols.encode(text)
        if len(tokens) < max(2, window + 1):
            raise DataError(
                f"The text has {len(tokens)} symbols; scoring needs at least {max(2, window + 1)}."
            )
        return scoring.scores(self._fitted, tokens, len(text), adaptive=adaptive, window=window)

    def generate(
        self, prompt: str = "", *, length: int = 300, n: int = 1, stop: str = "", seed: int | None = None,
        **drawing: Any,
    ) -> list[str]:  # fmt: skip
        """Continue `prompt`, `n` times; what comes back does not repeat it.

        Args:
            prompt: what has been read; symbols that the model does not know are read as the unknown one.
            length: symbols to write at most.
            n: how many continuations.
            stop: a text before which writing ends.
            seed: of chance; None: another each time.
            drawing: the fields of `Drawing`.

        Raises:
            UsageError: an option beyond its bounds.
        """
        options = {"length": length, "stop": stop, **drawing}
        return ["".join(self.stream(prompt, seed=one, **options)) for one in self.seeds(seed, n)]

    @staticmethod
    def seeds(seed: int | None, n: int) -> list[np.random.SeedSequence]:
        """The `n` seeds that `generate` gives to `stream`."""
        return np.random.SeedSequence(seed).spawn(n)

    def stream(
        self, prompt: str = "", *, length: int = 300, stop: str = "", seed: Any = None, **drawing: Any
    ) -> Iterator[str]:
        """One continuation of `prompt`, piece by piece as it is written; see `generate`."""
        if length < 1:
            raise UsageError(f"length is {length}; it must be at least 1.")
        return writing.until(
            stop, self._written(prompt, length, Drawing(**drawing), np.random.default_rng(seed))
        )

    def _written(self, prompt: str, length: int, drawing: Drawing, rng: np.random.Generator) -> Iterator[str]:
        symbols, recent = self.task.symbols, self._begun(prompt)
        writer, voice = symbols.writer(recent[-1]), self._voice(recent)
        for _ in range(length):
            p = voice.following()
            if symbols.unknown is not None:
                p[symbols.unknown] = 0
            recent.append(drawing.choose(p, recent, rng))
            yield writer(recent[-1])
            voice = voice.after(recent[-1])
        yield writer(None)

    def predict_next(self, text: str, k: int = 5) -> list[tuple[str, float]]:
        """The `k` most probable next words with their probabilities; a model of bytes answers bytes.

        A model of characters finds words by beam search, after the space that `text` may lack at its end.

        Raises:
            UsageError: k is below 1.
        """
        if k < 1:
            raise UsageError(f"k is {k}; it must be at least 1.")
        symbols = self.task.symbols
        spaced = symbols.level != "char" or not text or text[-1].isspace()
        voice = self._voice(self._begun(text if spaced else f"{text} "))
        if symbols.level == "char":
            letters = np.array([name.isalpha() or name in ("'", "\u2019", "-") for name in symbols.names])
            letters[-1] = False
            found = writing.words_after(voice, letters, most=k)
            return [(symbols.decode(word), p) for word, p in found]
        p = voice.following()
        if symbols.unknown is not None:
            p[symbols.unknown] = 0
        return [(symbols.names[i], float(p[i])) for i in np.argsort(-p, kind="stable")[:k]]

    def copied(self, text: str) -> Copied:
        """How much of `text` stands in the text that the model counted in training."""
        return copied(self.task.symbols.encode(text), self.task.arrays["tokens"])

    def _begun(self, prompt: str) -> list[int]:
        """The ids of a prompt; of an empty one the end of a line, with which a text may begin."""
        symbols = self.task.symbols
        found = symbols.encode(prompt).tolist() or symbols.encode("\n").tolist()
        return [int(i) for i in found]

    def _voice(self, tokens: Sequence[int]) -> writing.Voice:
        if self.task.counted:
            return writing.Counting(self.task.counts, tuple(tokens))
        return writing.Speaking(self._reading, self._reading.start(np.asarray(tokens)))

    @cached_property
    def _reading(self) -> Reading:
        return Reading(self._fitted)
