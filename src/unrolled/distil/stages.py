"""The recipe, stage by stage: each leaves its result in the folder, and one that finds it there does nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from . import ngrams
from .corpus import Corpus, Numbers, fold_of, frequent_pairs
from .foresee import foresee
from .steps import Course, Reading, Shape, Steps, fit, linear_start
from .teacher import Learning, Teacher, guesses, judge

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Material:
    """What is learned from: texts with labels first, those without after them.

    Attributes:
        corpus: all texts.
        labels: true for the second class, one for each of the first texts.
        groups: of the texts with labels; one group is never on both sides of a split.
        words: how many ids there are.
        held_out: of the texts with labels, those that nothing is trained on: they weigh the teachers.
    """

    corpus: Corpus
    labels: NDArray[np.bool_]
    groups: Sequence[str]
    words: int
    held_out: Numbers = field(default_factory=lambda: np.zeros(0, np.int64))

    @classmethod
    def split(
        cls, corpus: Corpus, labels: NDArray[np.bool_], groups: Sequence[str], words: int, seed: int = 7
    ) -> Material:
        """Every sixth group held out, drawn with `seed`."""
        held_out = np.flatnonzero(fold_of(groups, 6, seed) == 0)
        return cls(corpus, labels, groups, words, held_out)

    @property
    def training(self) -> Numbers:
        """The texts with labels that are trained on."""
        return np.setdiff1d(np.arange(len(self.labels)), self.held_out)

    @property
    def every(self) -> Numbers:
        """All texts that are trained on, with or without a label."""
        return np.setdiff1d(np.arange(len(self.corpus)), self.held_out)

    def accuracy(self, logits: NDArray[np.float64]) -> float:
        """Of answers (N,) for all texts, on those held out."""
        return float(((logits[self.held_out] > 0) == self.labels[self.held_out]).mean())


@dataclass(frozen=True)
class Plan:
    """Sizes of a run: passes of the language model, epochs of the judges (0: no such teachers), the student."""

    guesses: float = 1.5
    judges: int = 2
    step: int = 4
    size: int = 96
    units: int = 128
    both_ways: bool = True
    pairs: int = 150_000
    foresee: int = 1
    epochs: int = 3
    half: bool = True


BEST, SMALL = Plan(), Plan(step=8, size=32, units=32, both_ways=False, pairs=100_000)
Say = Callable[[str], None]
SAVE_EVERY = 200


def run(material: Material, plan: Plan, folder: Path, say: Say = print) -> Arrays:
    """Teachers, their weights, the student: its weights, the pairs' keys, and its logits of all texts."""
    folder.mkdir(parents=True, exist_ok=True)
    answers = {"n-grams": kept(folder / "ngrams.npz", lambda: {"logits": _ngrams(material)})["logits"]}
    for name in ("forward", "backward") if plan.judges else ():
        build = partial(_taught, material, plan, folder, name, say)
        answers[name] = kept(folder / f"{name}.npz", build)["logits"]
    for name, logits in answers.items():
        say(f"{name}: {100 * material.accuracy(logits):.2f}% of {len(material.held_out):,} held out")
    fused = fuse(material, answers)
    say(f"together: {100 * material.accuracy(fused):.2f}%")
    return kept(folder / "student.npz", lambda: student(material, plan, fused, say))


def kept(path: Path, make: Callable[[], Arrays]) -> Arrays:
    """The arrays in `path`, made and stored there if it is missing."""
    if path.exists():
        with np.load(path) as found:
            return {name: found[name] for name in found.files}
    made = make()
    part = path.with_suffix(".part.npz")
    np.savez(part, **made)  # type: ignore[arg-type]
    os.replace(part, path)
    return made


def _ngrams(material: Material) -> NDArray[np.float64]:
    texts = material.training
    model = ngrams.fit(material.corpus.take(texts), material.labels[texts], material.words)
    return model.logits(material.corpus)


def _taught(material: Material, plan: Plan, folder: Path, name: str, say: Say) -> Arrays:
    """Train one direction, with a checkpoint every SAVE_EVERY updates; its logits of all texts."""
    texts = material.corpus.take(material.every)
    frequency = np.bincount(texts.ids, minlength=material.words)
    net = Teacher(frequency, reverse=name == "backward", seed=1)
    learning = Learning(net, 3e-3, 0.5)
    begin = folder / f"{name}-words.pt"
    _follow(
        learning,
        guesses(learning, texts, passes=plan.guesses, seed=2, half=plan.half),
        begin,
        f"{name}, words",
        say,
    )
    learning = Learning(net, 1.2e-3, 1.0)
    targets = np.zeros(len(material.corpus), np.float32)
    targets[: len(material.labels)] = material.labels
    steps = judge(learning, material.corpus, targets, material.training, epochs=plan.judges, half=plan.half)
    _follow(learning, steps, folder / f"{name}-judge.pt", f"{name}, labels", say)
    return {"logits": net.logits(material.corpus, np.arange(len(material.corpus)), half=plan.half)}


def _follow(learning: Learning, losses: Any, path: Path, what: str, say: Say) -> None:
    if path.exists():
        learning.restore(torch.load(path, weights_only=True))
    while part := list(islice(losses, SAVE_EVERY)):
        part_path = path.with_suffix(".part")
        torch.save(learning.state(), part_path)
        os.replace(part_path, path)
        say(f"{what}: update {learning.done:,}, loss {np.mean(part):.3f}")


def fuse(material: Material, answers: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """One logit a text: answers scaled, weighed and added, the weights by logistic regression on the texts held out.

    Newton's method with a penalty of 1/2 on each squared weight; with nothing held out all weigh the same.
    """
    z = np.stack([logits / logits.std() for logits in answers.values()], 1)
    x = np.concatenate([z, np.ones((len(z), 1))], 1)
    if not len(material.held_out):
        return 2 * z.mean(1)
    seen, labels = x[material.held_out], material.labels[material.held_out]
    weights = np.zeros(x.shape[1])
    for _ in range(20):
        p = 1 / (1 + np.exp(-seen @ weights))
        slope = seen.T @ (p - labels) + weights
        curve = (seen * (p * (1 - p))[:, None]).T @ seen + np.eye(len(weights))
        weights -= np.linalg.solve(curve, slope)
    return x @ weights


def student(material: Material, plan: Plan, fused: NDArray[np.float64], say: Say) -> Arrays:
    """The small net, taught the `fused` logits of all texts, and the labels where there are any."""
    shape = Shape(
        material.words,
        frequent_pairs(material.corpus.take(material.every), plan.pairs, material.words),
        plan.step, plan.size, plan.units, plan.both_ways,
    )  # fmt: skip
    net, reading = Steps(shape), Reading(material.corpus, shape)
    for number, loss in enumerate(foresee(net, reading, material.every, passes=plan.foresee), start=1):
        if number % 200 == 0:
            say(f"student foresees: update {number:,}, loss {loss:.3f}")
    linear_start(net, reading, material.training, material.labels)
    targets = (1 / (1 + np.exp(-fused))).astype(np.float32)
    told = material.training
    targets[told] = 0.7 * targets[told] + 0.3 * material.labels[told]
    fit(
        net, reading, targets, material.every, Course(plan.epochs),
        report=lambda done, total, loss: say(f"student: update {done:,} of {total:,}, loss {loss:.3f}"),
    )  # fmt: skip
    logits = net.logits(reading, np.arange(len(material.corpus)))
    say(f"student: {100 * material.accuracy(logits):.2f}%")
    return {**net.weights(), "pairs": shape.pairs, "logits": logits}
