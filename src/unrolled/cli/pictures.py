"""`caption`, and `evaluate` for captions: pictures in, sentences out. `teach` holds their training."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import DataError
from . import Json, Model, examples, option, progress, say, table, with_options

if TYPE_CHECKING:
    from ..captions import Caption, Captioner
    from ..datasets import Examples

DEFAULT = "photos"
CHOSEN = "as training chose"
Encoder = Annotated[Path | None, typer.Option(help="ONNX file of the image network.", show_default="the model's own")]
Looked = Annotated[Path | None, typer.Option(help="Where it looked at the first picture (.png).", show_default="none")]
Pictures = Annotated[
    list[str], typer.Argument(metavar="PICTURE...|FOLDER", help="Pictures, or folders of them.", show_default=False)
]
Output = Annotated[str, typer.Option("--output", "-o", help="A CSV to write; - is stdout.", show_default="words")]


@dataclass(frozen=True)
class Captioned:
    """How captions with pictures are read."""

    image_column: str | None = option(None, "Column with the names of the pictures.", "image, file_name, ...")
    caption_column: str | None = option(None, "Column with the captions.", "caption, text, ...")
    images: str | None = option(None, "Folder or tar of the pictures.", "beside the table, or images in it")

    def read(self, source: str, split: str, data: str | None, skip_bad: bool) -> Examples:
        """The captions of a split, or all of a table; stderr says how many."""
        from ..datasets import resolve
        from ..datasets.files import captions

        if Path(source).exists():
            given = {"image_column": self.image_column, "caption_column": self.caption_column}
            found = captions(source, images_folder=self.images, skip_bad=skip_bad, **given)
        else:
            dataset = resolve(source, skip_bad=skip_bad, **({"data": data} if data else {}))
            found = dataset.load(split if split in dataset.splits else dataset.splits[0])
        say(f"{source}: {found.note}" + (f"; {found.skipped:,} captions left out" if found.skipped else ""))
        return found


@dataclass(frozen=True)
class Saying:
    """How sentences are made."""

    num_beams: int | None = option(None, "Of beam search; 1: greedy.", CHOSEN)
    max_length: int | None = option(None, "Words of a sentence at most.", CHOSEN)
    length_penalty: float | None = option(None, "Beams compare log p / n^a; this is a.", CHOSEN)
    number: int = option(1, "Sentences a picture, best first.")
    temperature: float = option(0.0, "Draw words by chance, above 1 more surprising ones; 0: beam search.")
    top_p: float = option(1.0, "Draw among the most probable words that together have this probability.")
    seed: int = option(0, "Of chance.")


def add(app: typer.Typer) -> None:
    """Add the verb `caption`; training stands below `train`, and `evaluate` hands captioning models over."""
    lines = "photo.jpg", "holiday --model runs/captions -o said.csv"
    app.command(epilog=examples(*(f"unrolled caption {line}" for line in lines)))(with_options(caption, Saying))


def caption(
    pictures: Pictures, model: Model = DEFAULT, output: Output = "", encoder: Encoder = None,
    attention: Looked = None, as_json: Json = False, **options: Any,
) -> None:  # fmt: skip
    """Say what is in pictures, with the mean probability per word. Goes on past pictures that cannot be read."""
    from ..captions import Captioner
    from ..data.images import files_in

    captioner, bad = Captioner.load(model, encoder, cache=False), 0
    found = [one for place in map(Path, pictures) for one in (files_in(place) if place.is_dir() else [place])]
    rows: list[tuple[object, ...]] = [("picture", "caption", "confidence", "status")]
    for path in found:
        try:
            answers = captioner.caption([path], **options)[0]
        except DataError as error:
            say(f"left out: {error}")
            rows.append((path, "", "", "unreadable"))
            bad += 1
            continue
        rows += [(path, one.text, f"{one.confidence:.4f}", "ok") for one in answers]
        for one in answers if not output else []:
            print(_as_json(path, one) if as_json else _in_words(path, one), flush=True)
        if attention:
            _draw_attention(captioner, path, answers[0], attention)
            attention = None
    if bad == len(found):
        raise DataError(f"None of {len(found)} pictures could be read. Expected names that end in .jpg, .png, ...")
    if bad:
        say(f"{bad:,} of {len(found):,} pictures could not be read")
    if output:
        _write(output, rows)


def _as_json(path: Path, one: Caption) -> str:
    return json.dumps({"picture": str(path), "caption": one.text, "confidence": one.confidence, "words": one.words})


def _in_words(path: Path, one: Caption) -> str:
    return f"{path}: {one.text}  (confidence per word {one.confidence:.2f})"


def _write(output: str, rows: Iterable[tuple[object, ...]]) -> None:
    from ..data import replacing

    text = StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    if output == "-":
        sys.stdout.write(text.getvalue())
    else:
        with replacing(Path(output)) as file:
            file.write(text.getvalue().encode("utf-8", "surrogateescape"))


def _draw_attention(captioner: Captioner, path: Path, one: Caption, output: Path) -> None:
    from ..data.images import decode
    from ..report.pictures import attention

    pixels = decode(path.read_bytes(), captioner.encoder.size, str(path))
    weights = captioner.decoder.attention(captioner.encoder.encode(pixels), one.sentence)
    if weights is None:
        raise DataError("This model reads pooled features and looks nowhere in particular; train one with --heads 4.")
    grid = weights.mean(1).reshape(-1, *captioner.encoder.grid)
    say(f"picture: {attention(output, pixels, one.words, grid)}")


def evaluate_captions(captioner: Captioner, found: Examples, report: Path | None, *, as_json: bool) -> None:
    """The figures of a captioning model, beside those of one constant caption and of a person."""
    from ..captions.score import evaluate
    from ..report.pictures import Shown, gallery

    with progress("reading pictures") as bar:
        scores = evaluate(captioner, found, on_picture=lambda done: bar(done, None))
    for problem in scores.skipped:
        say(f"left out: {problem}")
    kinds = {"model": scores.model, "one caption for all": scores.constant, "a person": scores.human}
    if as_json:
        beside = {f"constant_{name}": value for name, value in scores.constant.items()}
        beside |= {f"human_{name}": value for name, value in scores.human.items()}
        print(json.dumps({**scores.model, **beside, "skipped": len(scores.skipped)}))
    else:
        names = [*scores.model]
        table(["x 100", *names], [[kind, *(f"{one[n]:.4g}" for n in names)] for kind, one in kinds.items() if one])
    if report:
        rows = zip(scores.described.pictures, scores.described.said, scores.captions, scores.each, strict=True)
        shown = [
            Shown(
                picture.read, str(picture), one.text, one.confidence, [" ".join(words) for words in said], float(score)
            )
            for picture, said, one, score in rows
        ]
        say(f"report: {gallery(report, kinds, shown)}")
