"""Tables of moments on an even grid: the clock that is found, what becomes NaN, and every row that is refused."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from unrolled.data.series import Clock, Panel, read_series
from unrolled.errors import DataError, ShapeError


@pytest.fixture
def table(tmp_path: Path):
    """Writes lines into a CSV file and gives its path."""

    def write(*lines: str) -> Path:
        path = tmp_path / "sales.csv"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return write


def hours(*times: str) -> list[str]:
    return ["time,x", *(f"2020-01-01 {t},{i}" for i, t in enumerate(times))]


@pytest.mark.parametrize(
    ("times", "clock", "said"),
    [
        (["2020-01-01 00:00:00", "2020-01-01 01:00:00"], Clock("second", 3600), "hour"),
        (["2020-01-01T00:00", "2020-01-01T00:05"], Clock("second", 300), "5 minutes"),
        (["2020-01-01T00:00:00Z", "2020-01-01T00:00:01Z"], Clock("second", 1), "second"),
        (["2020-01-01", "2020-01-02"], Clock("second", 86_400), "day"),
        (["12/30/2019", "1/6/2020"], Clock("second", 7 * 86_400), "week"),
        (["30.12.2019", "6.1.2020"], Clock("second", 7 * 86_400), "week"),
        (["2020-01", "2020-02", "2020-03"], Clock("month", 1), "month"),
        (["2020-01-31", "2020-02-29", "2020-03-31"], Clock("month", 1), "month"),
        (["2020-01-01", "2020-04-01", "2020-07-01"], Clock("month", 3), "quarter"),
        (["1999", "2001", "2003"], Clock("month", 24), "2 years"),
        (["7", "8", "9"], Clock("step", 1), "step"),
        (["-4", "0", "4"], Clock("step", 4), "4 steps"),
    ],
)
def test_clock_is_found(table, times: list[str], clock: Clock, said: str) -> None:
    panel = read_series(table("time,x", *(f"{t},{i}" for i, t in enumerate(times))), time="time")
    assert panel.clock == clock
    assert str(panel.clock) == said
    assert panel.series[0].values.tolist() == [[float(i)] for i in range(len(times))]
    assert panel.notes == ()


def test_time_zones_are_one_clock(table) -> None:
    panel = read_series(table("t,x", "2020-03-29T01:00:00+01:00,1", "2020-03-29T03:00:00+02:00,2"), time="t")
    assert str(panel.clock) == "hour"
    assert panel.times(panel.series[0]) == ["2020-03-29 00:00:00", "2020-03-29 01:00:00"]


def test_future_times_continue_the_grid(table) -> None:
    panel = read_series(table("month,x", "2020-11,1", "2020-12,2"), time="month")
    assert panel.times(panel.series[0], 2, 4) == ["2021-01", "2021-02"]
    daily = read_series(table("day,x", "2020-02-28,1", "2020-02-29,2"), time="day")
    assert daily.times(daily.series[0], 2, 3) == ["2020-03-01"]


def test_absent_rows_and_empty_fields_are_missing(table) -> None:
    path = table("t,x,y", "2020-01-01,1,", "2020-01-02,NA,5", "2020-01-04,4,?")
    panel = read_series(path, time="t")
    expected = [[1, np.nan], [np.nan, 5], [np.nan, np.nan], [4, np.nan]]
    np.testing.assert_array_equal(panel.series[0].values, expected)
    assert panel.columns == ("x", "y")
    assert panel.notes == ("1 steps have no row and are missing.",)


def test_series_of_unequal_length_keep_their_own_beginning(table) -> None:
    path = table(
        "shop,t,x", "b,2020-01-03,1", "a,2020-01-01,2", "b,2020-01-04,3", "a,2020-01-02,4", "a,2020-01-03,5"
    )
    panel = read_series(path, time="t", name="shop")
    assert [(s.name, len(s), panel.times(s)[0]) for s in panel.series] == [
        ("b", 2, "2020-01-03"),
        ("a", 3, "2020-01-01"),
    ]
    assert panel.series[1].values[:, 0].tolist() == [2, 4, 5]


def test_rows_without_times_follow_each_other(table) -> None:
    panel = read_series(table("x,y", "1,2", "3,4"), columns=["y"])
    assert panel.series[0].values.tolist() == [[2], [4]]
    assert panel.times(panel.series[0], 0, 3) == ["0", "1", "2"]


def test_repair_sorts_moves_and_keeps_the_last(table) -> None:
    path = table(*hours("02:00", "00:00", "01:00", "01:00", "03:01", "04:00", "05:00"))
    panel = read_series(path, time="time", repair=True)
    assert panel.series[0].values[:, 0].tolist() == [1, 3, 0, 4, 5, 6]
    assert panel.notes == (
        "1 rows stood before an earlier one and were sorted.",
        "1 rows were moved to the nearest step.",
        "1 rows gave way to a later one at the same time.",
    )


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        (hours("00:00", "02:00", "01:00"), r"row 3 .*: its time, 2020-01-01 01:00, is before .*Sort the rows by"),
        (hours("00:00", "01:00", "01:00"), r"row 3 .* is already that of .*row 2 .*Remove one, name the column"),
        (hours("00:00", "01:00", "02:30", "03:00", "04:00"), r"row 3 .*not a whole number of steps of one hour .*"),
        (hours("00:00", "noon"), r"row 2 .*'2020-01-01 noon' is not a time. Write times as"),
        (["time,x", "2020-01-01,1", ",2"], r"row 2 .* has no time. Fill it in"),
        (["time,x", "2020-13-01,1", "2020-01-02,2"], r"row 1 .*'2020-13-01' is not a time"),
        (["time,x", "2020-01-01,1", '2020-01-02,"1,5"'], r"row 2 .*'1,5' in column 'x' is not a number. Write dec"),
        (["time,x", "2020-01-01,1", "2020-01-02,inf"], r"row 2 .*'inf' in column 'x' is not finite"),
        (["time,x", "1/2/1981,1", "1/3/1981,2"], r"row 1 .*'1/2/1981' may be day/month or month/day, and no number"),
        (["time,x", "13/2/1981,1", "1/14/1981,2"], r"row 1 .* begins with a day and .*row 2 .* with a month"),
        (["time,x", "2020-01-01,1"], r"has a single moment \(2020-01-01\), which gives no step. Give at least two"),
        (["time,x"], r"holds no rows below its header"),
        (
            ["time,x", *(f"2020-01-01 0{i}:00,1" for i in range(5)), *(f"2020-02-0{i},1" for i in range(1, 5))],
            r"row 6 .*: 740 steps of one hour lie between it and .*row 5 .*Bring the rows to one step, or split",
        ),
        (["time,x", "2020-01-01,1,9"], r"row 1 .*"),
    ],
)  # fmt: skip
def test_errors_name_row_and_remedy(table, lines: list[str], sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        read_series(table(*lines), time="time")


def test_mixed_steps_name_both_series(table) -> None:
    path = table("n,t,x", "a,2020-01-01,1", "a,2020-01-02,1", "b,2020-01-01,1", "b,2020-01-08,1")
    with pytest.raises(
        DataError, match=r"row 3 .*series 'b' has one row every week, but series 'a' one every day"
    ):
        read_series(path, time="t", name="n")


def test_unknown_column_is_named(table) -> None:
    with pytest.raises(DataError, match="no column 'dat'. Did you mean 'date'"):
        read_series(table("date,x", "2020-01-01,1"), time="dat")


def test_arrays_become_a_panel() -> None:
    panel = Panel.from_arrays([np.arange(3), np.arange(2)], ["sales"])
    assert [s.values.shape for s in panel.series] == [(3, 1), (2, 1)]
    assert [s.name for s in panel.series] == ["0", "1"]
    with pytest.raises(ShapeError, match=r"Series 1 has shape \(2, 2\); \(T,\) or \(T, 1\) was expected"):
        Panel.from_arrays([np.arange(3), np.zeros((2, 2))])


def test_real_files(data_folder: Path, tmp_path: Path) -> None:
    folder = data_folder / "series"
    if not folder.is_dir():
        pytest.skip(f"{folder} is missing")
    hourly = tmp_path / "ETTh1.csv"
    hourly.write_bytes(gzip.decompress((folder / "ETTh1.csv.gz").read_bytes()))
    panel = read_series(hourly, time="date")
    assert (str(panel.clock), panel.series[0].values.shape, panel.notes) == ("hour", (17_420, 7), ())
    small = folder / "small"
    gas = read_series(small / "us_gasoline.csv", time="Week", repair=True)
    assert str(gas.clock) == "week"
    assert gas.series[0].values[-1].tolist() == [8864]
    milk = read_series(small / "monthly-milk-incomplete.csv", time="Month")
    assert (str(milk.clock), len(milk.series[0])) == ("month", 168)
    assert np.isnan(milk.series[0].values).sum() == 168 - 155
    with pytest.raises(DataError, match="before that of the row above"):
        read_series(small / "us_gasoline.csv", time="Week")
