"""Forecasting end to end: what is learned, what is emitted, what is refused; through Python and the command line."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

from unrolled import cli
from unrolled.bundle import Bundle
from unrolled.config import RunConfig
from unrolled.data.series import Clock, Panel, Series
from unrolled.errors import BundleError, DataError, UsageError
from unrolled.tasks.forecast import Forecast
from unrolled.timeseries import NETWORK, Forecaster, search


def waves(rng: np.random.Generator, *lengths: int, noise: float = 0.3) -> list[np.ndarray]:
    """Daily waves of hours, each of its own height and level."""
    made = []
    for k, length in enumerate(lengths):
        t = np.arange(length)
        made.append(
            10 * (k + 1) + (k + 1) * (3 * np.sin(2 * np.pi * t / 24) + noise * rng.normal(size=length))
        )
    return made


@pytest.fixture
def model(rng: np.random.Generator) -> Forecaster:
    return Forecaster(12, season=24).fit(waves(rng, 400, 300))


def test_it_is_better_than_repeating_the_last_season(rng: np.random.Generator) -> None:
    series = waves(rng, 500, 420)
    model = Forecaster(24, season=24).fit([y[:-72] for y in series])
    figures = model.backtest(series, steps=72).figures()
    assert list(figures) == ["model", "ridge", "seasonal naive"]
    assert figures["model"]["mase"] < 0.85 * figures["seasonal naive"]["mase"]
    assert 0.6 < figures["model"]["coverage_80"] < 0.95
    assert figures["model"]["crps"] < figures["model"]["mae"]


def test_every_forecast_of_a_backtest_is_what_predict_would_have_said_then(rng: np.random.Generator) -> None:
    series = waves(rng, 300)
    model = Forecaster(6, season=24).fit([series[0][:200]])
    found = model.backtest(series, steps=30, stride=8)
    assert found.truth.shape == (4, 6)
    for row, origin in zip(range(4), range(270, 295, 8), strict=True):
        np.testing.assert_allclose(model.predict([series[0][:origin]]).point[0], found.answers["model"][row])
        np.testing.assert_array_equal(found.truth[row], series[0][origin : origin + 6])


def test_heights_do_not_matter(rng: np.random.Generator, model: Forecaster) -> None:
    y = waves(rng, 200)[0]
    small, large = model.predict([y]).point, model.predict([1000 * y]).point
    np.testing.assert_allclose(1000 * small, large, rtol=1e-6)


def test_missing_values_are_masked_and_never_emitted(rng: np.random.Generator) -> None:
    y = waves(rng, 600)[0]
    holes = y.copy()
    holes[rng.random(600) < 0.15] = np.nan
    holes[300:340] = np.nan
    found = Forecaster(12, season=24).fit([holes[:-24]])
    answer = found.predict()
    assert np.isfinite(answer.quantiles).all()
    assert "nan" not in str(answer.rows())
    full = Forecaster(12, season=24).fit([y[:-24]]).predict()
    assert np.abs(answer.point - full.point).mean() < 0.6
    assert np.isfinite(list(found.backtest([holes], steps=24).figures()["model"].values())).all()


def test_a_missing_target_does_not_count_in_the_fit(rng: np.random.Generator) -> None:
    y = waves(rng, 300, noise=0)[0]
    broken = y.copy()
    broken[100] = np.nan
    training = search.Training([broken[:, None]], 6, 24)
    windows = next(training.training(24, whole=True))
    assert np.isnan(windows.future).sum() == 6
    maps = search.Linear(training, 24, log=False, whole=True).fit(search.Choice(24, 1e-6))
    answer = search.answers(maps, search.scale(windows, training.scales, log=False), windows.series)
    known = np.isfinite(windows.future)
    np.testing.assert_allclose(answer[known], windows.future[known], atol=0.05)


def test_candidates_are_judged_on_earlier_folds_as_long_as_more_is_left_to_fit(
    rng: np.random.Generator,
) -> None:
    def lengths(held: int, *series: int) -> list[list[int]]:
        training = search.Training([y[:, None] for y in waves(rng, *series)], 6, 24, held=held)
        return [[len(values) for values in fold.series] for fold in training.folds()]

    assert lengths(50, 300, 300) == [[300, 300], [250, 250], [200, 200]]
    assert lengths(50, 300, 90) == [[300, 90], [250]], "what has nothing before a fold is left out of it"
    assert lengths(80, 300) == [[300], [220]]
    assert lengths(120, 300) == [[300]]


def test_a_map_that_one_stretch_alone_speaks_for_is_not_chosen(rng: np.random.Generator, monkeypatch) -> None:
    """Every week is the same, but the last stretch is a flat line, which the shorter look-back forgets the week in."""
    y = np.tile(rng.normal(size=168), 6)[:1000] + 0.02 * rng.normal(size=1000)
    y[800:] = 0.02 * rng.normal(size=200)
    training = search.Training([y[:, None]], 24, 24, held=200, measure="mse")
    assert search.search(training, (24, 168)).choices[0].look == 168
    monkeypatch.setattr(search, "MOST_FOLDS", 1)
    assert search.search(training, (24, 168)).choices[0].look == 24


def test_no_other_map_fits_better(rng: np.random.Generator) -> None:
    """Without ridge, by squared errors over each window's deviation, on the training windows."""
    y = np.cumsum(rng.normal(size=400)) * np.linspace(1, 9, 400)
    training = search.Training([y[:, None]], 3, 1, held=0, measure="mse")
    windows = next(training.training(4))
    scaled = search.scale(windows, training.scales, log=False)
    best = search.Linear(training, 4, log=False).fit(search.Choice(4, 1e-9)).shared
    errors = [
        ((search.answers(search.Maps(one), scaled, windows.series) - windows.future) ** 2 / scaled.size).mean()
        for one in (best, *(best + 0.01 * rng.normal(size=best.shape) for _ in range(20)))
    ]
    assert errors[0] == min(errors)


def test_a_window_of_one_value_does_not_outvote_all_others_in_the_network(rng: np.random.Generator) -> None:
    """Its deviation is nothing, and what it could not foresee is counted in the units of the series all the same."""
    pytest.importorskip("torch", reason="torch is not installed (extra 'train')")
    y = np.sin(np.arange(500) / 4) + 0.1 * rng.normal(size=500)
    y[100:160] = 3.0
    said: list[str] = []
    Forecaster(4, season=8, look_backs=(8,), measure="mse", units=4).fit([y], on_step=said.append)
    losses = [float(line.split()[2].rstrip(",")) for line in said if line.startswith("epoch")]
    assert len(losses) == 12
    assert max(losses) < 5


def test_a_constant_series_stays_what_it_is() -> None:
    found = Forecaster(5, season=7).fit([np.full(90, 42.0)]).predict()
    np.testing.assert_allclose(found.quantiles, 42, atol=1e-3)


def test_a_column_known_ahead_is_used(rng: np.random.Generator) -> None:
    price = rng.choice([1.0, 2.0], size=400)
    sales = 50 - 10 * price + 0.5 * rng.normal(size=400)
    weather = rng.normal(size=400)
    panel = Panel((Series("a", 0, np.column_stack([sales, price, weather])),), ("sales", "price", "weather"))
    model = Forecaster(7, season=7, known=["price"], observed=["weather"]).fit(panel)
    future = panel.series[0].values[-30:].copy()
    future[-7:, 0] = np.nan
    future[-7:, 1] = [1, 2, 1, 2, 1, 2, 1]
    answer = model.predict(Panel((Series("a", 0, future),), panel.columns)).point[0]
    np.testing.assert_allclose(answer, 50 - 10 * future[-7:, 1], atol=2)
    future[-3, 1] = np.nan
    with pytest.raises(
        DataError, match=r"Series 'a': price must be known for the 7 steps after its last value, but 6"
    ):
        model.predict(Panel((Series("a", 0, future),), panel.columns))
    with pytest.raises(UsageError, match="There is no column called 'price'"):
        model.predict([sales])


def test_update_continues_the_series(rng: np.random.Generator) -> None:
    y = waves(rng, 460)[0]
    panel = Panel((Series("a", 0, y[:400, None]),), ("y",), Clock("second", 3600))
    model = Forecaster(12).fit(panel)
    new = model.update(Panel((Series("a", 390 * 3600, y[390:450, None]),), ("y",), panel.clock))
    assert new.predict().times[0][0] == panel.clock.label(450 * 3600)
    np.testing.assert_allclose(new.predict().point, model.predict([y[:450]]).point, rtol=1e-9)
    assert model.predict().times[0][0] == panel.clock.label(400 * 3600)
    with pytest.raises(
        DataError, match=r"'a' is known up to .*, but the new rows begin at .*\. Give them from"
    ):
        model.update(Panel((Series("a", 402 * 3600, y[402:, None]),), ("y",), panel.clock))
    with pytest.raises(DataError, match=r"There is no series 'b'\. Known: a\."):
        model.update(Panel((Series("b", 0, y[:, None]),), ("y",), panel.clock))


def test_series_in_logarithms_refuse_zeros(rng: np.random.Generator) -> None:
    y = np.exp(
        0.5 * np.sin(2 * np.pi * np.arange(400) / 24) + 0.05 * rng.normal(size=400) + np.arange(400) / 60
    )
    model = Forecaster(12, season=24).fit([y])
    assert model.task.log
    assert (model.predict().quantiles > 0).all()
    with pytest.raises(
        DataError, match="Series number 1 holds a value of 0 or less, but in training all were above"
    ):
        model.predict([np.append(y, 0.0)])


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ([np.array([1.0])], "The series has 1 known values; at least two are needed"),
        (
            [np.arange(9.0)],
            "The longest series has 9 values, too few to learn 12 steps ahead .*Give at least 37",
        ),
        ([], "There is no series to read"),
        ([np.arange(90.0), np.full(90, np.nan)], "Series '1' has 0 known values"),
    ],
)
def test_what_cannot_be_learned_is_named(data: list[np.ndarray], sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        Forecaster(12, season=1).fit(data)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"horizon": 0}, "horizon is 0; it must be at least 1."),
        ({"horizon": 1, "measure": "r2"}, "measure is 'r2'; it must be 'mae', 'mse' or 'owa'."),
        ({"horizon": 1, "units": -1}, "units is -1; it must be 0 or more."),
        ({"horizon": 1, "levels": [0.5, 1]}, r"levels are \[0.5, 1\]; each must be above 0 and below 1."),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        Forecaster(**options)


def test_nothing_is_answered_before_fit() -> None:
    with pytest.raises(UsageError, match="has learned nothing yet; call fit first"):
        Forecaster(3).predict()
    with pytest.raises(UsageError, match="Only a forecaster that has just been fitted"):
        Forecaster(3).validated()


def test_a_bundle_answers_the_same_without_torch(model: Forecaster, tmp_path: Path, run_python) -> None:
    model.save(tmp_path / "run")
    again = Forecaster.load(tmp_path / "run")
    np.testing.assert_array_equal(again.predict().quantiles, model.predict().quantiles)
    source = (
        "import sys; from unrolled.timeseries import Forecaster\n"
        "print(repr(Forecaster.load(sys.argv[1]).predict().point.sum()), 'torch' in sys.modules)"
    )
    total, torch = run_python(source, str(tmp_path / "run")).stdout.split()
    assert torch == "False"
    assert float(total.removeprefix("np.float64(").rstrip(")")) == pytest.approx(model.predict().point.sum())


def test_a_damaged_bundle_says_what_is_missing(model: Forecaster, tmp_path: Path) -> None:
    task = model.task
    with pytest.raises(BundleError, match="The forecaster's array 'map0' is missing. Train again."):
        task.with_arrays({name: array for name, array in task.arrays.items() if name != "map0"})
    with pytest.raises(BundleError, match="The forecaster's settings are damaged .*looks"):
        Forecast.from_settings({k: v for k, v in task.settings().items() if k != "looks"}, task.network)
    with pytest.raises(UsageError, match="does not label examples. It continues series: unrolled forecast"):
        model.bundle.predict(["a text"])
    with pytest.raises(UsageError, match="'reviews' is a sentiment model; a forecast model was expected"):
        Forecaster.load("reviews")
    assert not Bundle.load("reviews").task.arrays


def test_a_network_adds_what_the_maps_cannot(rng: np.random.Generator, tmp_path: Path) -> None:
    """A tent map is a function of the last value that no linear map can be."""
    pytest.importorskip("torch", reason="torch is not installed (extra 'train')")
    y = np.empty(1500)
    y[0] = 0.37
    for t in range(1499):
        y[t + 1] = 1 - 1.99 * abs(y[t] - 0.5) + 0.001 * rng.normal()
    config = RunConfig(**NETWORK | {"epochs": 30, "batch_size": 32, "learning_rate": 0.01})
    model = Forecaster(1, season=1, look_backs=(4,), units=16).fit([y[:1300]], config=config)
    assert model.task.share > 0
    figures = model.backtest([y], steps=200).figures()
    assert figures["model"]["mae"] < 0.7 * figures["ridge"]["mae"]
    model.save(tmp_path / "run")
    again = Forecaster.load(tmp_path / "run")
    np.testing.assert_array_equal(again.predict().point, model.predict().point)
    held = model.validated().figures()
    assert held["model"]["mae"] < held["ridge"]["mae"]
    assert held["model"]["coverage_80"] != held["model"]["coverage_90"]


def test_validation_calibrates_on_one_half_and_measures_on_the_other(rng: np.random.Generator) -> None:
    model = Forecaster(6, season=24).fit(waves(rng, 500, 400))
    found, judged = model.validated(), model.found.judged
    for number in (0, 1):
        rows = np.flatnonzero(judged.series == number)
        assert np.sum(found.series == number) == (len(rows) + number) // 2
        np.testing.assert_array_equal(found.truth[found.series == number][-1], judged.future[rows[-1]])
    single = Forecaster(6, season=24).fit(waves(rng, 200, 200, 200), held=6).validated()
    assert single.series.tolist() == [1]


# ---- the command line ----


@pytest.fixture
def sales(tmp_path: Path, rng: np.random.Generator, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rows = ["date,shop,sales"]
    for k, shop in enumerate(("north", "south")):
        y = waves(rng, 150, 150)[k]
        days = np.datetime64("2024-01-01") + np.arange(150)
        rows += [f"{day},{shop},{value:.2f}" for day, value in zip(days, y, strict=True)]
    path = tmp_path / "sales.csv"
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


TRAIN = ["train", "forecast", "sales.csv", "--horizon", "7", "-o", "x"]
COMMON = ["--time-column", "date", "--id-column", "shop"]


def test_a_forecaster_is_trained_and_used_from_the_command_line(sales: Path, capsys) -> None:
    train = [
        "train",
        "forecast",
        "sales.csv",
        *COMMON,
        "--target-column",
        "sales",
        "--horizon",
        "14",
        "-o",
        "run",
    ]
    assert cli.run([*train, "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert set(figures) == {"model", "ridge", "seasonal naive"}
    assert figures["model"]["mase"] > 0
    assert cli.run(["forecast", "run"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["series"] for row in rows] == ["north"] * 14 + ["south"] * 14
    assert rows[0]["time"] == "2024-05-30"
    assert all(float(row["q0.05"]) <= float(row["q0.5"]) <= float(row["q0.95"]) for row in rows)
    assert cli.run(["forecast", "run", "--data", "sales.csv", *COMMON, "-o", "next.csv"]) == 0
    assert list(csv.DictReader(io.StringIO(Path("next.csv").read_text(encoding="utf-8")))) == rows
    assert cli.run(train) == 0
    assert "seasonal naive" in capsys.readouterr().out


def test_a_forecast_is_drawn(sales: Path, capsys) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra 'plot')")
    cli.run(
        ["train", "forecast", "sales.csv", *COMMON, "--target-column", "sales", "--horizon", "7", "-o", "run"]
    )
    assert cli.run(["forecast", "run", "-o", "next.csv", "--plots", "plots"]) == 0
    assert sorted(path.name for path in Path("plots").iterdir()) == ["north.png", "south.png"]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ([*TRAIN, "--target-column", "sale"], "no column 'sale'"),
        ([*TRAIN, "--time-column", "date", "--target-column", "sales"], "row 151 "),
        (["forecast", "nowhere"], "There is no model called 'nowhere'"),
        (["forecast", "reviews"], "'reviews' is a sentiment model; a forecast model was expected"),
    ],
)  # fmt: skip
def test_mistakes_on_the_command_line_are_answered_with_a_sentence(sales, capsys, line, sentence) -> None:
    assert cli.run(line) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert "Traceback" not in said
