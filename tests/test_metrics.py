"""Our metrics against scikit-learn's, and against sums done by hand."""

import numpy as np
import pytest

from unrolled import metrics
from unrolled.errors import ShapeError


def draw(n, k, seed=0, rounding=None):
    """Truth, probabilities that know something about it, and predictions."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, k, n)
    logits = rng.normal(size=(n, k)) + 1.2 * np.eye(k)[truth]
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    if rounding:
        p = np.round(p, rounding)
        p[:, -1] = 1 - p[:, :-1].sum(axis=1)
    return truth, p, p.argmax(axis=1)


@pytest.fixture(scope="module")
def sk():
    return pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed (extra 'sklearn')")


@pytest.mark.parametrize("k", [2, 3, 5])
def test_counts_and_rates_equal_scikit_learn(sk, k):
    truth, _, predicted = draw(311, k, seed=k)
    assert metrics.accuracy(truth, predicted) == pytest.approx(sk.accuracy_score(truth, predicted), abs=1e-15)
    counts = metrics.confusion_matrix(truth, predicted, k)
    np.testing.assert_array_equal(counts, sk.confusion_matrix(truth, predicted))
    ours = metrics.precision_recall_f1(counts)
    theirs = sk.precision_recall_fscore_support(truth, predicted)
    for mine, other in zip(ours, theirs[:3], strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-14)


def test_a_class_never_predicted_and_one_never_true_give_zero(sk):
    truth, predicted = [0, 0, 1, 1, 1], [0, 2, 0, 0, 2]
    ours = metrics.precision_recall_f1(metrics.confusion_matrix(truth, predicted, 3))
    theirs = sk.precision_recall_fscore_support(truth, predicted, labels=[0, 1, 2], zero_division=0)
    for mine, other in zip(ours, theirs[:3], strict=True):
        np.testing.assert_allclose(mine, other)
    assert ours[1][2] == 0


@pytest.mark.parametrize("rounding", [None, 1])
def test_roc_auc_equals_scikit_learn_with_and_without_ties(sk, rounding):
    truth, p, _ = draw(200, 2, rounding=rounding)
    assert metrics.roc_auc(truth, p[:, 1]) == pytest.approx(sk.roc_auc_score(truth, p[:, 1]), abs=1e-14)


def test_roc_auc_by_hand():
    # pairs: (.8,.3) above, (.8,.5) above, (.5,.3) above, (.5,.5) tie -> 3.5 of 4
    assert metrics.roc_auc([0, 1, 0, 1], [0.3, 0.8, 0.5, 0.5]) == 0.875
    assert np.isnan(metrics.roc_auc([1, 1], [0.1, 0.2]))
    assert np.isnan(metrics.roc_auc_interval([1, 1, 0], [0.1, 0.2, 0.3])).all()


def test_the_auc_interval_is_delongs():
    truth, p, _ = draw(80, 2, seed=3, rounding=1)
    low, high = metrics.roc_auc_interval(truth, p[:, 1])
    pos, neg = p[truth == 1, 1], p[truth == 0, 1]
    kernel = (pos[:, None] > neg) + 0.5 * (pos[:, None] == neg)  # the paper's psi, pair by pair
    variance = kernel.mean(axis=1).var(ddof=1) / pos.size + kernel.mean(axis=0).var(ddof=1) / neg.size
    assert high - low == pytest.approx(2 * metrics.Z95 * np.sqrt(variance))
    assert (high + low) / 2 == pytest.approx(metrics.roc_auc(truth, p[:, 1]))


@pytest.mark.parametrize("k", [2, 4])
def test_log_loss_and_brier_equal_scikit_learn(sk, k):
    truth, p, _ = draw(150, k, seed=9)
    assert metrics.log_loss(truth, p) == pytest.approx(sk.log_loss(truth, p), rel=1e-12)
    theirs = np.mean([sk.brier_score_loss(truth == c, p[:, c]) for c in range(k)]) * k / 2
    assert metrics.brier(truth, p) == pytest.approx(theirs, rel=1e-12)


def test_log_loss_of_a_certain_mistake_is_finite():
    assert metrics.log_loss([0], [[0.0, 1.0]]) == pytest.approx(-np.log(np.finfo(float).eps))


def test_reliability_bins_equal_scikit_learns_quantile_bins():
    calibration = pytest.importorskip("sklearn.calibration", reason="scikit-learn is not installed")
    truth, p, predicted = draw(300, 3, seed=5)
    confidence, right, count = metrics.reliability(truth, p, bins=15)
    theirs_right, theirs_confidence = calibration.calibration_curve(
        predicted == truth, p.max(axis=1), n_bins=15, strategy="quantile"
    )
    np.testing.assert_allclose(confidence, theirs_confidence)
    np.testing.assert_allclose(right, theirs_right)
    assert (count == 20).all()


def test_calibration_error_by_hand_and_in_any_order():
    p = np.array([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.4, 0.6]])
    truth = np.array([0, 0, 1, 1])
    # two bins: {.6} right once -> .4 off; {.9 three times} right 2 of 3 -> .2333 off; ties stay together
    expected = (1 * 0.4 + 3 * (0.9 - 2 / 3)) / 4
    assert metrics.expected_calibration_error(truth, p, bins=2) == pytest.approx(expected)
    order = np.random.default_rng(0).permutation(4)
    assert metrics.expected_calibration_error(truth[order], p[order], bins=2) == pytest.approx(expected)
    many = draw(400, 2, seed=1, rounding=1)
    shuffled = np.random.default_rng(1).permutation(400)
    first = metrics.expected_calibration_error(many[0], many[1])
    assert metrics.expected_calibration_error(many[0][shuffled], many[1][shuffled]) == pytest.approx(first)


def test_the_wilson_interval_solves_its_equation():
    for successes, n in [(0, 10), (3, 10), (10, 10), (22000, 25000)]:
        low, high = metrics.wilson_interval(successes, n)
        for edge in (low, high):  # |p_hat - p| = z sqrt(p (1 - p) / n) at both ends
            assert (successes / n - edge) ** 2 == pytest.approx(
                metrics.Z95**2 * edge * (1 - edge) / n, abs=1e-12
            )
        assert 0 <= low <= successes / n <= high <= 1
    assert np.isnan(metrics.wilson_interval(0, 0)).all()


def test_bootstrap_draws_examples_again():
    counts = np.array([[70, 30], [20, 80]])
    drawn = metrics.bootstrap_counts(counts, rounds=4000, seed=1)
    assert (drawn.sum(axis=(1, 2)) == 200).all()
    np.testing.assert_allclose(drawn.mean(axis=0), counts, atol=0.6)
    np.testing.assert_allclose(drawn[:, 0, 0].var(), 200 * 0.35 * 0.65, rtol=0.08)
    np.testing.assert_array_equal(drawn, metrics.bootstrap_counts(counts, rounds=4000, seed=1))


def test_wrong_shapes_say_what_was_given():
    with pytest.raises(ShapeError, match=r"truth has shape \(2,\) and predicted \(3,\); both must be \(N,\)"):
        metrics.accuracy([0, 1], [0, 1, 1])
    with pytest.raises(ShapeError, match="Class 2 found; with 2 classes they must be 0 to 1"):
        metrics.confusion_matrix([0, 2], [0, 1], 2)
    with pytest.raises(ShapeError, match="Class -1 found"):
        metrics.confusion_matrix([0, -1], [0, 1], 2)
    with pytest.raises(ShapeError, match=r"probabilities \(2,\); they must be \(N,\) and \(N, K\)"):
        metrics.brier([0, 1], [0.5, 0.5])
    with pytest.raises(ShapeError, match=r"truth has shape \(1,\) and score \(2,\)"):
        metrics.roc_auc([0], [0.1, 0.2])
