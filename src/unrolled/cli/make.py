"""`train` and `data`: from examples to a model, and from the network to examples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import shelf
from ..errors import need
from . import PLAIN, examples, progress, say, shelf_group, with_options


def add(app: typer.Typer) -> None:
    """Add both verbs, each with one verb below it for each thing on its shelf."""
    for name, names, command, help_ in (
        ("train", _tasks, _train, "Train a model on labelled examples."),
        ("data", _downloads, _data, "Fetch a dataset."),
    ):
        group = typer.Typer(**PLAIN, cls=shelf_group(names, command), no_args_is_help=True)
        group.callback(help=help_, epilog=examples(*GROUPS[name]))(lambda: None)
        app.add_typer(group, name=name)


GROUPS = {
    "train": ("unrolled train sentiment imdb -o runs/imdb", "unrolled train sentiment --help"),
    "data": ("unrolled data imdb -o data", "unrolled data imdb --help"),
}


def _tasks() -> list[str]:
    return shelf.names("tasks")


def _train(name: str) -> Callable[..., None]:
    from ..config import RunConfig

    def train(
        input_: Annotated[str, typer.Argument(metavar="INPUT", help=INPUT, show_default=False)],
        output: Annotated[
            Path, typer.Option("--output", "-o", help="Folder of the run.", show_default=False)
        ],
        resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in that folder.")] = False,
        **options: Any,
    ) -> None:
        config = RunConfig(task=name, **{key: options.pop(key) for key in list(options) if key in settings})
        _run(config, input_, output, resume)

    settings = {entry.name for entry in fields(RunConfig)}
    train.__doc__ = f"Train a {name} model. One row of figures per epoch on stdout, progress on stderr."
    return with_options(train, RunConfig, without=["task"])


INPUT = "A table (CSV, TSV, JSONL, Parquet), a folder of texts per label, - (stdin), or a dataset's name."


def _run(config: Any, source: str, folder: Path, resume: bool) -> None:
    need("torch", "train", "Training")
    from .. import recipe
    from ..datasets import resolve
    from ..tasks import Task

    loaded = resolve(source).load("train")
    with progress("training") as bar:
        recipe.run(
            shelf.find("tasks", config.task, Task),  # type: ignore[type-abstract]
            loaded,
            config,
            folder,
            resume=resume,
            on_batch=lambda done, batches: bar(done.epoch * batches + done.batch, config.epochs * batches),
            on_epoch=_row,
        )
    say(f"model: {folder}")


def _row(row: dict[str, float]) -> None:
    names = [name for name in row if name not in ("epoch", "seconds")]
    if row["epoch"] == 1:
        print("epoch  " + "  ".join(f"{name:>12}" for name in names) + "  seconds")
    print(
        f"{int(row['epoch']):>5}  "
        + "  ".join(f"{row[name]:>12.4f}" for name in names)
        + f"  {row['seconds']:>7.1f}",
        flush=True,
    )


def _downloads() -> list[str]:
    return [name for name in shelf.names("datasets") if name != "files"]


def _data(name: str) -> Callable[..., None]:
    def data(
        output: Annotated[
            Path, typer.Option("--output", "-o", help="Folder to put it in.", show_default=False)
        ],
    ) -> None:
        print(output)

    return data
