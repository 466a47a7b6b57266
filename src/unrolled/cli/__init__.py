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
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any, TextIO, get_type_hints

import typer
from typer.core import TyperGroup

from ..errors import UnrolledError, UsageError

if TYPE_CHECKING:
    from ..bundle import Bundle

DEFAULT_MODEL = "reviews"
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of words.")]
PLAIN: dict[str, Any] = {"rich_markup_mode": None, "add_completion": False, "pretty_exceptions_enable": False}

TextColumn = Annotated[str, typer.Option(help="Name of the column with the texts.")]
LabelColumn = Annotated[str, typer.Option(help="Name of the column with the labels.")]
Encoding = Annotated[str | None, typer.Option(help="Encoding of the table.", show_default="found out")]
Delimiter = Annotated[str | None, typer.Option(help="What stands between fields.", show_default="found out")]


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
    from . import learn, look, make, use

    app = typer.Typer(
        **PLAIN, no_args_is_help=True, help="Recurrent networks on CPUs: train, read and use them."
    )
    for family in (use, make, learn, look):
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


def with_options(
    function: Callable[..., None], kind: type, *, without: Sequence[str] = ()
) -> Callable[..., None]:
    """`function(..., **options)` with one option for each field of the dataclass `kind` in its signature.

    A field's help is its metadata "help", or its line under "Attributes:" in the docstring of `kind`. Whether a
    value makes sense is left to `kind`, so that Python and the command line say the same.
    """
    hints, own = get_type_hints(kind), get_type_hints(function, include_extras=True)
    described = _attributes(kind)
    parameters = [
        p.replace(annotation=own[p.name])
        for p in inspect.signature(function).parameters.values()
        if p.kind is not p.VAR_KEYWORD
    ]
    for entry in fields(kind):
        if entry.name not in without:
            text = entry.metadata.get("help") or described[entry.name]
            parameters.append(
                inspect.Parameter(
                    entry.name,
                    inspect.Parameter.KEYWORD_ONLY,
                    default=typer.Option(entry.default, help=text),
                    annotation=hints[entry.name],
                )
            )
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    function.__annotations__ = {p.name: p.annotation for p in parameters}
    return function


def _attributes(kind: type) -> dict[str, str]:
    _, _, listed = (inspect.getdoc(kind) or "").partition("Attributes:\n")
    entries = re.findall(r"^    (\w+): (.+(?:\n     .+)*)", listed, re.MULTILINE)
    return {name: " ".join(text.split()).capitalize() for name, text in entries}


@contextmanager
def progress(what: str) -> Iterator[Callable[[float, float | None], None]]:
    """A bar on stderr, if that is a terminal; yields what to call with the work done and the whole (or None)."""
    if not sys.stderr.isatty():
        yield lambda done, whole: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, whole: bar.update(task, completed=done, total=whole)
