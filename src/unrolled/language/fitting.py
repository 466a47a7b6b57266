"""From a text to a bundle: its symbols, the network trained within the budget, the shares of mixtures, the card."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .. import bundle as bundles
from ..config import RunConfig
from ..data.symbols import Symbols
from ..errors import DataError, need
from ..tasks.language import Language, layers_of
from . import corpus, scoring
from .plan import Plan, plan

if TYPE_CHECKING:
    from ..train import Progress

Array = np.ndarray
Source = "str | os.PathLike[str] | Sequence[str]"
Watch = Callable[["Progress", RunConfig, int], None]
"""Takes how far training is, its settings, and the symbols of one update."""
ORDER = {"char": 8, "byte": 8, "word": 5}
"""Symbols of the longest n-grams that are counted."""
SMALLEST = 5_000
"""Symbols of a text from which a network learns anything; fewer are counted only."""
COUNTED = 5_000_000
"""Symbols of a text that are counted at most: the last ones."""
JUDGED = 50_000
"""Held-out symbols on which shares are fitted and figures of the card are taken, at most."""


@dataclass(frozen=True, eq=False)
class Text:
    """A text as ids: `training` (N,), `held` (M,) held out, and their symbols."""

    training: Array
    held: Array
    symbols: Symbols


def text_of(
    source: str | os.PathLike[str] | Sequence[str],
    validation: str | os.PathLike[str] | Sequence[str] | None,
    folder: Path,
    build: Callable[[Iterable[str]], Symbols],
    share: float,
) -> Text:
    """Read a text twice: for its symbols, and for their ids, which lie in files of `folder`.

    Args:
        source: what to learn.
        validation: what to hold out; by default the last `share` of `source`.
        folder: where ids are written.
        build: makes the symbols.
        share: see `validation`.

    Raises:
        DataError: fewer than two symbols.
    """
    symbols = build(corpus.blocks(source))
    tokens = corpus.encoded(source, symbols, folder / "training")
    if len(tokens) < 2:
        raise DataError(
            "The text has fewer than two symbols; there is nothing to learn from it. Give a longer one."
        )
    if validation is not None:
        return Text(tokens, corpus.encoded(validation, symbols, folder / "held"), symbols)
    cut = len(tokens) - int(share * len(tokens))
    return Text(tokens[:cut], tokens[cut:], symbols)


@dataclass
class Run:
    """One training run.

    Attributes:
        text: what is learned.
        config: budget and seed.
        folder: of its checkpoints, or None.
        start: the model whose weights it goes on from, or None.
        units: of the LSTM; 0: the budget decides.
        dropout: see `LanguageModel`.
        on_batch, on_epoch: see `LanguageModel.fit`.
    """

    text: Text
    config: RunConfig
    folder: Path | None
    start: bundles.Bundle | None
    units: int
    dropout: float | None
    on_batch: Watch | None
    on_epoch: Callable[[dict[str, float]], None] | None
    note: str = ""
    history: Sequence[dict[str, float]] = ()

    def bundle(self) -> bundles.Bundle:
        """The trained model."""
        symbols, training = self.text.symbols, self.text.training
        counted = len(training) < SMALLEST and self.start is None
        if counted:
            self.note = (
                f"The text has {len(training):,} symbols, too few for a network to learn from (it takes "
                f"{SMALLEST:,}): a model that counts answers."
            )
            network = layers_of(len(symbols), 1, 1, words=False)
            weights, config = network.initial(0), self.config
        else:
            need("torch", "train", "Training")
            weights, config, network = self._trained()
        order, kept = ORDER[symbols.level], np.array(training[-COUNTED:])
        task = Language(symbols, order, counted, 0.0 if counted else 0.5, network, {"tokens": kept})
        made = bundles.Bundle(task, weights, config, "", "language")
        return self._judged(made)

    def _trained(self) -> tuple[dict[str, Array], RunConfig, bundles.Network]:
        import torch

        from .. import train
        from . import learn

        text, found = self.text, self._plan()
        config = replace(self.config, batch_size=found.rows, learning_rate=found.rate)
        torch.manual_seed(config.seed)
        training = learn.streams(text.training, found.rows, found.steps)
        weights = self.start.weights if self.start else found.network.initial(config.seed)
        reader = learn.reader(found.network, weights, np.bincount(text.training, minlength=len(text.symbols)))
        symbols, watch = training.rows * training.steps, self.on_batch
        trainer = train.Trainer(
            reader, reader.loss, config, folder=self.folder, on_epoch=self.on_epoch,
            on_batch=(lambda now, _: watch(now, config, symbols)) if watch else None,
        )  # fmt: skip
        trainer.optimizer = learn.adam(trainer.parameters, config.learning_rate)
        trainer.resume()
        held = text.held[:JUDGED]
        trainer.fit(training, learn.streams(held, 8, found.steps) if len(held) > found.steps else None)
        self.history = trainer.progress.history
        return trainer.best, config, found.network

    def _plan(self) -> Plan:
        """As the budget allows; but what has begun goes on in its size."""
        words, size = self.text.symbols.level == "word", len(self.text.symbols)
        begun = bundles.load_checkpoint(self.folder) if self.folder else None
        weights = self.start.weights if self.start else {}
        if begun:
            weights = {name.removeprefix("weight/"): value for name, value in begun[1].items()}
        units = next((w.shape[1] for name, w in weights.items() if name.endswith("weight_hh_l0")), self.units)
        found = plan(
            size, len(self.text.training), 60 * self.config.minutes, words=words, units=units, dropout=self.dropout,
            steps=self.config.steps,
        )  # fmt: skip
        return replace(found, network=self.start.task.network) if self.start else found

    def _judged(self, made: bundles.Bundle) -> bundles.Bundle:
        """With the mixture's share fitted on the held-out text, and a card that says how well it is predicted."""
        held, task = self.text.held[:JUDGED], made.task
        assert isinstance(task, Language)
        rows = []
        if len(held) > 1:
            found = scoring.scores(made, held, len(task.symbols.decode(held.tolist())))
            if not task.counted:
                share = scoring.fitted_share(found[0].logs, found[1].logs)
                made = replace(made, task=replace(task, share=share))
                both = scoring.mixed([s.logs for s in found[:2]], (share, 1 - share))
                found[2] = replace(found[2], logs=both)
            rows = [
                f"| {s.method} | {s.nats:.4f} | {s.perplexity:.2f} | {s.bits_per_character:.4f} |"
                for s in found
            ]
        return replace(made, card="\n".join([*self._card(made), *rows, *self._passes(), ""]))

    def _passes(self) -> Iterator[str]:
        """A table of the passes: whether more of them, or more dropout, would have been better is seen in it."""
        if self.history:
            yield from ("", "| pass over the text | loss in training | held out |", "|---|---|---|")
        for row in self.history:
            yield f"| {row['epoch']:.0f} | {row['loss']:.4f} | {row.get('val_loss', float('nan')):.4f} |"

    def _card(self, made: bundles.Bundle) -> list[str]:
        symbols, size = self.text.symbols, f"{sum(made.task.network.parameter_counts()):,} parameters."
        return [
            "# A language model",
            "",
            f"Level: {symbols.level}; {len(symbols):,} symbols. {self.note or size}",
            f"Trained on {len(self.text.training):,} symbols; {len(self.text.held):,} were held out.",
            "",
            "| on held-out text, without adapting | nats a symbol | perplexity | bits a character |",
            "|---|---|---|---|",
        ]
