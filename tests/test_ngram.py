"""The counting model against the formula of its page, written out with dictionaries."""

from collections import Counter, defaultdict

import numpy as np
import pytest

from unrolled.ngram import FADING, USUAL, NGram, recent

V, ORDER = 5, 3


def text(rng, length):
    """Symbols that mostly go on in turn, so that there is something to count."""
    steps = np.where(rng.random(length) < 0.7, 1, rng.integers(0, V, length))
    return np.cumsum(steps) % V


class ByHand:
    """Modified Kneser-Ney with dictionaries, one count at a time."""

    def __init__(self, size, order):
        self.size, self.order = size, order
        self.counts = [defaultdict(Counter) for _ in range(order)]

    def add(self, tokens, i):
        """Count token i: from the longest n-gram down, and shorter ones only behind a new longer one."""
        for n in range(min(self.order, i + 1), 0, -1):
            history, word = tuple(tokens[i - n + 1 : i]), tokens[i]
            new = self.counts[n - 1][history][word] == 0
            self.counts[n - 1][history][word] += 1
            if not new and n <= i + 1:
                break

    def discounts(self):
        found = []
        for level in self.counts:
            n = Counter(c for history in level.values() for c in history.values())
            y, usual = n[1] / max(n[1] + 2 * n[2], 1), not n[1] > n[2] > n[3] > n[4] > 0
            found.append(
                [0, *(USUAL if usual else max(i - (i + 1) * y * n[i + 1] / n[i], 0.1) for i in (1, 2, 3))]
            )
        return found

    def p(self, tokens, i, discounts):
        p = 1 / self.size
        for n in range(1, min(self.order, i + 1) + 1):
            seen = self.counts[n - 1].get(tuple(tokens[i - n + 1 : i]))
            if not seen:
                break
            total, d = sum(seen.values()), discounts[n - 1]
            kept = seen[tokens[i]] - d[min(seen[tokens[i]], 3)]
            p = kept / total + sum(d[min(c, 3)] for c in seen.values()) / total * p
        return p


@pytest.mark.parametrize("adaptive", [False, True])
def test_it_is_the_formula(rng, adaptive):
    training, test = text(rng, 300).tolist(), text(rng, 120).tolist()
    hand = ByHand(V, ORDER)
    for i in range(len(training)):
        hand.add(training, i)
    discounts, expected = hand.discounts(), []
    for i in range(len(test)):
        expected.append(hand.p(test, i, discounts))
        if adaptive:
            hand.add(test, i)
    model = NGram(np.array(training), V, ORDER)
    np.testing.assert_allclose([level.discounts for level in model.levels], discounts)
    np.testing.assert_allclose(model.score(np.array(test), adaptive=adaptive), expected, rtol=1e-12)


def test_what_may_follow_sums_to_one_and_is_what_scoring_says(rng):
    model, test = NGram(text(rng, 400), V + 2, 4), text(rng, 50)
    scored = model.score(test)
    for i in range(len(test)):
        p = model.next(test[:i])
        assert p.sum() == pytest.approx(1)
        assert p[test[i]] == pytest.approx(scored[i])
        assert (p > 0).all()  # also of the two symbols that never came


def test_a_text_that_repeats_itself_is_expected_to():
    rng = np.random.default_rng(3)
    again = np.tile(rng.integers(0, 20, 50), 8)
    model = NGram(rng.integers(0, 20, 1000), 20, 4)
    static, adaptive = (-np.log(model.score(again, adaptive=a)) for a in (False, True))
    assert adaptive[:20].mean() == pytest.approx(static[:20].mean(), abs=0.2)
    assert adaptive[-50:].mean() < 0.5 < static[-50:].mean()


@pytest.mark.parametrize("length", [0, 1, 2])
def test_hardly_any_text_still_gives_probabilities(length):
    model = NGram(np.zeros(length, np.int64), 3, 4)
    assert model.next([0, 0]).sum() == pytest.approx(1)
    assert model.score(np.array([0, 1, 2])).shape == (3,)
    assert model.score(np.zeros(0, np.int64)).shape == (0,)


def test_the_cache_expects_what_stood_lately():
    tokens = np.array([3, 1, 3, 2, 3, 1])
    weights = FADING ** np.arange(1, 6)
    p = recent(tokens, 0)
    assert p[0] == 0
    assert p[4] == pytest.approx((weights[1] + weights[3]) / weights[:4].sum())
    assert p[5] == pytest.approx(weights[3] / weights.sum())
    after = recent(tokens, 1)  # 3 was followed by 1, then by 2
    assert after[3] == 0
    assert after[5] == pytest.approx(weights[3] / (weights[1] + weights[3]))
    assert len(recent(tokens[:0], 1)) == 0
