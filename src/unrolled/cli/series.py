"""`train forecast`, `forecast`, `train events`, `alarms`: tables of moments in, what comes next out."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import DataError, need
from . import Json, examples, option, say, table, taken, with_options

if TYPE_CHECKING:
    from ..data.series import Panel

FIGURES = ("mae", "mse", "smape", "mase", "crps", "coverage_80", "coverage_90")
Table = Annotated[
    str, typer.Argument(metavar="FILE", help="A table whose rows are moments.", show_default=False)
]
Output = Annotated[Path, typer.Option("--output", "-o", help="Folder of the run.", show_default=False)]
Horizon = Annotated[int, typer.Option("--horizon", help="Steps ahead.", show_default=False)]
Target = Annotated[str, typer.Option("--target-column", help="Column to forecast.", show_default=False)]
Event = Annotated[
    str,
    typer.Option("--event-column", help="Column that is 1 while an event lasts, else 0.", show_default=False),
]
Exclude = Annotated[
    list[str] | None, typer.Option(help="Column not to read; may be given again.", show_default="none")
]
Result = Annotated[str, typer.Option("--output", "-o", help="The table to write; - is stdout.")]


@dataclass(frozen=True)
class Moments:
    """How a table of moments is read."""

    time_column: str | None = option(None, "Column with the time.", "the rows follow each other")
    id_column: str | None = option(None, "Column that tells series apart.", "one series")
    repair: bool = option(
        False, "Sort rows, keep the last of two at one time, move rows to the nearest step."
    )

    def read(self, file: str, columns: Sequence[str] | None) -> Panel:
        """The panel in `file`; stderr says what was filled or repaired."""
        from ..data.series import read_series

        panel = read_series(
            file, time=self.time_column, columns=columns, name=self.id_column, repair=self.repair
        )
        for note in panel.notes[:5]:
            say(note)
        if len(panel.notes) > 5:
            say(f"and {len(panel.notes) - 5} more such notes")
        return panel


@dataclass(frozen=True)
class Making:
    """How a forecaster is made."""

    known: list[str] | None = option(None, "Column known ahead; may be given again.")  # noqa: RUF009
    observed: list[str] | None = option(None, "Column whose past may help; may be given again.")  # noqa: RUF009
    season: int | None = option(None, "Steps of one cycle.", "by the clock")
    held: int | None = option(None, "Steps at the end to choose on.", "a fifth")


@dataclass(frozen=True)
class Adding:
    """The network that may join the linear model."""

    units: int = option(0, "Of a GRU beside the linear model (needs torch); 0: none.")
    epochs: int = option(6, "Passes of its training.")
    seed: int = option(0, "Of its first weights and order.")


def add(app: typer.Typer) -> None:
    """Add the two verbs that use a run; those that make one stand below `train`."""
    for verb, *lines in (
        (forecast, "unrolled forecast runs/sales", "unrolled forecast runs/sales --data new.csv -o - --plots plots"),
        (alarms, "unrolled alarms new.csv --model runs/alarm", "unrolled alarms - --model runs/alarm -o alarms.csv"),
    ):  # fmt: skip
        app.command(epilog=examples(*lines))(with_options(verb, Moments))


def _train_forecast(
    input_: Table, output: Output, target_column: Target, horizon: Horizon, as_json: Json = False, **options: Any
) -> None:  # fmt: skip
    """Learn to forecast. The ridge and the seasonal naive method stand beside the model's figures."""
    from ..config import RunConfig
    from ..timeseries import NETWORK, Forecaster

    source, making, adding = taken(Moments, options), taken(Making, options), taken(Adding, options)
    known, observed = making.known or [], making.observed or []
    panel = source.read(input_, [target_column, *known, *observed])
    config = RunConfig(**NETWORK | {"epochs": adding.epochs, "seed": adding.seed})
    model = Forecaster(horizon, season=making.season, known=known, observed=observed, units=adding.units)
    model.fit(panel, held=making.held, config=config, on_step=say)
    figures = model.validated().figures()
    if as_json:
        print(json.dumps(figures))
    else:
        rows = [[name, *(f"{f[k]:.4g}" if k in f else "" for k in FIGURES)] for name, f in figures.items()]
        table(["on the held-out steps", *FIGURES], rows)
    model.save(output)
    say(f"model: {output}")


def forecast(
    model: Annotated[
        str, typer.Argument(metavar="RUN", help="Folder of a forecast run.", show_default=False)
    ],
    data: Annotated[
        str | None, typer.Option(help="Newer rows.", show_default="the end of training's")
    ] = None,
    output: Result = "-",
    plots: Annotated[Path | None, typer.Option(help="Folder for pictures.", show_default="none")] = None,
    **options: Any,
) -> None:
    """Write what comes next of every series, with quantiles, as CSV."""
    from .. import report
    from ..timeseries import Forecaster

    if plots:
        need("matplotlib", "plot", "Drawing")
    made = Forecaster.load(model)
    panel = None if data is None else taken(Moments, options).read(data, made.task.columns)
    found = made.predict(panel)
    _write(output, found.rows())
    for i, one in enumerate((made.history() if panel is None else panel).series if plots else ()):
        assert plots
        path = plots / f"{one.name or 'forecast'}.png"
        said = found.point[i], found.quantiles[i], found.levels, found.times[i]
        say(f"picture: {report.forecast(path, one.values[:, 0], *said)}")


def _train_events(
    input_: Table, output: Output, event_column: Event, horizon: Horizon,
    exclude: Exclude = None,
    false_alarms: Annotated[float, typer.Option(help="How many a day are put up with.")] = 1.0,
    as_json: Json = False, **options: Any,
) -> None:  # fmt: skip
    """Learn to warn of an event before it begins. Persistence and a plain regression stand beside the model."""
    from ..config import RunConfig
    from ..data.windows import picked
    from ..timeseries.alarms import NETWORK, EventDetector

    panel = taken(Moments, options).read(input_, None)
    columns = [c for c in panel.columns if c != event_column and c not in (exclude or [])]
    adding = taken(Adding, options)
    config = RunConfig(**NETWORK | {"epochs": adding.epochs, "seed": adding.seed})
    model = EventDetector(horizon, false_alarms=false_alarms, units=adding.units)
    model.fit(picked(panel, [event_column, *columns]), config=config, on_step=say)
    rows = [judged.row() for judged in model.validation]
    if as_json:
        print(json.dumps(rows))
    else:
        cells = [[f"{v:.4g}" if isinstance(v, float) else v for v in row.values()] for row in rows]
        table(["on the held-out steps", *[*rows[0]][1:]], cells)
    reader = f"a GRU over {model.task.steps} steps" if model.task.steps else "a regression on one step"
    say(
        f"{reader} reads: {', '.join(model.task.groups)}; alarm from a probability of {model.task.threshold:.3g}"
    )
    model.save(output)
    say(f"model: {output}")


def alarms(
    input_: Table,
    model: Annotated[str, typer.Option("--model", "-m", help="Folder of an events run.", show_default=False)],
    output: Result = "-",
    **options: Any,
) -> None:
    """Write for every row the probability that an event begins soon, and whether that is an alarm, as CSV."""
    from ..timeseries.alarms import EventDetector

    made = EventDetector.load(model)
    panel = taken(Moments, options).read(input_, made.task.columns)
    rows = [["series", "time", "probability", "alarm"]]
    for one, p in zip(panel.series, made.probabilities(panel), strict=True):
        for time, value in zip(panel.times(one), p.tolist(), strict=True):
            rows.append([one.name, time, f"{value:.6f}", str(int(value >= made.task.threshold))])
    _write(output, rows)


def _write(output: str, rows: Iterable[Sequence[str]]) -> None:
    if output != "-" and not Path(output).parent.is_dir():
        raise DataError(
            f"There is no folder {Path(output).parent} to write {Path(output).name} into. Make it first."
        )
    with (
        nullcontext(sys.stdout) if output == "-" else open(output, "w", encoding="utf-8", newline="") as file
    ):
        csv.writer(file, lineterminator="\n").writerows(rows)


train_forecast = with_options(_train_forecast, Moments, Making, Adding)
train_forecast.examples = examples(  # type: ignore[attr-defined]
    "unrolled train forecast sales.csv --time-column date --target-column sales --horizon 48 -o runs/sales",
    "unrolled train forecast sales.csv --target-column sales --id-column shop --known price --horizon 14 -o runs/shops",
)
train_events = with_options(_train_events, Moments, Adding)
train_events.examples = examples(  # type: ignore[attr-defined]
    "unrolled train events machine.csv --time-column time --event-column alarm --horizon 30 -o runs/alarm",
    "unrolled train events room.csv --event-column occupied --exclude light --horizon 15 -o runs/room",
)
