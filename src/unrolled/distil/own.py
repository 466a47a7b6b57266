"""A classifier of somebody's own texts, made of what answers best on texts that it was not shown.

Up to three are trained: NB-weighted n-grams, a net of steps that begins at nothing, and one that begins at a model of
the package. Each is asked about rows that it did not see (all of them in turn where there are few, a sixth otherwise),
and the logits z = a z_net + b z_grams get the a and b with which the answers to those rows are most probable. What has
the least log-loss then is trained once more, on all rows. The a and b are the calibration too.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .. import metrics
from ..bundle import Bundle
from ..config import RunConfig
from ..datasets import Examples
from ..tasks.sentiment import Sentiment
from .corpus import Numbers
from .stages import kept
from .workshop import FAST, FittedGrams, FittedNet, Logits, Plan, Workshop

__all__ = ["FAST", "Learned", "Plan", "Row", "learn"]
GAIN = 0.001
"""Nats of log-loss by which n-grams beside a net must better it to be kept."""


@dataclass(frozen=True)
class Row:
    """What a candidate answered to the rows held out, and the seconds that it took."""

    name: str
    accuracy: float
    macro_f1: float
    log_loss: float
    seconds: float

    def __str__(self) -> str:
        figures = f"accuracy {self.accuracy:.1%}, macro F1 {self.macro_f1:.1%}, log-loss {self.log_loss:.3f}"
        return f"{self.name}: {figures} on rows held out, {self.seconds:.0f} s"


@dataclass(frozen=True)
class Learned:
    """A trained classifier and how it came about.

    Attributes:
        bundle: the model.
        tried: the candidates, what was chosen last.
        rows: numbers of the rows held out, (M,).
        truth: their classes, (M,).
        probabilities: what was answered to them by what had not seen them, (M, K).
    """

    bundle: Bundle
    tried: list[Row]
    rows: Numbers
    truth: Numbers
    probabilities: NDArray[np.float64]


def learn(
    examples: Examples, plan: Plan, *, unlabelled: Sequence[str] = (), seed: int = 0, folder: Path | None = None,
    say: Callable[[str], None] = lambda text: None, report: Callable[[float, float], None] = lambda done, whole: None,
) -> Learned:  # fmt: skip
    """Try what `plan` names and train what is best.

    Args:
        examples: texts with labels; groups, if any, are never on both sides.
        plan: what to try.
        unlabelled: more texts of the kind, for the vocabulary and for guessing words.
        seed: of folds, first weights and order.
        folder: where answers of candidates and finished epochs are kept, so that the same call goes on after them.
        say: called with a line for each candidate.
        report: called with the work done and the whole, in no unit.

    Raises:
        DataError: fewer than two classes, no words, or groups of which none can be held out.
    """
    shop, started = Workshop(examples, plan, list(unlabelled), seed, report), time.perf_counter()
    rows = np.sort(np.concatenate([held_out for _, held_out in shop.folds]))
    y, answers, tried = shop.y[rows], {}, []
    models: dict[str, FittedGrams | FittedNet] = {}
    identity = _identity(examples, plan, unlabelled, seed) if folder else ""
    for number, name in enumerate(shop.names):
        path = folder and folder / f"tried-{identity}-{number}.npz"
        make = partial(_answers, shop, name, rows, models, path)
        found = (kept(path, make) if path else make())["logits"]
        answers[name] = found
        tried.append(_row(name, y, _fitted([found], y) * found, time.perf_counter() - started))
        say(str(tried[-1]))
    chosen, weights, logits = _chosen(answers, y)
    tried.append(_row(" + ".join(chosen), y, logits, time.perf_counter() - started))
    say(f"chosen: {tried[-1]}")
    everything = np.arange(len(shop.y)) if plan.again else shop.folds[0][0]
    parts = [None if plan.again else models.get(name) for name in chosen]
    path = folder and folder / f"tried-{identity}-all.pt"
    fitted = [part or shop.train(name, everything, path) for part, name in zip(parts, chosen, strict=True)]
    return Learned(_bundle(shop, fitted, weights), tried, rows, y, probabilities(logits))


def _answers(
    shop: Workshop, name: str, rows: Numbers, models: dict[str, FittedGrams | FittedNet], path: Path | None
) -> dict[str, Logits]:
    """Logits (M, outputs) of all rows held out, each by a model that did not see it; `models` gets the last."""
    found = np.zeros((len(rows), shop.outputs))
    for fold, (training, held_out) in enumerate(shop.folds):
        models[name] = shop.train(name, training, path and path.with_suffix(f".{fold}.pt"))
        found[np.searchsorted(rows, held_out)] = models[name].logits(held_out)
    return {"logits": found}


def _row(name: str, y: Numbers, logits: Logits, seconds: float) -> Row:
    p = probabilities(logits)
    f1 = metrics.precision_recall_f1(metrics.confusion_matrix(y, p.argmax(1), p.shape[1]))[2].mean()
    return Row(name, metrics.accuracy(y, p.argmax(1)), float(f1), metrics.log_loss(y, p), seconds)


def probabilities(logits: Logits) -> NDArray[np.float64]:
    """(M, K) of logits (M, outputs), one output for two classes."""
    z = np.concatenate([np.zeros_like(logits), logits], 1) if logits.shape[1] == 1 else logits
    e = np.exp(z - z.max(1, keepdims=True))
    return np.asarray(e / e.sum(1, keepdims=True))


def _chosen(answers: dict[str, Logits], y: Numbers) -> tuple[list[str], NDArray[np.float64], Logits]:
    """The names of what to use, a net first; their weights, and the weighed sum of their answers."""
    ways = [[name] for name in answers if name != "n-grams"]
    ways += [[*way, "n-grams"] for way in ways if "n-grams" in answers]
    found = []
    for names in ways:
        weights = _fitted([answers[name] for name in names], y)
        z = np.tensordot(weights, np.stack([answers[name] for name in names]), 1)
        found.append((metrics.log_loss(y, probabilities(z)) + GAIN * (len(names) - 1), names, weights, z))
    return min(found, key=lambda way: way[0])[1:]


def _bundle(
    shop: Workshop, fitted: Sequence[FittedGrams | FittedNet], weights: NDArray[np.float64]
) -> Bundle:
    """One model of a net and, perhaps, n-grams, whose weighed logits add up."""
    first = fitted[0]
    assert isinstance(first, FittedNet)
    found: dict[str, NDArray[Any]] = {**first.net.weights(), "pairs": first.net.shape.pairs}
    for name in ("out.weight", "out.bias", "rows.linear"):
        found[name] = (weights[0] * found[name]).astype(np.float32)
    for part in fitted[1:]:
        assert isinstance(part, FittedGrams)
        found["out.bias"] = (found["out.bias"] + weights[1] * part.bias).astype(np.float32)
        found |= {"grams": part.grams.keys, "gram_weights": weights[1] * part.grams.weights}
    task, own = Sentiment.of_steps(shop.labels, shop.tokenizer, found, step=first.net.shape.step)
    config = RunConfig(
        epochs=shop.plan.epochs, batch_size=64, learning_rate=0.002, optimizer="adam", seed=shop.seed
    )
    return Bundle(task, own, config)


def _fitted(answers: Sequence[Logits], y: Numbers) -> NDArray[np.float64]:
    """The weight of each answer (M, outputs), above 0, with which the classes `y` (M,) are most probable together.

    A hair of a prior pulls them to 1: few rows, all answered rightly, would drive them without end.
    """
    z = torch.from_numpy(np.stack(answers))
    z = torch.cat([torch.zeros_like(z), z], 2) if z.shape[2] == 1 else z
    log_w = torch.zeros(len(answers), dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS([log_w], max_iter=50, line_search_fn="strong_wolfe")
    target = torch.from_numpy(y)

    def loss() -> torch.Tensor:
        solver.zero_grad()
        value = torch.nn.functional.cross_entropy((log_w.exp()[:, None, None] * z).sum(0), target)
        value = value + (log_w**2).sum() / (2 * len(y))
        value.backward()
        return value

    solver.step(loss)
    return np.asarray(log_w.detach().exp().numpy())


def _identity(examples: Examples, plan: Plan, unlabelled: Sequence[str], seed: int) -> str:
    """A name for all that decides what the candidates answer."""
    digest = hashlib.sha256(json.dumps([asdict(plan), seed]).encode())
    for column in (examples.texts, examples.labels or [], examples.groups or [], unlabelled):
        for text in column:
            digest.update(text.encode("utf-8", "surrogatepass") + b"\0")
        digest.update(b"\1")
    return digest.hexdigest()[:12]
