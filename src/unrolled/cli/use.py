"""`sentiment` and `evaluate`: what a trained model is for."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import need
from . import (
    DEFAULT_MODEL,
    INPUT,
    REVIEWS_MODEL,
    Json,
    Model,
    Reading,
    examples,
    load_split,
    open_model,
    progress,
    say,
    table,
    taken,
    with_options,
)
from .pictures import Captioned, Encoder, evaluate_captions

if TYPE_CHECKING:
    from ..bundle import Prediction
    from ..evaluate import Evaluation
    from ..explain import Influence

NO_ANSWER = {"empty": "no words", "unknown_words": "too few known words; is it in another language?"}


def add(app: typer.Typer) -> None:
    """Add both verbs."""
    for verb, *lines in (
        (sentiment, 'unrolled sentiment "This film was just brilliant"', "unrolled sentiment reviews.txt --json"),
        (evaluate, "unrolled evaluate imdb", "unrolled evaluate held_out.csv --model runs/mine --plots runs/plots"),
    ):
        app.command(epilog=examples(*lines))(with_options(verb, Reading, Captioned) if verb is evaluate else verb)


def sentiment(
    texts: Annotated[
        list[str],
        typer.Argument(help="Texts; a file stands for its rows or lines, - for those of stdin.", show_default=False),
    ],
    model: Model = DEFAULT_MODEL,
    words: Annotated[int, typer.Option(help="How many of the words that mattered most to show.", min=0)] = 5,
    as_json: Json = False,
) -> None:
    """Label, probability and the words that mattered of each text."""
    from ..explain import explain, strongest

    bundle = open_model(model)
    for text in _lines(texts):
        (answer,) = bundle.predict([text])
        found = strongest(explain(bundle, text), words) if words and answer.label is not None else []
        print(_as_json(text, answer, found) if as_json else _in_words(text, answer, found), flush=True)


def _lines(arguments: list[str]) -> Iterator[str]:
    for argument in arguments:
        if argument == "-":  # line by line, so that a person can type and read in turn
            yield from (line.rstrip("\r\n") for line in sys.stdin if line.strip())
        elif os.path.isfile(argument):
            yield from _texts_of(argument)
        else:
            yield argument


def _texts_of(path: str) -> Iterator[str]:
    from ..data import KINDS, open_rows
    from ..datasets.files import text_column

    known = any(path.lower().endswith(suffixes) for suffixes in KINDS.values())
    with open_rows(path, kind=None if known else "plain") as rows:
        at = text_column(rows)
        yield from (text for row in rows if (text := row.field(at)).strip())


def _as_json(text: str, answer: Prediction, words: list[Influence]) -> str:
    return json.dumps({"text": text, **asdict(answer), "words": [asdict(word) for word in words]})


def _in_words(text: str, answer: Prediction, words: list[Influence]) -> str:
    line = " ".join(text.split())
    shown = line if len(line) <= 72 else f"{line[:69]}..."
    if answer.label is None:
        return f"no answer: {NO_ANSWER[answer.status]}  {shown}"
    mattered = ", ".join(f"{word.word} ({word.contribution:+.2f})" for word in words)
    return f"{answer.label}  {answer.confidence:.1%}  {shown}" + (
        f"\n  words that mattered: {mattered}" if words else ""
    )


def evaluate(
    input_: Annotated[str, typer.Argument(metavar="INPUT", help=INPUT, show_default=False)],
    model: Model = REVIEWS_MODEL,
    split: Annotated[str, typer.Option(help="Part of a dataset; a table is one part.")] = "test",
    plots: Annotated[Path | None, typer.Option(help="Folder for pictures.", show_default="none")] = None,
    report: Annotated[Path | None, typer.Option(help="Captions: a gallery (.html).", show_default="none")] = None,
    encoder: Encoder = None,
    as_json: Json = False,
    **options: Any,
) -> None:
    """Accuracy, F1, ROC AUC, calibration and confusion matrix on labelled texts, with 95% intervals.

    Of a captioning model BLEU, ROUGE-L and CIDEr, beside those of one constant caption and of a person.
    """
    from .. import evaluate as measure

    if plots:
        need("matplotlib", "plot", "Drawing")
    bundle = open_model(model)
    if bundle.task.name == "captioning":
        from ..captions import Captioner

        captions = taken(Captioned, options).read(input_, split, options["data"], options["skip_bad"])
        evaluate_captions(Captioner.load(model, encoder), captions, report, as_json=as_json)
        return
    labelled = load_split(taken(Reading, options).open(input_), split)
    with progress("evaluating") as on_batch:
        found = measure.evaluate(bundle, labelled, on_batch=on_batch)
    if as_json:
        print(json.dumps(found.to_dict()))
    else:
        _print_evaluation(found)
    if plots:
        _draw(found, plots)


def _print_evaluation(found: Evaluation) -> None:
    print(f"n {found.n:,}, of which {found.undecided:,} without a known word\n")
    rows = []
    for name, value in found.figures.items():
        low, high = found.intervals.get(name, ("", ""))
        rows.append((name, f"{value:.4f}", f"{low:.4f} to {high:.4f}" if low != "" else ""))
    table(("figure", "value", "95% interval"), rows)
    print()
    counts = [(label, *row) for label, row in zip(found.labels, found.confusion.tolist(), strict=True)]
    table(("true, predicted:", *found.labels), counts)


def _draw(found: Evaluation, folder: Path) -> None:
    from .. import report

    say(f"picture: {report.confusion_matrix(folder / 'confusion.png', found.confusion, found.labels)}")
    say(f"picture: {report.reliability(folder / 'reliability.png', found.reliability)}")
