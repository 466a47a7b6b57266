"""Keras's vocabulary over our own parts."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from unrolled.errors import BundleError, ShapeError, UsageError  # noqa: E402
from unrolled.network import Dense, Embedding, SimpleRNN  # noqa: E402
from unrolled.sequential import Sequential  # noqa: E402

RNG = np.random.default_rng(0)
X = RNG.integers(0, 20, (90, 6))
Y = (X[:, -1] > 9).astype(int)


def model(seed=0, **options):
    made = Sequential([Embedding(20, 8), SimpleRNN(8), Dense(1, activation="sigmoid")], seed=seed)
    made.compile(optimizer="rmsprop", loss="binary_crossentropy", metrics=["acc"], **options)
    return made


def test_fit_learns_and_returns_its_history(capsys):
    made = model()
    history = made.fit(X, Y, epochs=30, batch_size=8, validation_split=0.2)
    assert set(history.history) == {"epoch", "loss", "accuracy", "val_loss", "val_accuracy", "seconds"}
    assert len(history.history["loss"]) == 30
    assert history.history["loss"][-1] < 0.6 * history.history["loss"][0]
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 30
    assert printed[0].startswith("Epoch 1/30")
    ranks = list(zip(history.history["val_accuracy"], -np.array(history.history["val_loss"]), strict=True))
    assert history.best_epoch == 1 + ranks.index(max(ranks))
    made.weights = history.best_weights
    at = int(len(X) * 0.8)
    assert made.evaluate(X[at:], Y[at:], verbose=0)[1] == pytest.approx(max(history.history["val_accuracy"]))


def test_validation_is_the_last_share_before_shuffling():
    split, given = model(), model()
    at = int(len(X) * (1 - 0.3))
    one = split.fit(X, Y, epochs=2, batch_size=8, validation_split=0.3, verbose=0)
    two = given.fit(X[:at], Y[:at], epochs=2, batch_size=8, validation_data=(X[at:], Y[at:]), verbose=0)
    assert one.history["val_loss"] == two.history["val_loss"]
    assert one.history["loss"] == two.history["loss"]


def test_evaluate_is_the_mean_loss_and_accuracy_of_predict():
    made = model()
    p = made.predict(X)
    assert p.shape == (90, 1)
    loss, accuracy = made.evaluate(X, Y, verbose=0)
    right = np.where(Y == 1, p[:, 0], 1 - p[:, 0]).astype(float)
    assert loss == pytest.approx(-np.log(right).mean(), rel=1e-6)
    assert accuracy == pytest.approx(((p[:, 0] > 0.5) == Y).mean())


def test_several_classes():
    made = Sequential()
    for layer in (Embedding(20, 8), SimpleRNN(8), Dense(3, activation="softmax")):
        made.add(layer)
    made.compile(optimizer="adam", loss="sparse_categorical_crossentropy")
    made.fit(X, X[:, -1] // 7, epochs=25, batch_size=8, verbose=0)
    assert made.evaluate(X, X[:, -1] // 7, verbose=0)[1] > 0.8
    np.testing.assert_allclose(made.predict(X).sum(1), 1, rtol=1e-5)


def test_summary_shows_shapes_and_counts():
    made, lines = Sequential([Embedding(10_000, 64), SimpleRNN(32), Dense(1)]), []
    made.build((None, 500))
    made.summary(lines.append)
    assert lines[1].split() == ["embedding", "(None,", "500,", "64)", "640,000"]
    assert lines[2].split() == ["simple_rnn", "(None,", "32)", "3,104"]
    assert lines[-1].split() == ["Total", "643,137"]


def test_weights_can_be_taken_and_given():
    one, two = model(0), model(1)
    for made in (one, two):
        made.build((None, 6))
    assert (one.predict(X) != two.predict(X)).any()
    two.set_weights(one.get_weights())
    np.testing.assert_array_equal(one.predict(X), two.predict(X))
    with pytest.raises(BundleError, match="has shape"):
        two.set_weights([w.T for w in one.get_weights()])


def test_what_is_missing_is_said():
    made = Sequential([Embedding(20, 8), SimpleRNN(8), Dense(1)])
    with pytest.raises(UsageError, match="The network is not compiled. Call compile"):
        made.fit(X, Y)
    with pytest.raises(UsageError, match="There is no metric 'f1' here. Known: accuracy, acc"):
        made.compile(metrics=["f1"])
    with pytest.raises(ShapeError, match="different lengths.*pad_sequences"):
        made.predict(np.array([[1, 2], [3]], dtype=object))
