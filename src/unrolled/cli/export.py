"""`export`: a trained model in a foreign format."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .. import shelf
from ..errors import UsageError
from . import examples, open_model, say


def add(app: typer.Typer) -> None:
    """Add the verb."""
    lines = (
        "unrolled export reviews-small onnx -o reviews.onnx",
        "unrolled export runs/mine onnx -o mine.onnx",
    )
    app.command(epilog=examples(*lines))(export)


def export(
    model: Annotated[
        str, typer.Argument(metavar="RUN", help="A model's name or its folder.", show_default=False)
    ],
    kind: Annotated[str, typer.Argument(metavar="FORMAT", help="For example onnx.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.", show_default=False)],
) -> None:
    """Write a model in another format, after that format's runtime has answered as we do."""
    from ..exports import Export

    format_ = shelf.find("exports", kind, Export, kind="format")
    if output.suffix != format_.ending:
        raise UsageError(
            f"{output} does not end in {format_.ending}, the ending of {kind} files. Give it that ending."
        )
    worst = format_().write(open_model(model), output)
    say(f"largest difference of a probability: {worst:.1e}")
    print(output)
