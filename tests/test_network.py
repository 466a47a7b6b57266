"""The description of networks: shapes, counts, initial weights, and the way through plain data."""

import json

import numpy as np
import pytest

from unrolled.errors import BundleError, ShapeError, UsageError
from unrolled.network import GRU, LSTM, Dense, Dropout, Embedding, Network, Pooling, SimpleRNN

LESSON = Network((Embedding(10_000, 64), SimpleRNN(32), Dense(1, "sigmoid")), (500,))


def test_the_lesson_counts_its_parameters():
    assert LESSON.parameter_counts() == [640_000, 3_104, 33]
    assert sum(LESSON.parameter_counts()) == 643_137
    assert LESSON.shapes() == [(500,), (500, 64), (32,), (1,)]


def test_plain_data_and_back():
    assert Network.from_list(LESSON.to_list(), LESSON.input_shape) == LESSON


def test_initial_weights_are_keras_defaults():
    weights = LESSON.initial(seed=3)
    LESSON.check(weights)
    assert np.abs(weights["0.weight"]).max() <= 0.05 < 1.02 * np.abs(weights["0.weight"]).max()
    recurrent = weights["1.weight_hh"].astype(np.float64)
    np.testing.assert_allclose(recurrent @ recurrent.T, np.eye(32), atol=1e-6)
    limit = np.sqrt(6 / (64 + 32))
    assert 0.97 * limit < np.abs(weights["1.weight_ih"]).max() <= limit
    assert not weights["1.bias"].any()
    again = LESSON.initial(seed=3)
    assert all((weights[name] == again[name]).all() for name in weights)
    assert (weights["0.weight"] != LESSON.initial(seed=4)["0.weight"]).any()


def test_layers_that_do_not_fit_say_so():
    with pytest.raises(
        ShapeError, match=r"SimpleRNN reads vectors in time, shape \(T, D\), but .* shape \(500,\)"
    ):
        Network((SimpleRNN(4),), (500,))
    with pytest.raises(ShapeError, match=r"Embedding reads token ids of shape \(T,\)"):
        Network((Embedding(5, 3), Embedding(5, 3)), (500,))
    with pytest.raises(UsageError, match="at least one layer"):
        Network(())


@pytest.mark.parametrize("units", [0, -1, 2.5, "8"])
def test_sizes_are_positive_whole_numbers(units):
    with pytest.raises(UsageError, match="units is .*; it must be a whole number of at least 1"):
        Dense(units)


def test_unknown_activation_names_the_known_ones():
    with pytest.raises(UsageError, match="activation is 'tahn'; known: relu, tanh"):
        SimpleRNN(3, activation="tahn")


def test_keras_spelling_of_no_activation():
    assert Dense(2, None) == Dense(2, "linear")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda w: w.pop("1.bias"), r"The weight '1.bias' is missing"),
        (lambda w: w.update({"3.bias": w["1.bias"]}), r"The weight '3.bias' does not belong to this network"),
        (lambda w: w.update({"1.bias": w["1.bias"][:-1]}), r"'1.bias' has shape \(31,\) .* \(32,\)"),
        (
            lambda w: w.update({"1.bias": w["1.bias"].astype(float)}),
            r"type float64, but .* float32 were expected",
        ),
    ],
)
def test_foreign_weights_are_refused(change, sentence):
    weights = LESSON.initial(0)
    change(weights)
    with pytest.raises(BundleError, match=sentence):
        LESSON.check(weights)


def test_unknown_layers_and_settings_are_refused():
    with pytest.raises(BundleError, match="There is no layer called 'conv'"):
        Network.from_list([{"layer": "conv"}])
    with pytest.raises(BundleError, match="The layer 'dense' cannot be built from"):
        Network.from_list([{"layer": "dense", "untis": 3}])


GATED = Network(
    (LSTM(6, return_sequences=True, bidirectional=True, num_layers=2, dropout=0.1), Pooling(("last", "mean")),
     Dropout(0.5), Dense(2)), (None, 3),
)  # fmt: skip


def test_gated_layers_know_their_shapes_and_come_back_from_plain_data():
    assert GATED.shapes() == [(None, 3), (None, 12), (24,), (24,), (2,)]
    shapes = GATED.weight_shapes()
    assert shapes["0.weight_ih_l0_reverse"] == (24, 3)
    assert shapes["0.weight_ih_l1"] == (24, 12)
    assert shapes["0.weight_hh_l1_reverse"] == (24, 6)
    assert Network((GRU(5),), (7, 2)).weight_shapes()["0.bias_hh_l0"] == (15,)
    assert Network.from_list(json.loads(json.dumps(GATED.to_list())), GATED.input_shape) == GATED


def test_gated_initial_weights():
    weights = GATED.initial(0)
    GATED.check(weights)
    columns = weights["0.weight_hh_l0"].astype(np.float64)
    np.testing.assert_allclose(columns.T @ columns, np.eye(6), atol=1e-6)
    assert weights["0.bias_ih_l1"].tolist() == [0] * 6 + [1] * 6 + [0] * 12
    assert not weights["0.bias_hh_l1"].any()


def test_settings_of_gated_layers_are_checked():
    with pytest.raises(UsageError, match="LSTM: dropout is 1; it must be at least 0 and less than 1"):
        LSTM(4, dropout=1)
    with pytest.raises(
        UsageError, match=r"how is \('mean', 'avg'\); it must be one or more of mean, max, last"
    ):
        Pooling(("mean", "avg"))
    with pytest.raises(ShapeError, match=r"GRU reads vectors in time, shape \(T, D\), but .* \(5,\)"):
        Network((GRU(4),), (5,))
