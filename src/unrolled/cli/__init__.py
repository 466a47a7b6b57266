"""The command line: words in, words out. One file holds a family of verbs; this page is what they share.

Results go to stdout, everything else to stderr. Exit status: 0 good, 1 failed, 2 asked wrongly, 130 interrupted.
Verbs import what they need when they run, so that `--help` is quick.
"""

from __future__ import annotations

import inspect
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import Field, asdict, dataclass, field, fields
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any, TextIO, TypeVar, get_type_hints

import typer
from typer.core import TyperGroup

from ..errors import UnrolledError, UsageError

if TYPE_CHECKING:
    from ..bundle import Bundle
    from ..datasets import Dataset, Examples

Options = TypeVar("Options")
DEFAULT_MODEL = "general"
"""That answers; it may say neutral."""
REVIEWS_MODEL = "reviews-small"
"""That is measured: labelled texts have mostly two classes."""
INPUT = "A table (CSV, TSV, JSONL, Parquet, .xlsx), a folder of texts per label, - (stdin), or a dataset's name."
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of words.")]
PLAIN: dict[str, Any] = {"rich_markup_mode": None, "add_completion": False, "pretty_exceptions_enable": False}

Model = Annotated[str, typer.Option("--model", "-m", help="A model's name, or the folder of a training run.")]


def option(default: Any, help: str, shown: str = "") -> Any:
    """A dataclass field that `with_options` turns into an option; `shown` is what its help calls the default."""
    return field(default=default, metadata={"help": help, "shown": shown})


@dataclass(frozen=True)
class Reading:
    """How labelled examples are read: options of every verb that reads them."""

    text_column: str | None = option(None, "Column with the texts.", '"text", or the only one')
    label_column: str | None = option(None, "Column with the labels; a folder of texts per label needs none.")
    encoding: str | None = option(None, "Encoding of a table.", "found out")
    delimiter: str | None = option(None, "What stands between a table's fields.", "found out")
    skip_bad: bool = option(False, "Leave out rows that cannot be used, and count them.")
    data: str | None = option(
        None, "Where a named dataset is kept.", "$UNROLLED_DATA, the cache, or a download"
    )

    def open(self, source: str, **more: Any) -> Dataset:
        """The table, the folder or the named dataset `source`; `more` are options of it that may be None."""
        from ..datasets import resolve

        given = {name: value for name, value in (asdict(self) | more).items() if value not in (None, False)}
        if source == "-" or os.path.exists(source):
            return resolve(source, **given)
        with progress("downloading") as bar:
            return resolve(source, progress=bar, **given)


def load_split(dataset: Dataset, split: str) -> Examples:
    """The examples of `split`, or all of a source that is not divided; stderr says how they were read."""
    found = dataset.load(split if split in dataset.splits or len(dataset.splits) > 1 else dataset.splits[0])
    if found.note:
        say(found.note)
    if found.skipped:
        say(f"{found.skipped:,} rows left out")
    return found


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit status."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        _never_fail(stream)
    try:
        status = _call(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        status = 1
        # The interpreter flushes once more at exit; what is left must go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status


def _call(arguments: Sequence[str]) -> int:
    try:
        _application()(args=list(arguments), prog_name="unrolled")
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 1
    except UnrolledError as error:
        say(f"Error: {error}")
        return 2 if isinstance(error, UsageError) else 1
    except BrokenPipeError:
        raise
    except OSError as error:
        say(f"Error: {error.filename or 'The system'}: {error.strerror or error}.")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _application() -> typer.Typer:
    from . import answer, export, language, learn, look, make, pictures, series, use

    app = typer.Typer(
        **PLAIN, no_args_is_help=True, help="Recurrent networks on CPUs: train, read and use them."
    )
    for family in (use, answer, pictures, make, series, language, export, learn, look):
        family.add(app)
    return app


def _never_fail(stream: TextIO | None) -> None:
    # A console of another century must show a question mark rather than end the program.
    if stream is not None and hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="replace")


def say(text: str) -> None:
    """Print to stderr: everything that is not the result."""
    print(text, file=sys.stderr, flush=True)


def examples(*lines: str) -> str:
    """The end of a verb's help."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under their headings, each column as wide as it needs, numbers to the right."""
    cells = [list(map(str, row)) for row in rows]
    right = [bool(column) and all(_is_number(cell) for cell in column) for column in zip(*cells, strict=True)]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    for line in [columns, *cells]:
        placed = zip(line, widths, right or [False] * len(widths), strict=True)
        print("  ".join(f"{c:>{w}}" if to_right else f"{c:<{w}}" for c, w, to_right in placed).rstrip())


def _is_number(cell: str) -> bool:
    return cell.strip("-+%").replace(".", "").replace(",", "").isdigit()


def open_model(name: str) -> Bundle:
    """The model called `name`, shipped or in a folder; stderr says which one answers."""
    from ..bundle import Bundle

    bundle = Bundle.load(name)
    say(f"model: {name}")
    return bundle


def shelf_group(
    names: Callable[[], list[str]], command: Callable[[str], Callable[..., None]]
) -> type[TyperGroup]:
    """A group whose verbs are the things on a shelf; each becomes a command when it is asked for.

    Args:
        names: what stands on the shelf.
        command: the function to call for a name, with its options in its signature; its attribute `examples`
            ends the help. Raises UnknownNameError.
    """

    class ShelfGroup(TyperGroup):
        def list_commands(self, ctx: Any) -> list[str]:
            return names()

        def get_command(self, ctx: Any, cmd_name: str) -> Any:
            function = command(cmd_name)
            app = typer.Typer(**PLAIN)
            app.command(cmd_name, epilog=getattr(function, "examples", None))(function)
            return typer.main.get_command(app)

    return ShelfGroup


def with_options(function: Callable[..., None], *kinds: type, without: str = "") -> Callable[..., None]:
    """`function(..., **options)` with one option for each field of the dataclasses `kinds` in its signature.

    A field's help is its metadata "help", or its line under "Attributes:" in the docstring of its class. Whether
    a value makes sense is left to the class, so that Python and the command line say the same.
    """
    hints = get_type_hints(function, include_extras=True)
    own = inspect.signature(function).parameters.values()
    parameters = [p.replace(annotation=hints[p.name]) for p in own if p.kind is not p.VAR_KEYWORD]
    for kind in kinds:
        parameters += [_parameter(kind, entry) for entry in fields(kind) if entry.name != without]

    @wraps(function)
    def call(**given: Any) -> None:
        function(**given)

    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {p.name: p.annotation for p in parameters}
    return call


def _parameter(kind: type, entry: Field[Any]) -> inspect.Parameter:
    text = entry.metadata.get("help") or _attributes(kind)[entry.name]
    shown = entry.metadata.get("shown") or ("none" if entry.default in (None, "") else True)
    name = f"--{entry.name.replace('_', '-')}"  # given, so that a switch gets no second name "--no-..."
    return inspect.Parameter(
        entry.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=typer.Option(entry.default, name, help=text, show_default=shown),
        annotation=get_type_hints(kind)[entry.name],
    )


def taken(kind: type[Options], options: dict[str, Any], **more: Any) -> Options:
    """`kind` made from its fields in `options`, which are taken out."""
    names = [entry.name for entry in fields(kind) if entry.name in options]  # type: ignore[arg-type]
    return kind(**{name: options.pop(name) for name in names}, **more)


def _attributes(kind: type) -> dict[str, str]:
    _, _, listed = (inspect.getdoc(kind) or "").partition("Attributes:\n")
    entries = re.findall(r"^    (\w+): (.+(?:\n     .+)*)", listed, re.MULTILINE)
    return {name: text[0].upper() + " ".join(text[1:].split()) for name, text in entries}


@contextmanager
def progress(what: str) -> Iterator[Callable[[float, float | None], None]]:
    """A bar on stderr, if that is a terminal; yields what to call with the work done and the whole (or None)."""
    if not sys.stderr.isatty():
        yield lambda done, whole: None
        return
    from rich.console import Console
    from rich.progress import Progress

    # What is printed meanwhile may pass through the bar only where it ends on the same terminal.
    with Progress(console=Console(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty()) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, whole: bar.update(task, completed=done, total=whole)
