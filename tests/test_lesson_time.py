"""The lessons gates, shapes and series: their parts are right, and they notice when what they claim is not so."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from unrolled.lessons import ClaimError, Narrator, find, gates, series, shapes


@pytest.fixture
def said(tmp_path: Path) -> Narrator:
    return Narrator(stream=io.StringIO(), folder=tmp_path)


@pytest.mark.parametrize("name", gates.CELLS)
def test_gradients_of_every_cell_agree_with_small_changes(name: str, rng: np.random.Generator) -> None:
    cell = gates.CELLS[name](rng, 2, 3, 5)
    xs, ds = rng.normal(size=(5, 4, 2)), rng.normal(size=(4, 3 * cell.parts))
    grads = gates.gradients(cell, gates.read(cell, xs)[1], ds)[0]
    for weights, grad in zip((cell.w, cell.b), grads, strict=True):
        for place in np.ndindex(weights.shape):
            kept, sums = weights[place], []
            for nudge in (1e-6, -1e-6):
                weights[place] = kept + nudge
                sums.append(float((gates.read(cell, xs)[0] * ds).sum()))
            weights[place] = kept
            assert grad[place] == pytest.approx((sums[0] - sums[1]) / 2e-6, abs=1e-7), (name, place)


def test_gates_notices_a_gradient_that_does_not_pass_the_forget_gate(said, monkeypatch) -> None:
    right = gates.Lstm.back

    def wrong(self, ds, kept, grad):
        found = right(self, ds, kept, grad)
        found[:, self.units :] /= kept[2]
        return found

    monkeypatch.setattr(gates.Lstm, "back", wrong)
    with pytest.raises(ClaimError, match="LSTM: .*by the chain rule is what nudging x_1 shows"):
        find("gates")(far=30).run(said)


def test_gates_refuses_to_say_that_gates_learn_when_they_do_not(said, monkeypatch) -> None:
    right = gates.Gates.trained
    monkeypatch.setattr(
        gates.Gates, "trained", lambda it, kind, d: right(it, gates.Cell, d) if d < 10 else 0.5
    )
    with pytest.raises(ClaimError, match="with gates it can be learned"):
        find("gates")(far=30, updates=300).run(said)


def test_shapes_notices_a_network_that_looks_ahead(said, monkeypatch) -> None:
    monkeypatch.setattr(
        shapes.Reader, "each", lambda it, xs: [it.answer(h) for h in it.states(list(xs)[::-1])]
    )
    with pytest.raises(ClaimError, match="on none that comes later"):
        find("shapes")(units=40, days=200).run(said)


def test_shapes_notices_a_forecast_that_is_worse_than_repeating(said, monkeypatch) -> None:
    monkeypatch.setattr(
        shapes.Days, "fit", lambda it, xs, ys: setattr(it, "w_hy", np.ones((3, 24, len(it.w_hh))))
    )
    with pytest.raises(ClaimError, match="better than repeating the last day"):
        find("shapes")(units=40, days=200).run(said)


def test_shapes_sees_which_output_listens_to_which_input() -> None:
    found = shapes.listens(lambda xs: [xs[0], xs[0] + xs[1]], [np.zeros(2), np.ones(2)])
    assert found.tolist() == [[True, False], [True, True]]


def test_series_asks_only_below_the_level_and_only_where_the_answer_is_known() -> None:
    found = series.begins(np.array([0, 0, 0, 5, 5, 0, 0, 0.0]), 3, 2)
    np.testing.assert_array_equal(found, [0, 1, 1, np.nan, np.nan, 0, np.nan, np.nan])


def test_series_network_learns_along_its_gradient(rng: np.random.Generator) -> None:
    network = series.Reader(rng, 3)
    windows, truth = rng.normal(size=(5, 4)), np.array([0, 1, 1, 0, 1.0])
    before = {name: w.copy() for name, w in network.w.items()}

    def loss() -> float:
        p = network.answer(windows)
        return -float(np.mean(truth * np.log(p) + (1 - truth) * np.log(1 - p)))

    network.learn(windows, truth, 1)
    learned = {name: m / 0.1 for name, (m, _) in network.moments.items()}
    network.w = before
    for name, weights in before.items():
        for place in np.ndindex(weights.shape):
            kept, losses = weights[place], []
            for nudge in (1e-6, -1e-6):
                weights[place] = kept + nudge
                losses.append(loss())
            weights[place] = kept
            assert learned[name][place] == pytest.approx((losses[0] - losses[1]) / 2e-6, abs=1e-6), name


def test_series_refuses_to_say_that_order_matters_when_it_did_not_help(said, monkeypatch) -> None:
    monkeypatch.setattr(series.InSeries, "trained", lambda it, x, y, test: np.full(len(test), 0.5))
    with pytest.raises(ClaimError, match="in order, the network knows more"):
        find("series")(updates=200).run(said)


def test_series_reads_the_sunspots_where_they_are(data_folder: Path, said) -> None:
    if not (data_folder / "series/small").is_dir():
        pytest.skip("the small series are not there")
    assert series.sunspots().shape == (940,)
    assert find("series")(updates=400).run(said)["average_precision_in_order"] > 0.5
    assert "Sunspots" in said.stream.getvalue()
