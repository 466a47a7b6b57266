"""Scores of forecasts and alarms against hand-worked and published numbers; closed forms against their definition."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import numpy as np
import pytest

from unrolled.data.series import Clock
from unrolled.data.windows import cut, filled, join, season_of, seasonal_naive
from unrolled.errors import DataError, ShapeError
from unrolled.linear import Logistic, Moments, masked, quantile_offsets
from unrolled.metrics import nab
from unrolled.metrics import series as scores


def test_errors_by_hand_and_missing_truth_does_not_count() -> None:
    truth, forecast = [1.0, np.nan, 4.0], [2.0, 9.0, 2.0]
    assert scores.mae(truth, forecast) == 1.5
    assert scores.mse(truth, forecast) == 2.5
    assert scores.smape(truth, forecast) == pytest.approx(200 * (1 / 3 + 2 / 6) / 2)
    assert scores.smape([0.0], [0.0]) == 0
    assert np.isnan(scores.mae([np.nan], [1.0]))
    with pytest.raises(ShapeError, match=r"truth has shape \(2,\) and forecast \(3,\)"):
        scores.mae([1, 2], [1, 2, 3])


def test_mase_divides_by_the_seasonal_step() -> None:
    history = [0, 10, 1, 11, 2, 12]  # season of two: every step is 1
    assert scores.seasonal_step(history, 2) == 1
    assert scores.mase([3, 13], [5, 13], history, 2) == 1
    assert scores.seasonal_step([0, np.nan, 1, 11], 2) == 1
    assert np.isnan(scores.mase([1.0], [1.0], [2, 2, 2]))
    assert scores.owa(10, 1, 20, 4) == (0.5 + 0.25) / 2


@pytest.mark.parametrize(
    ("kind", "season", "smape", "mase"), [("Hourly", 24, 18.383, 2.395), ("Weekly", 1, 9.161, 2.777)]
)
def test_naive2_has_the_figures_that_the_m4_competition_published(
    data_folder: Path, kind: str, season: int, smape: float, mase: float
) -> None:
    def rows(part: str) -> list[np.ndarray]:
        with gzip.open(data_folder / f"series/m4/{kind}-{part}.csv.gz", "rt") as file:
            return [np.array([float(v) for v in row[1:] if v]) for row in list(csv.reader(file))[1:]]

    train, test = rows("train"), rows("test")
    answers = [scores.naive2(y, len(truth), season) for y, truth in zip(train, test, strict=True)]
    pairs = list(zip(test, answers, strict=True))
    assert np.mean([scores.smape(*pair) for pair in pairs]) == pytest.approx(smape, abs=5e-4)
    found = [scores.mase(*pair, y, season) for pair, y in zip(pairs, train, strict=True)]
    assert np.mean(found) == pytest.approx(mase, abs=5e-4)


def test_pinball_and_coverage_by_hand() -> None:
    assert scores.pinball([1.0], [[0.0, 1.0, 3.0]], [0.1, 0.5, 0.9]) == pytest.approx((0.2 + 0 + 0.4) / 3)
    assert scores.coverage([1, 2, 3, np.nan], [0, 0, 4, 0], [1, 1, 5, 1]) == pytest.approx(1 / 3)


def test_alarms_are_counted_event_by_event() -> None:
    alarm = np.zeros(40, bool)
    alarm[[2, 3, 17, 18, 19, 35]] = True
    found = scores.alarms(alarm, [20, 30, 35], 5, steps_per_day=20)
    assert found.events == 3
    assert found.recall == 1 / 3  # 30 got none, and an alarm at 35 itself is too late
    assert found.lead == 3
    assert found.false_per_day == 0.5  # one run at 2 and 3, in two days


def test_average_precision_by_hand_and_with_ties() -> None:
    assert scores.average_precision([1, 0, 1, 0], [4, 3, 2, 1]) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert scores.average_precision([1, 0, 0, 0], [1, 1, 1, 1]) == 0.25
    assert np.isnan(scores.average_precision([0, 0], [1, 2]))


# ---- NAB ----


def file(hits: list[int], windows: list[tuple[int, int]], steps: int = 1000) -> nab.Scored:
    raised = np.zeros(steps)
    raised[hits] = 1
    return nab.Scored(raised, windows)


def test_nab_earns_all_for_the_first_step_of_a_window_and_nothing_for_silence() -> None:
    assert nab.score([file([500], [(500, 599)])])[0] == pytest.approx(100)
    assert nab.score([file([], [(500, 599)])]) == (0.0, np.inf)
    assert nab.score([file([10], [(500, 599)])]) == (0.0, np.inf), "probation does not count"


def test_nab_takes_the_earliest_of_a_window_and_charges_what_lies_outside() -> None:
    late = nab.score([file([560], [(500, 599)])])[0]
    best = 2 / (1 + np.exp(-5)) - 1
    assert late == pytest.approx(50 + 50 * (2 / (1 + np.exp(-5 * 0.4)) - 1) / best, abs=1e-9)
    assert nab.score([file([560, 580, 599], [(500, 599)])])[0] == pytest.approx(late)
    assert nab.score([file([400, 560], [(500, 599)])])[0] == pytest.approx(late - 50 * 0.11)
    near = nab.score([file([560, 609], [(500, 599)])])[0]
    assert near == pytest.approx(late + 50 * 0.11 * (2 / (1 + np.exp(5 * 10 / 99)) - 1))


def test_nab_profiles_charge_misses_and_false_alarms_differently() -> None:
    files = [file([500], [(500, 599)]), file([300], [(500, 599)])]
    standard, low_fp, low_fn = (nab.score(files, profile)[0] for profile in nab.PROFILES)
    assert standard == pytest.approx(100 * (2 - 0.11) / 4)
    assert low_fp == pytest.approx(100 * (2 - 0.22) / 4)
    assert low_fn == pytest.approx(100 * (3 - 0.11) / 6)


# ---- windows and closed forms ----


def test_seasons_of_clocks() -> None:
    clocks = [
        ("second", 3600),
        ("second", 300),
        ("second", 86_400),
        ("second", 604_800),
        ("month", 1),
        ("month", 3),
    ]
    assert [season_of(Clock(*clock)) for clock in clocks] == [24, 288, 7, 52, 12, 4]
    assert season_of(Clock()) == season_of(Clock("second", 172_800)) == 1


def test_gaps_are_filled_from_a_season_before() -> None:
    nan = np.nan
    assert filled([nan, 1, 2, 3, nan, nan], 3).tolist() == [1, 1, 2, 3, 1, 2]
    assert filled([1, nan, 3], 3).tolist() == [1, 1, 3]
    with pytest.raises(DataError, match="All 2 values of a series are missing. Leave the series out"):
        filled([nan, nan])


def test_windows_hold_what_came_before_and_after() -> None:
    values = np.column_stack([np.arange(6.0), 10 + np.arange(6.0), 20 + np.arange(6.0)])
    values[4, 0] = np.nan
    w = cut(values, 3, 2, np.array([1, 4, 6]), known=1, number=7)
    assert w.context.tolist() == [[0, 0, 0], [1, 2, 3], [3, 3, 5]]
    np.testing.assert_array_equal(w.future, [[1, 2], [np.nan, 5], [np.nan, np.nan]])
    assert w.known[..., 0].tolist() == [[11, 12], [14, 15], [15, 15]]
    assert w.observed[1].tolist() == [[11, 21], [12, 22], [13, 23]]
    assert w.series.tolist() == [7, 7, 7]
    both = join([w, w.take(np.array([1])).tail(3)])
    assert len(both) == 4
    assert w.tail(2).context[1].tolist() == [2, 3]


def test_seasonal_naive_repeats_the_last_season() -> None:
    assert seasonal_naive(np.array([[1, 2, 3, 4.0]]), 5, 3).tolist() == [[2, 3, 4, 2, 3]]
    assert seasonal_naive(np.array([[1, 2.0]]), 2, 3).tolist() == [[2, 2]]


def test_ridge_is_least_squares_with_a_penalty(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(80, 4)), rng.normal(size=(80, 2))
    m = Moments.of(x[:50], y[:50]) + Moments.of(x[50:], y[50:])
    size = np.trace(x.T @ x) / 4
    expected = np.linalg.solve(x.T @ x + 0.1 * size * np.eye(4), x.T @ y)
    np.testing.assert_allclose(m.solve(0.1), expected, rtol=1e-4)
    other = Moments.of(x[:50], y[:50])
    drawn = other.solve(0.0, prior=m, strength=1e9)
    np.testing.assert_allclose(drawn, m.solve(0.0), rtol=1e-4)


def test_missing_outputs_do_not_count(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(60, 3)), rng.normal(size=(60, 4))
    y[:20, 1] = y[:20, 3] = y[30:, 2] = np.nan
    found = masked(x, y, 0.01)
    np.testing.assert_allclose(found[:, [1]], Moments.of(x[20:], y[20:, [1]]).solve(0.01), rtol=1e-6)
    np.testing.assert_allclose(found[:, [2]], Moments.of(x[:30], y[:30, [2]]).solve(0.01), rtol=1e-6)
    np.testing.assert_allclose(found[:, [0]], Moments.of(x, y[:, [0]]).solve(0.01), rtol=1e-6)


def test_logistic_regression_stands_where_its_gradient_is_zero(rng: np.random.Generator) -> None:
    x = rng.normal(size=(300, 3)) * [1, 10, 0.1] + 5
    y = (rng.random(300) < 1 / (1 + np.exp(-(x[:, 0] - 5) * 2))).astype(float)
    model = Logistic.fit(x, y, ridge=0.5)
    p, z = 1 / (1 + np.exp(-model.logits(x))), (x - model.mean) / model.size
    np.testing.assert_allclose(z.T @ (p - y) + 0.5 * model.weights, 0, atol=1e-6)
    assert p.mean() == pytest.approx(y.mean(), abs=1e-6)
    constant = Logistic.fit(np.column_stack([x[:, 0], np.ones(300)]), y)
    assert constant.weights[1] == pytest.approx(0)


def test_conformal_offsets_cover_what_they_promise(rng: np.random.Generator) -> None:
    past, to_come = rng.standard_t(3, size=(99, 1)), rng.standard_t(3, size=(100_000, 1))
    low, high = quantile_offsets(past, (0.1, 0.9))[0]
    assert (low, high) == (np.sort(past[:, 0])[9], np.sort(past[:, 0])[89])
    assert abs(np.mean((to_come >= low) & (to_come <= high)) - 0.8) < 0.12
    past[:50] = np.nan
    assert quantile_offsets(past, (0.9,))[0, 0] == np.sort(past[50:, 0])[44]
