"""A run from examples to a bundle on disk: split, learn the task, train, keep the best epoch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from . import bundle as bundles
from . import layers, train
from .config import RunConfig
from .errors import UsageError
from .tasks import Task


def split(
    labels: Sequence[str], share: float, seed: int, groups: Sequence[str] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the training and of the validation examples, each ascending.

    With `groups` (the film of each review, say) all examples of a group fall on the same side, because examples
    of one group resemble each other and would make validation look better than the test.

    Args:
        labels: one per example; only their number matters.
        share: of the examples (or, about, of the groups' examples) that is held out.
        seed: of the draw.
        groups: one name per example.
    """
    rng = np.random.default_rng([seed, 0x5917])
    if groups is None:
        order = rng.permutation(len(labels))
        held_out = order[: round(share * len(labels))]
    else:
        names, member = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
        order = rng.permutation(len(names))
        sizes = np.cumsum(np.bincount(member)[order])
        held_out = np.flatnonzero(np.isin(member, order[sizes <= share * len(labels)]))
    mask = np.zeros(len(labels), bool)
    mask[held_out] = True
    return np.flatnonzero(~mask), np.flatnonzero(mask)


def run(
    kind: type[Task],
    inputs: Sequence[str],
    labels: Sequence[str],
    config: RunConfig,
    *,
    folder: Path,
    groups: Sequence[str] | None = None,
    resume: bool = False,
    on_batch: Callable[[train.Progress, int], None] | None = None,
    on_epoch: Callable[[train.Row], None] | None = None,
) -> bundles.Bundle:
    """Learn a task from examples and write the bundle of its best epoch into `folder`.

    Args:
        kind: the task's class.
        inputs: one text per example.
        labels: one label per example.
        config: settings of the run.
        folder: where the bundle, and the checkpoint on the way, are written.
        groups: split training and validation by these names.
        resume: go on from the checkpoint in `folder`; a finished run is only loaded.
        on_batch: see `train.Trainer`.
        on_epoch: see `train.Trainer`.

    Raises:
        UsageError: `folder` holds a run already and `resume` is false.
        DataError: the examples cannot be learned from.
        TrainingError: the loss is not a number.
    """
    finished, begun = (folder / "task.json").exists(), (folder / bundles.CHECKPOINT).exists()
    if (finished or begun) and not resume:
        raise UsageError(f"{folder} holds a run already. Continue it with --resume, or give another folder.")
    if finished:
        return bundles.Bundle.load(folder)
    first, second = split(labels, config.validation_split, config.seed, groups)
    task = kind.learn([inputs[i] for i in first], [labels[i] for i in first])
    training = _arrays(task, inputs, labels, first)
    validation = _arrays(task, inputs, labels, second) if len(second) else None
    stack = layers.build(task.network, task.network.initial(config.seed))
    trainer = train.Trainer(
        stack, task.training_loss, config, folder=folder, on_batch=on_batch, on_epoch=on_epoch
    )
    trainer.resume()
    history = trainer.fit(training, validation)
    bundle = bundles.Bundle(
        task, trainer.best, config, _card(task, history, len(first), len(second)), folder.name
    )
    bundle.save(folder)
    (folder / bundles.CHECKPOINT).unlink(missing_ok=True)
    return bundle


def _arrays(task: Task, inputs: Sequence[str], labels: Sequence[str], chosen: np.ndarray) -> train.Arrays:
    return train.Arrays(
        task.pad(task.encode([inputs[i] for i in chosen])), task.targets([labels[i] for i in chosen])
    )


def _card(task: Task, history: Sequence[train.Row], trained: int, held_out: int) -> str:
    best = max(history, key=lambda row: row.get("val_accuracy", row["epoch"]))
    lines = [
        f"# A {task.name} model",
        "",
        f"Labels: {', '.join(task.labels)}. {sum(task.network.parameter_counts()):,} parameters.",
        f"Trained on {trained:,} examples; {held_out:,} were held out to choose the epoch.",
        "",
        "| epoch | " + " | ".join(name for name in best if name not in ("epoch", "seconds")) + " |",
        "|---" * (len(best) - 1) + "|",
    ]
    for row in history:
        figures = " | ".join(f"{v:.4f}" for k, v in row.items() if k not in ("epoch", "seconds"))
        lines.append(f"| {int(row['epoch'])}{' (kept)' if row is best else ''} | {figures} |")
    return "\n".join(lines) + "\n"
