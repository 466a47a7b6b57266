"""The room `distil`: the recipe from end to end on texts that are learned in seconds, and resumed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from unrolled.distil import stages
from unrolled.distil.corpus import Corpus

WORDS = 40
TINY = replace(
    stages.BEST, guesses=2, judges=3, step=2, size=8, units=8, pairs=50, foresee=1, epochs=4, half=False
)


def material() -> stages.Material:
    """120 texts with a label, five of each film, and 60 without; good and bad words decide."""
    rng = np.random.default_rng(1)
    labels = rng.random(180) < 0.5
    rows = []
    for label in labels:
        row = rng.integers(12, WORDS, rng.integers(6, 25))
        row[rng.integers(0, len(row), 4)] = rng.integers(3, 7, 4) + 4 * label
        rows.append(row.astype(np.int32))
    films = [f"film {i // 5}" for i in range(120)]
    return stages.Material.split(Corpus.of(rows), labels[:120], films, WORDS)


def test_nothing_of_a_film_held_out_is_trained_on() -> None:
    given = material()
    films = np.array(given.groups)
    assert len(given.held_out)
    assert set(films[given.held_out]).isdisjoint(films[given.training])
    assert sorted([*given.held_out, *given.every]) == list(range(180))


def test_the_recipe_teaches_the_small_net_and_a_second_run_does_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, said = material(), list[str]()
    first = stages.run(given, TINY, tmp_path, said.append)
    assert given.accuracy(first["logits"]) > 0.9
    assert any("backward, labels" in line for line in said)
    assert any(line.startswith("together:") for line in said)

    def refuse(*_: object) -> None:
        raise AssertionError("a finished stage ran again")

    for name in ("_ngrams", "_taught", "student"):
        monkeypatch.setattr(stages, name, refuse)
    second = stages.run(given, TINY, tmp_path, said.append)
    assert set(first) == set(second)
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name])


def test_a_run_that_was_cut_off_ends_with_the_same_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, said = material(), list[str]()
    plan = replace(TINY, guesses=0, judges=2)
    whole = stages._taught(given, plan, tmp_path, "forward", said.append)["logits"]
    again = tmp_path / "again"
    again.mkdir()
    saved = stages.torch.save

    def cut(state: object, path: Path) -> None:
        saved(state, path)
        raise KeyboardInterrupt

    monkeypatch.setattr(stages, "SAVE_EVERY", 3)
    monkeypatch.setattr(stages.torch, "save", cut)
    with pytest.raises(KeyboardInterrupt):
        stages._taught(given, plan, again, "forward", said.append)
    monkeypatch.setattr(stages.torch, "save", saved)
    (again / "forward-judge.part").rename(again / "forward-judge.pt")
    np.testing.assert_array_equal(whole, stages._taught(given, plan, again, "forward", said.append)["logits"])


def test_a_teacher_that_knows_weighs_more_than_one_that_guesses() -> None:
    given, rng = material(), np.random.default_rng(2)
    truth = np.where(np.concatenate([given.labels, rng.random(60) < 0.5]), 1.0, -1.0)
    knows, guesses = truth + 0.3 * rng.normal(size=180), rng.normal(size=180)
    fused = stages.fuse(given, {"knows": knows, "guesses": guesses})
    assert np.corrcoef(fused, knows)[0, 1] > 0.95
    assert abs(np.corrcoef(fused, guesses)[0, 1]) < 0.5
    alone = replace(given, held_out=np.zeros(0, np.int64))
    both = stages.fuse(alone, {"knows": knows, "guesses": guesses})
    assert np.corrcoef(both, knows / knows.std() + guesses / guesses.std())[0, 1] == pytest.approx(1)


def test_fused_answers_are_the_optimum_of_a_logistic_regression() -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    given, rng = material(), np.random.default_rng(3)
    answers = {name: rng.normal(size=180) for name in ("a", "b")}
    z = np.stack([a / a.std() for a in answers.values()] + [np.ones(180)], 1)
    other = linear.LogisticRegression(C=1, fit_intercept=False, tol=1e-10).fit(
        z[given.held_out], given.labels[given.held_out]
    )
    np.testing.assert_allclose(stages.fuse(given, answers), other.decision_function(z), atol=1e-5)
