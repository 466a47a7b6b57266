"""`train captioning`: from captions with pictures to a model; `train encoder`: from pictures to its image network."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..captions.plan import Plan, Seeing
from ..errors import need
from . import Json, examples, option, progress, say, taken, with_options
from .make import print_row
from .pictures import Captioned

if TYPE_CHECKING:
    from ..datasets import Examples

INPUT = "flickr8k, a table of (image, caption), COCO's JSON, or a folder with one."
Input = Annotated[str, typer.Argument(metavar="INPUT", help=INPUT, show_default=False)]
Output = Annotated[Path, typer.Option("--output", "-o", help="Folder of the run.", show_default=False)]
Encoder = Annotated[Path, typer.Option(help="ONNX file of the image network.", show_default=False)]


@dataclass(frozen=True)
class Source:
    """Where captions come from, besides their table."""

    validation: str | None = option(None, "Other captions to choose on.", "dev, or a tenth of the pictures")
    data: str | None = option(None, "Where a named dataset lies.", "$UNROLLED_DATA or the cache")
    skip_bad: bool = option(False, "Leave out captions and pictures that cannot be used, and count them.")


def _train(
    input_: Input, output: Output, encoder: Encoder,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in that folder.")] = False,
    as_json: Json = False, **options: Any,
) -> None:  # fmt: skip
    """Train a captioner. One row of figures per epoch on stdout, progress on stderr."""
    need("torch", "train", "Training")
    from ..captions.make import Told, make
    from ..encoder import Encoder

    plan = taken(Plan, options)
    source, training, held = _read(input_, plan.seed, options)
    rows: list[dict[str, float]] = []
    with progress("reading pictures") as bar:
        told = Told(
            picture=lambda done: bar(done, None), skipped=say if source.skip_bad else None,
            epoch=rows.append if as_json else print_row,
        )  # fmt: skip
        make(training, held, Encoder(encoder), plan, output, resume=resume, told=told)
    if as_json:
        print(json.dumps(rows))
    say(f"model: {output}")


def _read(input_: str, seed: int, options: dict[str, Any]) -> tuple[Source, Examples, Examples]:
    """How captions are read, those to learn from, and those to choose on."""
    from ..recipe import split

    captioned, source = taken(Captioned, options), taken(Source, options)
    training = captioned.read(input_, "train", source.data, source.skip_bad)
    other = source.validation or (None if Path(input_).exists() else input_)
    if other is None:
        pictures = len({*(training.groups or [])})
        return source, *split(training, max(0.1, 2 / pictures), seed)
    return source, training, captioned.read(other, "dev", source.data, source.skip_bad)


def _train_encoder(
    input_: Input, output: Output,
    teacher: Annotated[Path, typer.Option(help="ONNX file of a large image network.", show_default=False)],
    **options: Any,
) -> None:  # fmt: skip
    """Train a small image network on what a large one sees in your pictures. The same command goes on with a run."""
    need("torch", "train", "Training")
    need("onnx", "onnx", "Writing ONNX")
    from ..captions.see import make
    from ..encoder import Encoder

    plan = taken(Seeing, options)
    _, training, held = _read(input_, plan.seed, options)
    file = make(training, held, Encoder(teacher, cache=False), plan, output, say=say, on_epoch=print_row)
    say(f"encoder: {file}")


train_encoder = with_options(_train_encoder, Captioned, Source, Seeing)
train_encoder.examples = examples(  # type: ignore[attr-defined]
    "unrolled train encoder flickr8k --teacher mobilenet_v2.onnx -o runs/encoder",
    "unrolled train encoder mine.csv --images photos --teacher mobilenet_v2.onnx --minutes 60 -o runs/encoder",
)
train_captioning = with_options(_train, Captioned, Source, Plan)
train_captioning.examples = examples(  # type: ignore[attr-defined]
    "unrolled train captioning flickr8k --encoder encoder.onnx -o runs/captions",
    "unrolled train captioning mine.csv --images photos --encoder encoder.onnx -o runs/mine",
)
