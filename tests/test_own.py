"""Training on somebody's own texts: what n-grams sum, what is chosen, what is kept, and what is said."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest

from test_answers import Page
from unrolled import cli, load
from unrolled.data.grams import Grams
from unrolled.data.sequence import Sequences
from unrolled.datasets import Examples
from unrolled.errors import DataError, UsageError

pytest.importorskip("torch", reason="torch is not installed (extra 'train')")

from unrolled import recipe
from unrolled.cli.texts import mapped
from unrolled.distil import own, steps, workshop
from unrolled.distil.begin import begin, begin_shape, words_of
from unrolled.distil.corpus import Corpus, frequent_pairs
from unrolled.distil.steps import Reading, Shape, Steps
from unrolled.report.training import slices

PLAN = own.Plan(epochs=12)


@pytest.fixture
def run(capsys):
    def run(*arguments):
        status = cli.run([str(argument) for argument in arguments])
        return status, *capsys.readouterr()

    return run


def texts(
    count: int, seed: int = 0, labels: tuple[str, ...] = ("bad", "good"), rare: float = 0.5
) -> Examples:
    """Sentences whose label follows from one word; the last label has the share `rare`."""
    rng = np.random.default_rng(seed)
    words = {label: [f"{label}{x}" for x in "abc"] for label in labels}
    share = [(1 - rare) / (len(labels) - 1)] * (len(labels) - 1) + [rare]
    chosen = rng.choice(labels, count, p=share)
    filler = np.array(["the", "a", "film", "of", "and", "was", "is", "it", "with", "songs"])
    said = [
        " ".join([*rng.choice(filler, 6), str(rng.choice(words[label])), *rng.choice(filler, 3)])
        for label in chosen
    ]
    return Examples(said, chosen.tolist(), None)


def test_grams_sum_the_weights_of_the_different_runs_of_a_text(rng):
    rows = [rng.integers(1, 7, n).astype(np.int32) for n in (5, 0, 12, 1)]
    held = {
        sum(int(d) * 7**place for place, d in enumerate(reversed(row[i : i + size].tolist())))
        for row in rows for size in (1, 2, 3) for i in range(len(row) - size + 1) if 1 not in row[i : i + size]
    }  # fmt: skip
    keys = np.array(sorted(held)[::2])
    weights = rng.normal(size=(len(keys), 2)).astype(np.float32)
    found = Grams(keys, weights, 7).sums(Sequences.of(rows))
    for row, sums in zip(rows, found, strict=True):
        own_runs = {
            sum(int(d) * 7**place for place, d in enumerate(reversed(row[i : i + size].tolist())))
            for size in (1, 2, 3) for i in range(len(row) - size + 1) if 1 not in row[i : i + size]
        }  # fmt: skip
        wanted = sum((weights[k] for k, key in enumerate(keys.tolist()) if key in own_runs), np.zeros(2))
        np.testing.assert_allclose(sums, wanted, atol=1e-5)


def test_a_net_that_begins_at_a_model_answers_as_the_model_does():
    """More words, more pairs and other names for the labels change nothing before training."""
    base = load("reviews-small")
    said = ["A quiet, lovely film about zzyzx and qwrt.", "Dull from start to end, zzyzx!"]
    tokenizer = type(base.task.tokenizer)((*words_of(base), "zzyzx", "qwrt"))
    corpus = Corpus.of(tokenizer.encode(said))
    shape = begin_shape(base, Shape(tokenizer.size, frequent_pairs(corpus, 50, tokenizer.size)))
    net = Steps(shape)
    begin(net, base, ["neg", "pos"])
    p = 1 / (1 + np.exp(-net.logits(Reading(corpus, shape), np.arange(2))))
    np.testing.assert_allclose(p, base.probabilities(said)[:, 1], atol=2e-3)
    few = Steps(replace(shape, pairs=frequent_pairs(corpus, 50, tokenizer.size)))  # all that these texts ask for
    begin(few, base, ["neg", "pos"])
    z = few.logits(Reading(corpus, few.shape), np.arange(2))
    np.testing.assert_allclose(1 / (1 + np.exp(-z)), p, atol=1e-6)
    three = Steps(replace(shape, outputs=3))
    begin(three, base, ["negative", "neutral", "positive"])
    z = three.logits(Reading(corpus, shape), np.arange(2))
    np.testing.assert_allclose(1 / (1 + np.exp(z[:, 0] - z[:, 2])), p, atol=1e-5)


@pytest.mark.parametrize("labels", [("bad", "good"), ("high", "low", "middle")])
def test_what_is_chosen_is_as_good_on_new_texts_and_is_kept_whole(labels, tmp_path):
    found = own.learn(texts(300, labels=labels), PLAN)
    new = texts(200, seed=1, labels=labels)
    truth = found.bundle.task.targets(new.labels)
    p = found.bundle.probabilities(new.texts)
    assert (p.argmax(1) == truth).mean() > 0.95
    assert found.tried[-1].accuracy > 0.95
    assert [row.name for row in found.tried[:-1]] == ["n-grams", "net"]
    assert found.tried[-1].name in ("net", "net + n-grams")
    assert len(found.rows) == len(found.truth) == 300
    kept = load(found.bundle.save(tmp_path / "kept"))
    np.testing.assert_allclose(kept.probabilities(new.texts), p, atol=1e-12)


def test_n_grams_beside_a_net_are_in_the_model():
    """With weights fitted by hand the model's logit is the weighed sum of both."""
    examples = texts(120)
    shop = workshop.Workshop(examples, PLAN, [], 0, lambda done, whole: None)
    rows = np.arange(len(shop.y))
    parts = [shop.net(rows, begun=False), shop.grams(rows)]
    bundle = own._bundle(shop, parts, np.array([0.5, 2.0]))
    p = bundle.probabilities(examples.texts)[:, 1]
    wanted = 0.5 * parts[0].logits(rows) + 2.0 * parts[1].logits(rows)
    np.testing.assert_allclose(np.log(p / (1 - p)), wanted[:, 0], atol=0.05)  # rows in 8 bits


def test_a_rare_class_is_found():
    found = own.learn(texts(400, rare=0.06), PLAN)
    new = texts(300, seed=3, rare=0.06)
    said = found.bundle.probabilities(new.texts).argmax(1)
    truth = found.bundle.task.targets(new.labels)
    assert (said[truth == 1] == 1).mean() > 0.8
    counts = np.bincount(workshop.repeated(np.arange(101), np.repeat([0, 1], [100, 1])))
    assert counts[0] == 1
    assert counts[100] == 10


def test_groups_are_held_out_whole():
    examples = texts(60)
    grouped = Examples(examples.texts, examples.labels, [f"film {i % 7}" for i in range(60)])
    shop = workshop.Workshop(grouped, PLAN, [], 0, lambda done, whole: None)
    for training, held_out in shop.folds:
        assert not set(training % 7) & set(held_out % 7)
    assert sorted(np.concatenate([held_out for _, held_out in shop.folds])) == list(range(60))
    with pytest.raises(DataError, match="All rows belong to one group, so that none can be held out."):
        workshop.Workshop(replace(grouped, groups=["a"] * 60), PLAN, [], 0, lambda done, whole: None)


def test_a_stopped_run_goes_on_after_what_is_finished(tmp_path, monkeypatch):
    """Stopped after an epoch of the second fold of the second candidate: nothing that was done is done again."""
    examples, said, heard, epochs = texts(80), [], [], []
    keep = steps._keep

    def counted(path, *state):
        keep(path, *state)
        epochs.append(path.name)
        if len(epochs) == 4:
            raise KeyboardInterrupt

    plan = own.Plan(epochs=3)
    monkeypatch.setattr(own.Plan, "own", classmethod(lambda cls, examples: plan))
    monkeypatch.setattr(steps, "_keep", counted)
    with pytest.raises(KeyboardInterrupt):
        recipe.own(examples, "own", tmp_path / "run", say=said.append)
    fit = own.Workshop.grams
    monkeypatch.setattr(own.Workshop, "grams", lambda self, rows: heard.append(1) or fit(self, rows))
    with pytest.raises(UsageError, match="holds a run already. Continue it with --resume"):
        recipe.own(examples, "own", tmp_path / "run", say=said.append)
    again = recipe.own(examples, "own", tmp_path / "run", say=said.append, resume=True)
    assert len(heard) <= 1  # the five of the folds are not fitted again
    assert len(epochs) == 3 * 6
    whole = recipe.own(examples, "own", tmp_path / "other", say=said.append)
    np.testing.assert_array_equal(again.probabilities, whole.probabilities)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "card.md", "config.toml", "report.html", "task.json", "weights.safetensors",
    ]  # fmt: skip


def test_the_command_trains_prints_and_writes_a_page(run, tmp_path):
    examples = texts(150, labels=("1", "3", "5"))
    with open(tmp_path / "mine.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "stars"), *zip(examples.texts, examples.labels, strict=True)])
    arguments = [
        "train",
        "sentiment",
        tmp_path / "mine.csv",
        "--label-column",
        "stars",
        "-o",
        tmp_path / "run",
    ]
    status, out, err = run(*arguments, "--map", "1=negative 3=neutral 5=positive")
    assert status == 0, err
    names = [line.partition(": ")[0] for line in out.splitlines()]
    assert names == ["n-grams", "net", "net from general", "chosen"]
    assert err.splitlines()[-1] == f"report: {tmp_path / 'run' / 'report.html'}"
    assert load(tmp_path / "run").labels == ("negative", "neutral", "positive")
    said = Page(tmp_path / "run" / "report.html").said
    for part in (
        "Confusion matrix",
        "without one",
        "10 to 29 words",
        "Calibration error",
        "most confident mistakes",
    ):
        assert part in said
    assert "net from general" in (tmp_path / "run" / "card.md").read_text()
    assert run(*arguments)[0] == 2


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--map", "1=bad 2"], "--map has the part '2'; expected VALUE,VALUE=LABEL, as in 1,2=negative."),
        (
            ["--map", "1=bad"],
            "--map names no label for '2' (1 rows). Add it, or leave such rows out with --skip-bad.",
        ),
        (
            ["--epochs", "7"],
            "--epochs is an option of the lesson's training: add --preset lesson, or leave it out.",
        ),
        (["--preset", "quick"], "There is no preset 'quick'. Known: own, fast."),
        (["--map", "1,2=bad"], "Every example has the same label, ['bad']; a classifier needs at least two."),
    ],
)
def test_what_cannot_be_trained_is_said(run, tmp_path, more, said):
    (tmp_path / "mine.csv").write_text("text,stars\ndull film,1\nlovely film,2\n")
    status, _, err = run(
        "train", "sentiment", tmp_path / "mine.csv", "--label-column", "stars", "-o", tmp_path / "run", *more
    )
    assert status == 2
    assert said in err


def test_labels_are_mapped_and_rows_without_one_left_out_on_request():
    examples = Examples(["a", "b", "c"], ["1", " 2", "9"], ["x", "y", "z"])
    found = mapped(examples, "1,2=low 3=high", skip_bad=True)
    assert (found.texts, found.labels, found.groups, found.skipped) == (
        ["a", "b"],
        ["low", "low"],
        ["x", "y"],
        1,
    )


def test_slices_are_by_words_and_by_negation():
    said = dict(slices(["it isn\u2019t good", "never again", "a " * 40, "a knot"]))
    assert said["with a negation"].tolist() == [True, True, False, False]
    assert said["30 to 99 words"].tolist() == [False, False, True, False]
    assert sum(mask.astype(int) for name, mask in said.items() if "words" in name).tolist() == [1, 1, 1, 1]


def test_more_texts_without_labels_enter_the_vocabulary_and_the_guesses(run, tmp_path):
    examples = texts(40)
    with open(tmp_path / "mine.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *zip(examples.texts, examples.labels, strict=True)])
    (tmp_path / "more.txt").write_text("a zyxw film with zyxw\n" * 80, encoding="utf-8")
    arguments = ["train", "sentiment", tmp_path / "mine.csv", "--label-column", "label", "-o", tmp_path / "run"]
    status, _, err = run(*arguments, "--unlabelled", tmp_path / "more.txt", "--preset", "fast")
    assert status == 0, err
    assert "zyxw" in load(tmp_path / "run").task.tokenizer.words
