"""`lesson` and `bench`: things on a shelf whose fields are their options."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import shelf
from . import PLAIN, Json, examples, say, shelf_group, table, with_options


def add(app: typer.Typer) -> None:
    """Add both verbs."""
    lesson = typer.Typer(**PLAIN, cls=shelf_group(lambda: shelf.names("lessons"), _lesson))
    lesson.callback(
        invoke_without_command=True,
        help="Short programs that teach; without a name, their list.",
        epilog=examples("unrolled lesson", "unrolled lesson hello --step"),
    )(_unless_named(_lessons))
    app.add_typer(lesson, name="lesson")
    bench = typer.Typer(**PLAIN, cls=shelf_group(lambda: shelf.names("bench"), _bench))
    bench.callback(
        invoke_without_command=True,
        help="We and the real peer in one run; without a name, their list.",
        epilog=examples("unrolled bench", "unrolled bench lesson --rounds 3 --json"),
    )(_unless_named(_benches))
    app.add_typer(bench, name="bench")


def _unless_named(listing: Callable[[], None]) -> Callable[[typer.Context], None]:
    def callback(ctx: typer.Context) -> None:
        if ctx.invoked_subcommand is None:
            listing()

    callback.__annotations__ = {"ctx": typer.Context}
    return callback


def _listed(kinds: dict[str, Any]) -> None:
    rows = [
        (name, kind.title, kind.minutes, ", ".join(kind.needs) or "no extra") for name, kind in kinds.items()
    ]
    table(("name", "what", "takes", "needs"), rows)


def _lessons() -> None:
    from ..lessons import find

    _listed({name: find(name) for name in shelf.names("lessons")})


def _benches() -> None:
    _listed({name: _find_bench(name) for name in shelf.names("bench")})


def _find_bench(name: str) -> Any:
    from ..bench import Bench

    return shelf.find("bench", name, Bench)


def _lesson(name: str) -> Callable[..., None]:
    from ..lessons import Narrator, find

    kind = find(name)

    def lesson(
        step: Annotated[
            bool, typer.Option("--step", help="Wait for the Enter key before each step.")
        ] = False,
        show: Annotated[bool, typer.Option("--open", help="Open each picture in the browser.")] = False,
        output: Annotated[Path, typer.Option("--output", "-o", help="Where pictures are saved.")] = Path(
            "runs/lessons"
        ),
        **options: Any,
    ) -> None:
        kind(**options).run(Narrator(folder=output, pause=step, show=show))

    lesson.__doc__ = kind.title
    lesson.examples = examples(f"unrolled lesson {name}", f"unrolled lesson {name} --seed 1 --open")  # type: ignore[attr-defined]
    return with_options(lesson, kind)


def _bench(name: str) -> Callable[..., None]:
    kind = _find_bench(name)

    def bench(
        as_json: Json = False,
        **options: Any,
    ) -> None:
        result = kind(**options).run(say if as_json else print)
        if as_json:
            print(json.dumps(result))

    bench.__doc__ = kind.title
    bench.examples = examples(f"unrolled bench {name}", f"unrolled bench {name} --rounds 3 --json")  # type: ignore[attr-defined]
    return with_options(bench, kind)
