"""Alarms: what counts as an event, what the model knows when, what is learned; and novelty."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

from unrolled import cli
from unrolled.config import RunConfig
from unrolled.data.series import Clock, Panel, Series
from unrolled.errors import BundleError, DataError, UsageError
from unrolled.metrics import nab
from unrolled.network import GRU, Dense, Network
from unrolled.tasks import events
from unrolled.timeseries.alarms import NETWORK, EventDetector, novelty

MINUTE = Clock("second", 60)


def machine(rng: np.random.Generator, steps: int = 4000) -> Panel:
    """A heat that climbs for twelve steps before each alarm, at irregular times, and a column of noise."""
    heat, alarm = rng.normal(size=steps) * 0.3, np.zeros(steps)
    at = 60
    while at < steps - 20:
        heat[at - 12 : at] += np.linspace(0, 3, 12)
        heat[at : at + 10] += 3
        alarm[at : at + 10] = 1
        at += int(rng.integers(60, 240))
    return Panel(
        (Series("", 0, np.column_stack([alarm, heat, rng.normal(size=steps)])),),
        ("alarm", "heat", "noise"),
        MINUTE,
    )


def test_labels_look_ahead_and_leave_out_what_nobody_can_know() -> None:
    event = np.array([0, 0, 0, 1, 1, 0, np.nan, 0, 0, 0.0])
    np.testing.assert_array_equal(
        events.labels(event, 2), [0, 1, 1, np.nan, np.nan, 0, np.nan, 0, np.nan, np.nan]
    )
    assert events.onsets(event).tolist() == [3]
    assert events.onsets(np.array([1, 0, 1.0])).tolist() == [2], (
        "what was under way at the start did not begin"
    )
    assert events.since(event).tolist() == [1, 2, 3, 0, 0, 1, 2, 3, 4, 5]


def test_features_of_a_step_do_not_know_what_comes_after(rng: np.random.Generator) -> None:
    values = machine(rng, 3000).series[0].values
    other = values.copy()
    other[500:] = rng.normal(size=other[500:].shape) > 0
    first, second = (events.features(v, 0, MINUTE, 10)[:500] for v in (values, other))
    np.testing.assert_array_equal(first, second)


def test_it_warns_before_the_event_and_says_how_early(rng: np.random.Generator) -> None:
    model = EventDetector(10).fit(machine(rng))
    rows = {judged.name: judged.row() for judged in model.judge(machine(rng))}
    assert set(rows) == {"model", "logistic regression on the columns", "persistence"}
    assert rows["model"]["event_recall"] > 0.7
    assert rows["model"]["lead_steps"] > 2
    assert rows["model"]["average_precision"] > 2 * rows["persistence"]["average_precision"]
    held = model.validation[0].score
    assert held.false_per_day <= 1.0


def two_bumps(rng: np.random.Generator, steps: int = 6000) -> Panel:
    """An alarm comes twelve steps after two bumps of one sign; after bumps of two signs none comes."""
    bump, alarm = 0.1 * rng.normal(size=steps), np.zeros(steps)
    for at in range(40, steps - 40, 40):
        first, second = rng.choice([-1, 1], size=2)
        bump[at : at + 2] += 3 * first
        bump[at + 7 : at + 9] += 3 * second
        alarm[at + 20 : at + 23] = first == second
    return Panel((Series("", 0, np.column_stack([alarm, bump])),), ("alarm", "bump"), MINUTE)


def test_a_network_sees_what_no_single_step_shows(
    rng: np.random.Generator, tmp_path: Path, run_python
) -> None:
    pytest.importorskip("torch", reason="torch is not installed (extra 'train')")
    training, test, said = two_bumps(rng), two_bumps(rng), []
    config = RunConfig(**NETWORK | {"learning_rate": 0.01, "epochs": 8})
    model = EventDetector(12, units=16).fit(training, config=config, on_step=said.append)
    assert model.task.steps == 12
    rows = {judged.name: judged.row() for judged in model.judge(test)}
    plain = rows["logistic regression on the columns"]["average_precision"]
    assert rows["model"]["average_precision"] > plain + 0.1
    assert [len(line.split(",")) for line in said if line.startswith("past:")] == [3], (
        "past alone is not watched"
    )
    model.save(tmp_path / "run")
    source = (
        "import sys, numpy as np; from unrolled.data.series import *; from unrolled.timeseries import EventDetector\n"
        "rows = np.load(sys.argv[2]); panel = Panel((Series('', 0, rows),), ('alarm', 'bump'), Clock('second', 60))\n"
        "np.save(sys.argv[2], EventDetector.load(sys.argv[1]).probabilities(panel)[0]); print('torch' in sys.modules)"
    )
    values = test.series[0].values[:700]
    np.save(tmp_path / "rows.npy", values)
    assert run_python(source, str(tmp_path / "run"), str(tmp_path / "rows.npy")).stdout.strip() == "False"
    alone = np.load(tmp_path / "rows.npy")
    np.testing.assert_array_equal(alone, model.probabilities(test)[0][:700], "nothing after a step is read")


def test_a_window_is_the_steps_up_to_its_own() -> None:
    values = np.column_stack([np.zeros(6), np.arange(6.0)])
    network = Network((GRU(2), Dense(1)), (3, 7))
    arrays = {"mean": np.zeros(7), "size": np.ones(7)}
    task = events.Events(10, ("alarm", "x"), MINUTE, 0.5, ("columns", "past"), network, arrays)
    windows = task.inputs(values, 0)
    assert windows.shape == (6, 3, 7)
    np.testing.assert_array_equal(
        windows[:, -1], events.features(values, 0, MINUTE, 10, task.groups).astype("f")
    )
    np.testing.assert_array_equal(windows[4, :, 1], [2, 3, 4])
    np.testing.assert_array_equal(windows[0, :, 1], [0, 0, 0])


@pytest.mark.parametrize("days", [4, 8, 11])
def test_a_model_reads_fewer_and_more_days_than_it_learned_from(rng: np.random.Generator, days: int) -> None:
    """Eight days have a week in them but their first 70% have not; eleven have one; an hour has not even a day."""
    quarter, steps = Clock("second", 900), days * 96
    alarm = (np.arange(steps) % 96 == 40).astype(float)
    model = EventDetector(4).fit(
        Panel((Series("", 0, np.column_stack([alarm, rng.normal(size=steps)])),), ("alarm", "x"), quarter)
    )
    assert ("week" in model.task.groups) == ("time" in model.task.groups and days == 11)
    for count in (4, 2000):
        assert events.features(np.zeros((count, 2)), 0, quarter, 4, ("time", "week")).shape == (count, 8)
        rows = np.column_stack([np.zeros(count), np.zeros(count)])
        (found,) = model.probabilities(Panel((Series("", 0, rows),), ("alarm", "x"), quarter))
        assert np.isfinite(found).all()


def test_fewer_false_alarms_cost_recall(rng: np.random.Generator) -> None:
    panel = machine(rng)
    few, many = (EventDetector(10, false_alarms=n).fit(panel) for n in (1, 50))
    assert many.task.threshold < few.task.threshold
    assert many.validation[0].score.recall >= few.validation[0].score.recall


def test_a_bundle_answers_the_same(rng: np.random.Generator, tmp_path: Path) -> None:
    panel = machine(rng, 2500)
    model = EventDetector(10).fit(panel)
    model.save(tmp_path / "run")
    again = EventDetector.load(tmp_path / "run")
    np.testing.assert_array_equal(again.probabilities(panel)[0], model.probabilities(panel)[0])
    assert again.task.threshold == model.task.threshold
    with pytest.raises(BundleError, match="The alarm's array 'size' is missing or of another size"):
        model.task.with_arrays({"mean": model.task.arrays["mean"]})
    with pytest.raises(BundleError, match="The alarm's settings are damaged"):
        events.Events.from_settings({}, model.task.network)
    with pytest.raises(UsageError, match="'reviews' is a sentiment model; an events model was expected"):
        EventDetector.load("reviews")


@pytest.mark.parametrize(
    ("event", "sentence"),
    [
        (np.zeros(200), "No event begins in 'alarm', so there is nothing to learn"),
        (np.append(np.zeros(199), 3), "'alarm' holds 3; an event column is 1 while an event lasts, else 0"),
        (np.append(np.zeros(190), np.ones(10)), "No event begins before the validation"),
    ],
)
def test_what_cannot_be_learned_is_named(event: np.ndarray, sentence: str) -> None:
    panel = Panel((Series("", 0, np.column_stack([event, event])),), ("alarm", "x"), MINUTE)
    with pytest.raises(DataError, match=sentence):
        EventDetector(5).fit(panel)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"horizon": 0}, "horizon is 0; it must be at least 1."),
        ({"horizon": 1, "false_alarms": 0}, "false_alarms is 0; it must be above 0."),
        ({"horizon": 1, "units": -1}, "units is -1; it must be 0 or more."),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        EventDetector(**options)
    with pytest.raises(UsageError, match="This alarm has learned nothing yet; call fit first"):
        _ = EventDetector(3).task


def test_novelty_is_what_leaves_the_recent_range_and_knows_only_the_past() -> None:
    values = np.sin(np.arange(400) / 5.0)
    values[300] = 3
    found = novelty(values, recent=100, quiet=50)
    assert found.argmax() == 300
    assert found[100:300].max() < 0.05
    assert (found[301:351] == 0).all(), "after an alarm only a stronger one counts for a while"
    np.testing.assert_array_equal(novelty(values[:350], recent=100, quiet=50), found[:350])
    assert novelty(np.zeros(0)).shape == (0,)
    assert (novelty(np.full(50, 7.0)) == 0).all()
    assert nab.score([nab.Scored(found, [(295, 310)])])[0] > 80


def test_alarms_from_the_command_line(rng: np.random.Generator, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    panel = machine(rng, 2500)
    times = np.datetime64("2024-01-01T00:00") + np.arange(2500)
    rows = [
        f"{t},{a:.0f},{h:.3f},{n:.3f}" for t, (a, h, n) in zip(times, panel.series[0].values, strict=True)
    ]
    Path("machine.csv").write_text("\n".join(["time,alarm,heat,noise", *rows]) + "\n", encoding="utf-8")
    train = [
        "train",
        "events",
        "machine.csv",
        "--time-column",
        "time",
        "--event-column",
        "alarm",
        "--horizon",
        "10",
    ]
    assert cli.run([*train, "--exclude", "noise", "-o", "run", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found[0]["method"] == "model"
    assert cli.run(["alarms", "machine.csv", "--model", "run", "--time-column", "time"]) == 0
    lines = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(lines) == 2500
    assert {line["alarm"] for line in lines} == {"0", "1"}
    assert cli.run([*train[:-4], "--event-column", "heat", "--horizon", "10", "-o", "other"]) == 2
    assert "an event column is 1 while an event lasts" in capsys.readouterr().err
