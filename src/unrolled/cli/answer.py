"""`predict` and `explain`: answers for the rows of a file, and the reasons for one."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import UsageError
from . import DEFAULT_MODEL, Json, Model, examples, open_model, option, progress, say, taken, with_options

if TYPE_CHECKING:
    from ..bundle import Bundle, Prediction
    from ..data import Row

NO_TEXT = re.compile("[\0\ufffd\ud800-\udfff]")
TABLE = "A table (CSV, TSV, JSONL, Parquet, .xlsx, or a text a line), or - (stdin)."


@dataclass(frozen=True)
class Answering:
    """How a table is read and answered: options of `predict`."""

    text_column: str | None = option(None, "Column with the texts.", '"text", or the only one')
    encoding: str | None = option(None, "Encoding of the table.", "found out")
    delimiter: str | None = option(None, "What stands between fields.", "found out")
    batch_size: int = option(256, "Rows answered at once.")
    min_confidence: float = option(0.0, "Answers less probable than this are left undecided.")
    prefix: str = option("", "Put before the names of the new columns.")
    report: str | None = option(None, "A page about all answers (.html).")
    by: str | None = option(None, "Column whose values the page compares.")

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise UsageError(f"--batch-size is {self.batch_size}; it must be at least 1.")
        if not 0 <= self.min_confidence <= 1:
            raise UsageError(f"--min-confidence is {self.min_confidence}; it must be between 0 and 1.")
        if self.by and not self.report:
            raise UsageError("--by compares values on a page; say where to write it: --report out.html.")


def add(app: typer.Typer) -> None:
    """Add both verbs."""
    for verb, *lines in (
        (predict, "unrolled predict reviews.csv -o answers.csv", "unrolled predict - -o - --text-column review"),
        (explain, 'unrolled explain "A quiet, lovely film."', "unrolled explain TEXT --html why.html"),
    ):
        app.command(epilog=examples(*lines))(with_options(verb, Answering) if verb is predict else verb)


def predict(
    input_: Annotated[str, typer.Argument(metavar="INPUT", help=TABLE, show_default=False)],
    output: Annotated[
        str, typer.Option("--output", "-o", help="The table to write, or - (stdout).", show_default=False)
    ],
    model: Model = DEFAULT_MODEL,
    **options: Any,
) -> None:
    """Answer every row of a table: the same rows in the same order, with sentiment, score and status added.

    The rows stream through, so that a table of any length fits in memory. The status is ok, undecided (below
    --min-confidence), empty (no words), unknown_words (in another language, say) or invalid (not a text).
    """
    from ..data import open_rows
    from ..datasets.files import text_column as find_text_column
    from ..report.answers import Answers

    given, bundle = taken(Answering, options), open_model(model)
    with open_rows(input_, encoding=given.encoding, delimiter=given.delimiter) as rows:
        say(rows.note)
        names = _names(bundle, rows.columns, given.prefix, rows.name)
        at, group = find_text_column(rows, given.text_column), rows.column(given.by) if given.by else None
        bad, seen = [], Answers(bundle, given.by or "", keep=given.report is not None)
        with rows.writer(output, names) as writer, progress("predicting") as bar:
            stream = iter(rows)
            while batch := list(islice(stream, given.batch_size)):
                answers = _answers(bundle, batch, at, given.min_confidence)
                for row, answer in zip(batch, answers, strict=True):
                    writer.write(row, _values(bundle, answer))
                bad += [f"{row.place} {row.problem}" for row in batch if row.problem]
                values = None if group is None else [row.field(group) for row in batch]
                seen.add([row.field(at) for row in batch], answers, values)
                bar(len(seen), None)
    _say_counts(seen.status, bad)
    if given.report:
        say(f"report: {seen.write(Path(given.report))}")


def _say_counts(status: Counter[str], bad: Sequence[str]) -> None:
    say(f"rows: {sum(status.values()):,}")
    say("status: " + ", ".join(f"{name} {count:,}" for name, count in status.most_common()))
    if bad:
        say(f"{len(bad):,} of them are not as they should be; the first: {bad[0]}")


def _names(bundle: Bundle, columns: Sequence[str], prefix: str, table: str) -> list[str]:
    """The new columns: sentiment, score where the labels have two ends, confidence, a probability a label, status."""
    score = ["score"] if bundle.task.poles else []
    names = ["sentiment", *score, "confidence", *(f"p_{label}" for label in bundle.labels), "status"]
    if taken := [f"{prefix}{name}" for name in names if f"{prefix}{name}" in columns]:
        raise UsageError(
            f"{table} has a column '{taken[0]}' already. Give the new columns other names: --prefix unrolled_"
        )
    return [f"{prefix}{name}" for name in names]


def _answers(bundle: Bundle, batch: Sequence[Row], at: int, least: float) -> list[Prediction]:
    found = bundle.predict([row.field(at) for row in batch], min_confidence=least)
    broken = [row.problem and NO_TEXT.search(row.field(at)) for row in batch]
    return [bundle.unanswered("invalid") if bad else answer for bad, answer in zip(broken, found, strict=True)]


def _values(bundle: Bundle, answer: Prediction) -> list[str]:
    shown = [f"{p:.4f}" for p in answer.probabilities.values()]
    score = [f"{bundle.score(answer):.4f}"] if bundle.task.poles else []
    return [answer.label or "", *score, f"{answer.confidence:.4f}", *shown, answer.status]


def explain(
    text: Annotated[str, typer.Argument(help="The text; - reads it from stdin.", show_default=False)],
    model: Model = DEFAULT_MODEL,
    label: Annotated[
        str | None, typer.Option(help="The answer to explain.", show_default="the one given")
    ] = None,
    limit: Annotated[int, typer.Option(help="How many words to look at, the last ones.", min=0)] = 200,
    html: Annotated[Path | None, typer.Option(help="A page to write.", show_default="none")] = None,
    as_json: Json = False,
) -> None:
    """Which words pushed the answer which way, and the probability as the network reads on."""
    from ..explain import METHOD, account
    from ..report.reasons import page, terminal

    bundle = open_model(model)
    found = account(bundle, sys.stdin.read() if text == "-" else text, label=label, limit=limit)
    if html:
        page(html, found)
        say(f"page: {html}")
    print(json.dumps(found.to_dict()) if as_json else terminal(found, METHOD, colour=sys.stdout.isatty()))
