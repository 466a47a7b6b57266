"""`export`: a trained model in a foreign format."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .. import shelf
from ..errors import UsageError
from . import examples, say


def add(app: typer.Typer) -> None:
    """Add the verb."""
    lines = (
        "unrolled export reviews-small onnx -o reviews.onnx",
        "unrolled export timm:mobilenetv3_small_100 encoder -o encoder.onnx",
    )
    app.command(epilog=examples(*lines))(export)


def export(
    model: Annotated[
        str, typer.Argument(metavar="RUN", help="A model's name or folder; timm:NAME.", show_default=False)
    ],
    kind: Annotated[str, typer.Argument(metavar="FORMAT", help="onnx; encoder of timm.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.", show_default=False)],
) -> None:
    """Write a model in another format, after that format's runtime has answered as we do."""
    from ..exports import Export

    format_ = shelf.find("exports", kind, Export, kind="format")
    if output.suffix != format_.ending:
        raise UsageError(
            f"{output} does not end in {format_.ending}, the ending of {kind} files. Give it that ending."
        )
    made = format_()
    source = made.open(model)
    say(f"model: {model}")
    say(f"largest difference of a {format_.compares}: {made.write(source, output):.1e}")
    print(output)
