"""`train` and `data`: from examples to a model, and from the network to examples."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import shelf
from ..errors import need
from . import INPUT, PLAIN, Reading, examples, load_split, progress, say, shelf_group, taken, with_options

if TYPE_CHECKING:
    from ..config import RunConfig
    from ..datasets import Examples
    from ..tasks import Task


def add(app: typer.Typer) -> None:
    """Add both verbs, each with one verb below it for each thing on its shelf."""
    for name, names, command, help_ in (
        ("train", _trained, _train, "Train a model on labelled examples."),
        ("data", _downloads, _data, "Fetch a dataset."),
    ):
        group = typer.Typer(**PLAIN, cls=shelf_group(names, command), no_args_is_help=True)
        group.callback(help=help_, epilog=examples(*GROUPS[name]))(lambda: None)
        app.add_typer(group, name=name)


GROUPS = {
    "train": ("unrolled train sentiment imdb -o runs/imdb", "unrolled train sentiment --help"),
    "data": ("unrolled data imdb -o data", "unrolled data imdb --help"),
}


def _trained() -> list[str]:
    return sorted([*shelf.names("tasks"), "encoder"])


OWN = {"captioning": "teach", "encoder": "teach", "events": "series", "forecast": "series",
       "language": "language", "sentiment": "texts"}  # fmt: skip
"""Tasks with a command of their own, and the file here that holds it as `train_NAME`."""


def _train(name: str) -> Callable[..., None]:
    if name in OWN:
        command: Callable[..., None] = getattr(import_module(f".{OWN[name]}", __package__), f"train_{name}")
        return command
    from ..config import RunConfig
    from ..tasks import Task

    kind = shelf.find("tasks", name, Task)

    def train(
        input_: Annotated[str, typer.Argument(metavar="INPUT", help=INPUT, show_default=False)],
        output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the run.", show_default=False)],
        split_by: Annotated[str | None, typer.Option(help=SPLIT_BY, show_default="none; imdb: the film")] = None,
        resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in that folder.")] = False,
        plots: Annotated[Path | None, typer.Option(help="Folder for pictures.", show_default="none")] = None,
        **options: Any,
    ) -> None:
        config = taken(RunConfig, options, task=name)
        need("torch", "train", "Training")
        if plots:
            need("matplotlib", "plot", "Drawing")
        dataset = Reading(**options).open(input_, group_column=split_by)
        rows = run_loop(kind, load_split(dataset, "train"), config, output, resume=resume)
        if plots:
            from .. import report

            say(f"picture: {report.history(plots / 'history.png', rows)}")

    train.__doc__ = f"Train a {name} model. One row of figures per epoch on stdout, progress on stderr."
    train.examples = examples(  # type: ignore[attr-defined]
        f"unrolled train {name} imdb -o runs/imdb",
        f"unrolled train {name} mine.csv --text-column review --label-column stars -o runs/mine",
    )
    return with_options(train, RunConfig, Reading, without="task")


SPLIT_BY = "Column of what validation must not share with training: the film, the author."


def run_loop(
    kind: type[Task], labelled: Examples, config: RunConfig, folder: Path, *, resume: bool
) -> list[dict[str, float]]:
    """Train a task by the loop of `train`; one row of figures per epoch on stdout, which are returned too."""
    from .. import recipe

    rows: list[dict[str, float]] = []

    def on_epoch(row: dict[str, float]) -> None:
        rows.append(row)
        print_row(row)

    with progress("training") as bar:
        recipe.run(
            kind,
            labelled,
            config,
            folder,
            resume=resume,
            on_batch=lambda done, batches: bar(done.epoch * batches + done.batch, config.epochs * batches),
            on_epoch=on_epoch,
        )
    say(f"model: {folder}")
    return rows


def print_row(row: dict[str, float]) -> None:
    """One row of figures, under their names before the first."""
    names = [name for name in row if name not in ("epoch", "seconds")]
    if row["epoch"] == 1:
        print("epoch  " + "  ".join(f"{name:>12}" for name in names) + "  seconds")
    figures = "  ".join(f"{row[name]:>12.4f}" for name in names)
    print(f"{int(row['epoch']):>5}  {figures}  {row['seconds']:>7.1f}", flush=True)


def _downloads() -> list[str]:
    return [name for name in shelf.names("datasets") if name != "files"]


def _data(name: str) -> Callable[..., None]:
    from ..datasets import Dataset

    module = sys.modules[shelf.find("datasets", name, Dataset).__module__]

    def data(
        output: Annotated[Path, typer.Option("--output", "-o", help="Folder to put it in.", show_default=False)],
    ) -> None:
        with progress(f"downloading {name}") as bar:
            path = module.download(output, progress=bar)
        print(path)

    data.__doc__ = f"Fetch {name} as it was published, and nothing else. Prints where it lies."
    data.examples = examples(f"unrolled data {name} -o data", f"unrolled data {name} -o .")  # type: ignore[attr-defined]
    return data
