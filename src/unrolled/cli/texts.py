"""`train sentiment`: a classifier of texts from somebody's own labelled ones."""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from ..config import RunConfig
from ..datasets import Examples
from ..errors import DataError, UsageError, need
from . import INPUT, Reading, examples, load_split, progress, say, taken, with_options

PRESETS = "own: chooses for your texts; fast: from nothing, a larger net; lesson: the lesson's network and its options."
SPLIT_BY = "Column of what validation must not share with training: the film, the author."
MAP = "Labels for values of the label column: '1,2=negative 3=neutral 4,5=positive'."


def _train_sentiment(
    input_: Annotated[str, typer.Argument(metavar="INPUT", help=INPUT, show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the run.", show_default=False)],
    preset: Annotated[str, typer.Option(help=PRESETS)] = "own",
    map_: Annotated[str, typer.Option("--map", help=MAP, show_default="none")] = "",
    unlabelled: Annotated[str | None, typer.Option(help="A file of more texts.", show_default="none")] = None,
    split_by: Annotated[str | None, typer.Option(help=SPLIT_BY, show_default="none; imdb: the film")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in that folder.")] = False,
    plots: Annotated[
        Path | None, typer.Option(help="Folder for pictures (lesson).", show_default="none")
    ] = None,
    **options: Any,
) -> None:
    """Train a classifier of texts. What was tried on rows held out goes to stdout, progress to stderr.

    The folder gets the model and report.html: confusion matrix, F1, slices, calibration, mistakes.
    """
    config = taken(RunConfig, options, task="sentiment")
    need("torch", "train", "Training")
    if plots:
        need("matplotlib", "plot", "Drawing")
    reading = Reading(**options)
    labelled = mapped(
        load_split(reading.open(input_, group_column=split_by), "train"), map_, reading.skip_bad
    )
    if preset == "lesson":
        _lesson(labelled, config, output, resume=resume, plots=plots)
        return
    _only_seed(config)
    from .. import recipe

    more = _texts(unlabelled, reading) if unlabelled else []
    with progress("training") as bar:
        recipe.own(
            labelled, preset, output, unlabelled=more, seed=config.seed, resume=resume, report=bar,
            say=partial(print, flush=True),
        )  # fmt: skip
    say(f"model: {output}")
    say(f"report: {output / 'report.html'}")


def mapped(labelled: Examples, rule: str, skip_bad: bool = False) -> Examples:
    """The examples with the labels that `rule`, "1,2=negative 3=neutral", gives to theirs.

    Raises:
        UsageError: a rule that cannot be read.
        DataError: a label that the rule does not name (with `skip_bad` such examples are left out).
    """
    if not rule or labelled.labels is None:
        return labelled
    names: dict[str, str] = {}
    for part in rule.split():
        values, _, name = part.rpartition("=")
        if not values or not name:
            raise UsageError(f"--map has the part '{part}'; expected VALUE,VALUE=LABEL, as in 1,2=negative.")
        names |= dict.fromkeys(values.split(","), name)
    unnamed = [label for label in labelled.labels if label.strip() not in names]
    if unnamed and not skip_bad:
        raise DataError(
            f"--map names no label for '{unnamed[0]}' ({len(unnamed):,} rows). "
            "Add it, or leave such rows out with --skip-bad."
        )
    found = labelled.take([i for i, label in enumerate(labelled.labels) if label.strip() in names])
    labels = [names[label.strip()] for label in found.labels or []]
    return replace(found, labels=labels, skipped=found.skipped + len(unnamed))


def _texts(file: str, reading: Reading) -> list[str]:
    found = load_split(replace(reading, label_column=None).open(file), "unsupervised")
    return found.texts


def _only_seed(config: RunConfig) -> None:
    given, usual = asdict(config), asdict(RunConfig())
    if other := [name for name in given if name != "seed" and given[name] != usual[name]]:
        option = f"--{other[0].replace('_', '-')}"
        raise UsageError(
            f"{option} is an option of the lesson's training: add --preset lesson, or leave it out."
        )


def _lesson(labelled: Examples, config: RunConfig, output: Path, *, resume: bool, plots: Path | None) -> None:
    from ..tasks.sentiment import Sentiment
    from .make import run_loop

    rows = run_loop(Sentiment, labelled, config, output, resume=resume)
    if plots:
        from .. import report

        say(f"picture: {report.history(plots / 'history.png', rows)}")


train_sentiment = with_options(_train_sentiment, RunConfig, Reading, without="task")
train_sentiment.examples = examples(  # type: ignore[attr-defined]
    "unrolled train sentiment mine.csv --label-column stars --map '1,2=negative 3=neutral 4,5=positive' -o runs/mine",
    "unrolled train sentiment imdb --preset fast -o runs/fast",
)
