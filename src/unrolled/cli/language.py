"""`train language`, `generate`, `next`, `score`: what comes next in a text."""

from __future__ import annotations

import csv
import io
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import DataError
from . import Json, examples, option, say, table, with_options

if TYPE_CHECKING:
    from ..config import RunConfig
    from ..language import LanguageModel, Score
    from ..train import Progress

DEFAULT = "shakespeare"
EVERY = 10.0
"""Seconds between two lines about how far training is."""
Text = Annotated[
    str, typer.Argument(metavar="FILE|FOLDER", help="Plain text, or a folder of it.", show_default=False)
]
Model = Annotated[str, typer.Option("--model", "-m", help="A model's name, or the folder of a training run.")]

Adaptive = Annotated[bool, typer.Option("--adaptive", help="By methods that learn while they read.")]
Window = Annotated[
    int, typer.Option(help="Read windows of so many symbols, each from nothing; 0: as one text.")
]
Kept = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", help="File to write to; beside it goes what was copied.", show_default="none"
    ),
]
Each = Annotated[
    Path | None, typer.Option(help="CSV file for the surprise of each symbol.", show_default="none")
]


@dataclass(frozen=True)
class Learning:
    """How a language model is made."""

    level: str = option("char", "What a symbol is: char, byte or word.")
    minutes: float = option(5.0, "Of training; size and schedule are fitted to them.")
    steps: int = option(0, "Updates, instead of minutes.")
    units: int = option(0, "Of the LSTM; 0: as many as text and minutes bear.")
    dropout: float | None = option(
        None, "Share of the LSTM's output that is dropped in training; by default more the more passes."
    )
    vocabulary: int = option(40_000, "Words that are known at most.")
    held_out: float = option(0.03, "Share of the text, its end, that is not learned.")
    seed: int = option(0, "Of first weights and chance.")


@dataclass(frozen=True)
class Way:
    """How next symbols are drawn: `language.Drawing`, as words for the command line."""

    temperature: float = option(0.8, "Above 1 more surprising, below 1 safer; 0 always the most probable.")
    top_k: int = option(0, "Draw among this many most probable symbols; 0: among all.")
    top_p: float = option(1.0, "Draw among the most probable symbols that together have this probability.")
    repetition_penalty: float = option(1.0, "Power above 1 that lowers what stood in the last 64 symbols.")


def add(app: typer.Typer) -> None:
    """Add the verbs that use a run; the one that makes it stands below `train`."""
    for name, verb, *lines in (
        ("generate", with_options(generate, Way), 'unrolled generate "ROMEO:"',
         'unrolled generate "Once" --model runs/tales -n 3 --temperature 1'),
        ("next", next_, 'unrolled next "My lord, the "', 'unrolled next "the film was" --model runs/mine -k 10'),
        ("score", score, "unrolled score play.txt", "unrolled score play.txt --model runs/mine --adaptive"),
    ):  # fmt: skip
        app.command(name, epilog=examples(*lines))(verb)


def _train_language(
    input_: Text,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the run.", show_default=False)],
    validation: Annotated[
        str | None, typer.Option(help="Text to hold out instead.", show_default="the end of the text")
    ] = None,
    start: Annotated[
        str | None, typer.Option(help="Model to go on from, on new text.", show_default="none")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in that folder.")] = False,
    **options: Any,
) -> None:
    """Learn to predict what comes next in a text. A counting model stands beside the network's figures."""
    from ..language import LanguageModel

    model = LanguageModel(**options)
    if start:
        model.bundle = LanguageModel.load(start).bundle
    model.fit(input_, validation=validation, folder=output, resume=resume, on_batch=_Told(), on_epoch=_pass)
    if model.note:
        say(model.note)
    assert model.bundle
    print(model.bundle.card)
    say(f"model: {output}")


train_language = with_options(_train_language, Learning)
train_language.examples = examples(  # type: ignore[attr-defined]
    "unrolled train language play.txt --minutes 5 -o runs/play",
    "unrolled train language books --level word --minutes 15 -o runs/books",
)


class _Told:
    """Says every few seconds how fast training is and when it ends."""

    def __init__(self) -> None:
        self._next = time.monotonic() + EVERY / 2

    def __call__(self, now: Progress, config: RunConfig, symbols: int) -> None:
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + EVERY
        share = min(1.0, now.steps / config.steps if config.steps else now.seconds / (60 * config.minutes))
        left = now.seconds * (1 / max(share, 1e-9) - 1)
        say(
            f"{share:.0%}  loss {now.loss_sum / max(now.seen, 1):.4f}  "
            f"{now.steps * symbols / now.seconds:,.0f} symbols/s  {left // 60:.0f}:{left % 60:02.0f} left"
        )


def _pass(row: dict[str, float]) -> None:
    held = f"  held out {row['val_loss']:.4f}" if "val_loss" in row else ""
    say(f"pass {row['epoch']:.0f}  loss {row['loss']:.4f}{held}")


def generate(
    prompt: Annotated[str, typer.Argument(help="What the text begins with.")] = "",
    model: Model = DEFAULT,
    length: Annotated[int, typer.Option(help="Symbols to write at most.")] = 300,
    n: Annotated[int, typer.Option("-n", help="How many texts.", min=1)] = 1,
    stop: Annotated[str, typer.Option(help="A text before which writing ends.", show_default="none")] = "",
    seed: Annotated[int | None, typer.Option(help="Of chance.", show_default="another each time")] = None,
    output: Kept = None,
    **drawing: Any,
) -> None:
    """Continue a text, streamed as it is written."""
    made = _opened(model)
    strangers = made.task.symbols.strangers(prompt)
    if strangers:
        say(f"not known to the model, read as such: {' '.join(map(repr, strangers[:10]))}")
    if output and not output.parent.is_dir():
        raise DataError(f"There is no folder {output.parent} to write {output.name} into. Make it first.")
    written = []
    for number, one in enumerate(made.seeds(seed, n)):
        if number:
            print("---")
        print(prompt, end="", flush=True)
        pieces = []
        for piece in made.stream(prompt, length=length, stop=stop, seed=one, **drawing):
            print(piece, end="", flush=True)
            pieces.append(piece)
        print(flush=True)
        written.append("".join(pieces))
    if output:
        _keep(made, output, prompt, written)


def _keep(made: LanguageModel, output: Path, prompt: str, written: list[str]) -> None:
    from ..bundle import write_atomically

    reports = [f"{number}: {made.copied(text)}" for number, text in enumerate(written, 1)]
    beside = output.with_name(f"{output.name}.copied.txt")
    write_atomically(output, ("\n---\n".join(prompt + text for text in written) + "\n").encode())
    write_atomically(beside, ("\n".join(reports) + "\n").encode())
    for line in reports:
        say(line)
    say(f"written: {output}, {beside}")


def next_(
    text: Annotated[str, typer.Argument(help="What has been said.", show_default=False)],
    model: Model = DEFAULT,
    k: Annotated[int, typer.Option("-k", help="How many words.", min=1)] = 5,
    as_json: Json = False,
) -> None:
    """The most probable next words of a text, with their probabilities."""
    found = _opened(model).predict_next(text, k)
    if as_json:
        print(json.dumps([{"word": word, "probability": p} for word, p in found], ensure_ascii=False))
    else:
        table(
            ("probability", "next"), [(f"{p:.1%}", word if word.strip() else repr(word)) for word, p in found]
        )


def score(
    input_: Text,
    model: Model = DEFAULT,
    adaptive: Adaptive = False,
    window: Window = 0,
    each: Each = None,
    as_json: Json = False,
) -> None:
    """How well a text is predicted: nats a symbol, perplexity, bits a character; counting beside the network."""
    from ..language.corpus import blocks

    made, text = _opened(model), "".join(blocks(input_))
    found = made.score(text, adaptive=adaptive, window=window)
    rows = [
        {"method": s.method, "adaptive": s.adaptive, "symbols": len(s.logs), **s.figures()} for s in found
    ]
    if as_json:
        print(json.dumps(rows))
    else:
        print(
            "while reading, the methods learn from the text:"
            if adaptive
            else "nothing is learned from the text:"
        )
        cells = [[r["method"], *(f"{r[k]:.4f}" for k in found[0].figures())] for r in rows]
        table(["method", *(k.replace("_", " ") for k in found[0].figures())], cells)
    if each:
        _surprises(made, text, found, each)


def _surprises(made: LanguageModel, text: str, found: list[Score], path: Path) -> None:
    """One line for each symbol but the first: what it is and -log2 P by each method."""
    from ..bundle import write_atomically

    sheet = io.StringIO()
    writer = csv.writer(sheet, lineterminator="\n")
    writer.writerow(["symbol", *(f"bits, {s.method}" for s in found)])
    pieces = made.task.symbols.pieces(text)[1 : 1 + len(found[0].logs)]
    for piece, *logs in zip(pieces, *(s.logs for s in found), strict=True):
        writer.writerow([piece, *(f"{-log / math.log(2):.4f}" for log in logs)])
    write_atomically(path, sheet.getvalue().encode())
    say(f"surprise of each symbol: {path}")


def _opened(name: str) -> LanguageModel:
    from ..language import LanguageModel

    model = LanguageModel.load(name)
    say(f"model: {name}")
    return model
