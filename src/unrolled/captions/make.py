"""A captioner from captions to the bundle on disk: features, vocabulary, training, and what validation chooses."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from .. import bundle as bundles
from .. import train
from ..datasets import Examples
from ..decoding import Decoder, Sentence
from ..encoder import Encoder
from ..errors import DataError, UsageError
from ..metrics.captions import Cider
from ..tasks.captioning import Captioning
from . import Captioner, Described, remember
from .learn import Learner
from .plan import Plan
from .score import figures

BEAMS, PENALTIES = 3, (0.0, 0.4, 0.7, 1.0)
PHASES = ("words", "reward")
BATCH = 64


@dataclass
class Told:
    """Whom a run tells what it does: pictures encoded, pictures left out, batches and epochs."""

    picture: Callable[[int], None] | None = None
    skipped: Callable[[str], None] | None = None
    batch: Callable[[train.Progress, int], None] | None = None
    epoch: Callable[[train.Row], None] | None = None


class _Kept:
    """The pictures of a split that can be read, by number, and their features."""

    def __init__(self, examples: Examples, encoder: Encoder, told: Told, *, mirror: bool = False) -> None:
        described = Described.of(examples)
        keys = encoder.keep(described.pictures, skip=told.skipped, on_picture=told.picture)
        self.described = described.take([i for i, key in enumerate(keys) if key is not None])
        self._keys, self._encoder = [[key for key in keys if key is not None]], encoder
        if not self.described.pictures:
            raise DataError("None of the pictures can be read, so there is nothing to learn from.")
        if mirror:
            mirrored = encoder.keep(self.described.pictures, mirrored=True, on_picture=told.picture)
            self._keys.append([key for key in mirrored if key is not None])

    def features(self, numbers: np.ndarray) -> np.ndarray:
        """Features (n, R, D) of the pictures with these numbers; with `mirror` each turned round as a coin falls."""
        sides = torch.randint(len(self._keys), (len(numbers),)).tolist()
        return self._encoder.rows([self._keys[side][i] for side, i in zip(sides, numbers, strict=True)])

    def sentences(self, decoder: Decoder, **options: float) -> Iterator[Sentence]:
        """The best sentence of every picture."""
        all_ = np.arange(len(self.described.pictures))
        for numbers in np.array_split(all_, -(-len(all_) // BATCH)):
            for best, *_ in decoder.sentences(self.features(numbers), **options):  # type: ignore[arg-type]
                yield best


def make(
    training: Examples, validation: Examples, encoder: Encoder, plan: Plan, folder: Path, *, resume: bool = False,
    told: Told | None = None,
) -> Captioner:  # fmt: skip
    """Train a captioner and write its bundle into `folder`.

    Args:
        training: captions with pictures.
        validation: other pictures; they choose the epoch and the penalty on length, and nothing is learned from them.
        encoder: whose features the captioner will understand.
        plan: settings.
        folder: where the bundle, and checkpoints on the way, are written.
        resume: go on with what is in `folder`; a finished run is only loaded.
        told: whom to tell what is done.

    Raises:
        UsageError: `folder` holds a run already and `resume` is false.
        DataError: a picture that cannot be read (unless `told.skipped`), or none that can.
        TrainingError: the loss is not a number.
    """
    told = told or Told()
    finished, begun = (folder / "task.json").exists(), any((folder / name).exists() for name in PHASES)
    if (finished or begun) and not resume:
        raise UsageError(f"{folder} holds a run already. Continue it with --resume, or give another folder.")
    if finished:
        return Captioner.load(folder, encoder.path, cache=encoder.cache)
    first, second = _Kept(training, encoder, told, mirror=plan.mirror), _Kept(validation, encoder, told)
    said = first.described.said
    task = Captioning.of_captions(
        (words for one in said for words in one), encoder.hash, encoder.shape, least=plan.least, **plan.decoder()
    )
    task = replace(task, max_length=plan.max_length)
    reward = Cider(second.described.said)

    def judge(weights: dict[str, np.ndarray]) -> float:
        found = second.sentences(Decoder(task.network, weights), num_beams=1, max_length=plan.max_length)
        return 100 * float(reward.each([task.spoken(one.ids) for one in found]).mean())

    weights, rows = Learner(task, said, first.features, judge, plan, folder, told.batch, told.epoch).fit()
    task, figures_ = _chosen(task, weights, second)
    card = _card(task, plan, rows, figures_, (len(said), len(second.described.said)))
    bundle = bundles.Bundle(task, weights, plan.config(), card, folder.name)
    bundle.save(folder, half=True)
    for name in PHASES:
        shutil.rmtree(folder / name, ignore_errors=True)
    remember(encoder)
    return Captioner.load(folder, encoder.path, cache=encoder.cache)


def _chosen(task: Captioning, weights: dict[str, np.ndarray], held: _Kept) -> tuple[Captioning, dict[str, float]]:
    """The task with the penalty on length that gives the validation pictures the best CIDEr, and its figures there."""
    decoder, best = Decoder(task.network, weights), None
    for penalty in PENALTIES:
        options = {"num_beams": BEAMS, "max_length": task.max_length, "length_penalty": penalty}
        said = [task.spoken(one.ids) for one in held.sentences(decoder, **options)]
        found = figures(said, held.described.said)
        if best is None or found["cider"] > best[1]["cider"]:
            best = replace(task, num_beams=BEAMS, length_penalty=penalty), found
    assert best is not None
    return best


def _card(
    task: Captioning, plan: Plan, rows: Sequence[train.Row], found: dict[str, float], counts: tuple[int, int]
) -> str:
    settings = ", ".join(f"{name} {value}" for name, value in vars(plan).items())
    lines = [
        "# A captioning model", "",
        f"Says what is in pictures with {len(task.words):,} words; "
        f"{sum(task.network.parameter_counts()):,} parameters.",
        f"It understands the features of the encoder {task.encoder[:16]} alone.",
        f"Trained on {counts[0]:,} pictures; {counts[1]:,} others chose the epoch and the length penalty "
        f"({task.length_penalty:g}), with {task.num_beams} beams.", "",
        f"On those, x 100: {', '.join(f'{name} {value:.1f}' for name, value in found.items() if name != 'n')}.", "",
        f"Settings: {settings}.", "",
        "| phase, epoch | loss | CIDEr in validation, greedy | seconds |", "|---|---|---|---|",
        *(
            f"| {PHASES[i >= plan.epochs]}, {int(row['epoch'])} | {row['loss']:.4f} | {row['val_score']:.1f} "
            f"| {row['seconds']:.0f} |"
            for i, row in enumerate(rows)
        ),
        "",
    ]  # fmt: skip
    return "\n".join(lines)
