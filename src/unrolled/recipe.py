"""A run from examples to a bundle on disk: split, learn the task, train, keep the best epoch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from . import bundle as bundles
from . import layers, train
from .config import RunConfig
from .datasets import Examples
from .errors import DataError, UsageError
from .tasks import Task

if TYPE_CHECKING:
    from .distil.own import Learned


def split(examples: Examples, share: float, seed: int) -> tuple[Examples, Examples]:
    """The training and the validation part, each in the order of `examples`.

    Where the examples have groups (the film of each review, say) a group falls on one side as a whole: examples
    of one group resemble each other and would make validation look better than the test.

    Args:
        examples: what to split.
        share: of the examples that is held out, in [0, 1); with groups, at most this share.
        seed: of the draw.
    """
    rng = np.random.default_rng([seed, len(examples)])
    if examples.groups is None:
        held_out = rng.permutation(len(examples))[: round(share * len(examples))]
    else:
        names, member = np.unique(np.asarray(examples.groups, dtype=str), return_inverse=True)
        order = rng.permutation(len(names))
        sizes = np.cumsum(np.bincount(member)[order])
        held_out = np.flatnonzero(np.isin(member, order[sizes <= share * len(examples)]))
    mask = np.zeros(len(examples), bool)
    mask[held_out] = True
    return examples.take(np.flatnonzero(~mask).tolist()), examples.take(np.flatnonzero(mask).tolist())


def run(
    kind: type[Task],
    examples: Examples,
    config: RunConfig,
    folder: Path,
    *,
    resume: bool = False,
    on_batch: Callable[[train.Progress, int], None] | None = None,
    on_epoch: Callable[[train.Row], None] | None = None,
) -> bundles.Bundle:
    """Learn a task from examples and write the bundle of its best epoch into `folder`.

    Args:
        kind: the task's class.
        examples: texts with labels; their groups, if any, are kept together by the split.
        config: settings of the run.
        folder: where the bundle, and the checkpoint on the way, are written.
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
    first, second = split(examples, config.validation_split, config.seed)
    task = kind.learn(first.texts, _labels(first))
    training, validation = _arrays(task, first), _arrays(task, second) if len(second) else None
    stack = layers.build(task.network, task.network.initial(config.seed))
    trainer = train.Trainer(
        stack, task.training_loss, config, folder=folder, on_batch=on_batch, on_epoch=on_epoch
    )
    trainer.resume()
    history = trainer.fit(training, validation)
    card = _card(task, history, len(first), len(second))
    bundle = bundles.Bundle(task, trainer.best, config, card, folder.name)
    bundle.save(folder)
    (folder / bundles.CHECKPOINT).unlink(missing_ok=True)
    return bundle


def own(
    examples: Examples, preset: str, folder: Path, *, unlabelled: Sequence[str] = (), seed: int = 0,
    resume: bool = False, say: Callable[[str], None] = print,
    report: Callable[[float, float], None] = lambda done, whole: None,
) -> Learned:  # fmt: skip
    """Learn to classify somebody's texts (`distil.own`); `folder` gets the model and a page about it, `report.html`.

    Args:
        examples: texts with labels; their groups, if any, are kept together.
        preset: "own" chooses for these texts; "fast" begins at nothing and trains a larger net.
        folder: where model, page and, on the way, what is done of each candidate are written.
        unlabelled: more texts of the kind.
        seed: of folds, first weights and order.
        resume: go on after the epochs that are finished.
        say: called with a line for each candidate.
        report: called with the work done and the whole.

    Raises:
        UsageError: `folder` holds a run already and `resume` is false, or an unknown preset.
        DataError: the examples cannot be learned from.
    """
    from .distil import own as room
    from .evaluate import Evaluation
    from .report import training

    if preset not in ("own", "fast"):
        raise UsageError(f"There is no preset '{preset}'. Known: own, fast.")
    if (folder / "task.json").exists() or (any(folder.glob("tried-*")) and not resume):
        raise UsageError(f"{folder} holds a run already. Continue it with --resume, or give another folder.")
    _labels(examples)
    folder.mkdir(parents=True, exist_ok=True)
    plan = room.FAST if preset == "fast" else room.Plan.own(examples)
    plan = replace(plan, guesses=1) if unlabelled else plan
    found = room.learn(
        examples, plan, unlabelled=unlabelled, seed=seed, folder=folder, say=say, report=report
    )
    figures = Evaluation(found.bundle.labels, found.truth, found.probabilities)
    texts = [examples.texts[i] for i in found.rows.tolist()]
    rows = [(row.name, row.accuracy, row.macro_f1, row.log_loss) for row in found.tried]
    training.page(folder / "report.html", folder.name, figures, texts, rows)
    found.bundle.card = _own_card(found, len(examples))
    found.bundle.name = folder.name
    found.bundle.save(folder)
    for path in folder.glob("tried-*"):
        path.unlink()
    return found


def _own_card(found: Learned, count: int) -> str:
    rows = [
        f"| {row.name} | {row.accuracy:.4f} | {row.macro_f1:.4f} | {row.log_loss:.4f} |"
        for row in found.tried
    ]
    return "\n".join(
        [
            "# A sentiment model",
            "",
            f"Labels: {', '.join(found.bundle.labels)}. Learned from {count:,} texts; the figures are of",
            f"{len(found.rows):,} of them, each answered by a model that was not shown it. The last row was chosen.",
            "",
            "| tried | accuracy | macro F1 | log-loss |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )


def _labels(examples: Examples) -> list[str]:
    if examples.labels is None:
        raise DataError(
            "The examples have no labels; training needs one for each text. Name their column: --label-column NAME."
        )
    return examples.labels


def _arrays(task: Task, examples: Examples) -> train.Arrays:
    return train.Arrays(task.pad(task.encode(examples.texts)), task.targets(_labels(examples)))


def _card(task: Task, history: Sequence[train.Row], trained: int, held_out: int) -> str:
    best = train.best(history)
    shown = [name for name in best if name not in ("epoch", "seconds")]
    rows = [
        f"| {int(row['epoch'])}{' (kept)' if row is best else ''} | "
        + " | ".join(f"{row[name]:.4f}" for name in shown)
        + " |"
        for row in history
    ]
    return "\n".join(
        [
            f"# A {task.name} model",
            "",
            f"Labels: {', '.join(task.labels)}. {sum(task.network.parameter_counts()):,} parameters.",
            f"Trained on {trained:,} examples; {held_out:,} were held out to choose the epoch.",
            "",
            f"| epoch | {' | '.join(shown)} |",
            "|---" * (len(shown) + 1) + "|",
            *rows,
            "",
        ]
    )
