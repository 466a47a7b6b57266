"""The training loop and the run around it: it learns, stops, survives being killed, and splits honestly."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from unrolled import bundle as bundles  # noqa: E402
from unrolled import layers, optimizers, recipe, train  # noqa: E402
from unrolled.config import RunConfig  # noqa: E402
from unrolled.datasets import Examples  # noqa: E402
from unrolled.errors import BundleError, DataError, TrainingError, UnknownNameError, UsageError  # noqa: E402
from unrolled.network import Dense, Embedding, Network, SimpleRNN  # noqa: E402
from unrolled.tasks.sentiment import Sentiment  # noqa: E402

NETWORK = Network((Embedding(12, 6), SimpleRNN(8), Dense(1, "sigmoid")), (7,))


def examples(count: int = 200, seed: int = 0) -> train.Arrays:
    """Positive exactly if token 3 comes anywhere before token 5: order decides, counting does not."""
    rng = np.random.default_rng(seed)
    inputs = rng.integers(6, 12, (count, 7)).astype(np.int32)
    for row in inputs:
        first, second = sorted(rng.choice(7, 2, replace=False))
        row[first], row[second] = (3, 5) if rng.random() < 0.5 else (5, 3)
    targets = np.array([int(list(row).index(3) < list(row).index(5)) for row in inputs])
    return train.Arrays(inputs, targets)


def trainer(config: RunConfig | None = None, **options) -> train.Trainer:
    config = config or RunConfig(epochs=2, batch_size=16, seed=1)
    return train.Trainer(layers.build(NETWORK, NETWORK.initial(0)), "binary_crossentropy", config, **options)


@pytest.mark.parametrize("optimizer", ["rmsprop", "adam"])
def test_it_learns_what_only_order_tells(optimizer):
    run = trainer(RunConfig(epochs=60, batch_size=16, learning_rate=0.01, optimizer=optimizer, clip_norm=1.0))
    history = run.fit(examples(400), examples(200, seed=1))
    assert history[-1]["loss"] < 0.5 * history[0]["loss"]
    assert max(row["val_accuracy"] for row in history) > 0.95


def test_the_same_seed_gives_the_same_weights_and_another_does_not():
    first, second, third = (trainer(RunConfig(epochs=2, batch_size=16, seed=s)) for s in (1, 1, 2))
    for run in (first, second, third):
        run.fit(examples())
    weights = [layers.weights_of(run.stack) for run in (first, second, third)]
    assert all((weights[0][n] == weights[1][n]).all() for n in weights[0])
    assert any((weights[0][n] != weights[2][n]).any() for n in weights[0])


def test_the_best_epoch_is_kept():
    validation = examples(100, seed=5)
    run = trainer(RunConfig(epochs=25, batch_size=16, learning_rate=0.05, seed=3))
    history = run.fit(examples(), validation)
    accuracies = [row["val_accuracy"] for row in history]
    best = max(history, key=lambda row: (row["val_accuracy"], -row["val_loss"]))
    assert run.progress.best_epoch == best["epoch"] - 1
    run.stack.load_state_dict({name: torch.from_numpy(value) for name, value in run.best.items()})
    assert run.score(validation)[1] == pytest.approx(max(accuracies))


def test_patience_ends_training():
    run = trainer(RunConfig(epochs=500, batch_size=64, learning_rate=1e-6, patience=3))
    history = run.fit(examples(), examples(100, seed=5))
    assert len(history) == run.progress.best_epoch + 1 + 3 < 500


def test_a_loss_that_is_not_a_number_stops_with_advice():
    run = trainer()
    with torch.no_grad():
        run.stack[2].weight.fill_(float("nan"))
    with pytest.raises(
        TrainingError, match="The loss became nan in epoch 1, batch 1.*--learning-rate.*--clip-norm"
    ):
        run.fit(examples())


def test_gradients_are_clipped_together():
    parameters = [torch.zeros(3, requires_grad=True), torch.zeros(4, 2, requires_grad=True)]
    parameters[0].grad = torch.tensor([3.0, 0.0, 0.0])
    rows = torch.sparse_coo_tensor(
        torch.tensor([[1]]), torch.tensor([[0.0, 4.0]]), (4, 2), is_coalesced=True, check_invariants=False
    )
    parameters[1].grad = rows
    assert optimizers.clip_norm(parameters, 1.0) == pytest.approx(5.0)
    torch.testing.assert_close(parameters[0].grad, torch.tensor([0.6, 0.0, 0.0]))
    torch.testing.assert_close(parameters[1].grad.to_dense()[1], torch.tensor([0.0, 0.8]))


@pytest.mark.parametrize("sparse", [False, True])
def test_rmsprop_is_keras_formula(sparse):
    rng = np.random.default_rng(0)
    weight = torch.nn.Parameter(torch.tensor(rng.normal(size=(6, 3)), dtype=torch.float32))
    optimizer, v, w = (
        optimizers.RMSprop([weight], lr=0.01),
        np.zeros((6, 3)),
        weight.detach().numpy().astype(np.float64),
    )
    for step in range(4):
        rows = torch.tensor([1, 4]) if step % 2 else torch.tensor([0, 4, 5])
        values = torch.tensor(rng.normal(size=(len(rows), 3)), dtype=torch.float32)
        gradient = torch.sparse_coo_tensor(
            rows[None], values, (6, 3), is_coalesced=True, check_invariants=False
        )
        weight.grad = gradient if sparse else gradient.to_dense()
        optimizer.step()
        g = gradient.to_dense().numpy().astype(np.float64)
        v = 0.9 * v + 0.1 * g**2
        w = w - 0.01 * g / np.sqrt(v + 1e-7)
    np.testing.assert_allclose(weight.detach(), w, rtol=1e-5)
    np.testing.assert_allclose(optimizer.state[weight]["square_average"], v, rtol=1e-5)


def test_unknown_names_are_named():
    with pytest.raises(
        UnknownNameError, match="There is no optimizer called 'rmspop'. Did you mean 'rmsprop'"
    ):
        trainer(RunConfig(optimizer="rmspop"))
    with pytest.raises(UnknownNameError, match="There is no loss called 'mse'"):
        train.Trainer(layers.build(NETWORK, NETWORK.initial(0)), "mse", RunConfig())


def test_arrays_must_match():
    with pytest.raises(UsageError, match="There are 3 inputs but 2 targets"):
        train.Arrays(np.zeros((3, 7), np.int32), np.zeros(2))
    with pytest.raises(UsageError, match="There are no examples"):
        train.Arrays(np.zeros((0, 7), np.int32), np.zeros(0))


def test_resumed_in_the_middle_of_an_epoch_it_ends_the_same(tmp_path):
    config = RunConfig(epochs=3, batch_size=16, seed=1)
    straight = trainer(config)
    expected = straight.fit(examples(), examples(50, seed=2))

    class Stopped(Exception):
        pass

    def stop(progress, _):
        if (progress.epoch, progress.batch) == (1, 5):
            interrupted.save()
            raise Stopped

    interrupted = trainer(config, folder=tmp_path, on_batch=stop)
    with pytest.raises(Stopped):
        interrupted.fit(examples(), examples(50, seed=2))
    resumed = trainer(config, folder=tmp_path)
    assert resumed.resume()
    history = resumed.fit(examples(), examples(50, seed=2))
    for row, wanted in zip(history, expected, strict=True):
        assert {k: v for k, v in row.items() if k != "seconds"} == {
            k: v for k, v in wanted.items() if k != "seconds"
        }
    for name, value in layers.weights_of(straight.stack).items():
        np.testing.assert_array_equal(layers.weights_of(resumed.stack)[name], value, err_msg=name)


def test_a_checkpoint_of_other_examples_is_refused(tmp_path):
    first = trainer(folder=tmp_path)
    first.fit(examples())
    second = trainer(folder=tmp_path)
    second.resume()
    with pytest.raises(UsageError, match="belongs to other examples or other settings"):
        second.fit(examples(seed=9))


def test_a_damaged_checkpoint_is_refused(tmp_path):
    (tmp_path / bundles.CHECKPOINT).write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00garbage")
    with pytest.raises(BundleError, match="is damaged .* Delete it to start again"):
        trainer(folder=tmp_path).resume()


WORDS = ("quiet", "lovely", "film", "dull", "plot", "actor", "the", "a", "of", "and")


def reviews(count: int = 120, *, groups: bool = False) -> Examples:
    rng = np.random.default_rng(0)
    texts, labels = [], []
    for i in range(count):
        words = rng.choice(WORDS, size=rng.integers(3, 12)).tolist()
        labels.append("positive" if i % 2 else "negative")
        texts.append(" ".join([*words, "lovely" if i % 2 else "dull"]))
    return Examples(texts, labels, [f"film {i // 6}" for i in range(count)] if groups else None)


def test_a_run_writes_a_bundle_that_predicts(tmp_path):
    seen = []
    config = RunConfig(epochs=12, batch_size=16, learning_rate=0.01)
    made = recipe.run(Sentiment, reviews(), config, tmp_path / "run", on_epoch=seen.append)
    assert len(seen) == 12
    assert bundles.Bundle.load(tmp_path / "run").predict(["lovely", "dull"]) == made.predict(
        ["lovely", "dull"]
    )
    assert [p.label for p in made.predict(["a film of lovely", "the plot dull"])] == ["positive", "negative"]
    assert not (tmp_path / "run" / bundles.CHECKPOINT).exists()
    assert "Trained on 96 examples; 24 were held out" in made.card


def test_a_run_is_never_overwritten(tmp_path):
    config = RunConfig(epochs=1)
    recipe.run(Sentiment, reviews(), config, tmp_path)
    with pytest.raises(UsageError, match="holds a run already. Continue it with --resume"):
        recipe.run(Sentiment, reviews(), config, tmp_path)
    again = recipe.run(Sentiment, reviews(), config, tmp_path, resume=True)
    assert again.predict(["lovely"]) == bundles.Bundle.load(tmp_path).predict(["lovely"])


def test_examples_without_labels_cannot_be_learned(tmp_path):
    with pytest.raises(DataError, match="The examples have no labels"):
        recipe.run(Sentiment, Examples(["a", "b"]), RunConfig(), tmp_path)


def test_the_vocabulary_is_read_off_the_training_part_only(tmp_path):
    given = reviews()
    config = RunConfig(epochs=1)
    _, held_out = recipe.split(given, config.validation_split, config.seed)
    marked = [t + (" zeppelin" if t in held_out.texts else "") for t in given.texts]
    made = recipe.run(Sentiment, Examples(marked, given.labels), config, tmp_path)
    assert "zeppelin" not in made.task.tokenizer.vocabulary


def test_groups_are_never_torn_apart():
    first, second = recipe.split(reviews(600, groups=True), 0.25, seed=3)
    assert not set(first.groups) & set(second.groups)
    assert len(first) + len(second) == 600
    assert 0.2 <= len(second) / 600 <= 0.25
    assert Counter(first.texts + second.texts) == Counter(reviews(600).texts)


def test_a_random_split_depends_on_the_seed_alone():
    given = reviews()
    assert recipe.split(given, 0.2, 1)[1].texts == recipe.split(given, 0.2, 1)[1].texts
    assert recipe.split(given, 0.2, 1)[1].texts != recipe.split(given, 0.2, 2)[1].texts


KILLED = """
import sys
from pathlib import Path
from test_train import reviews
from unrolled import recipe, train
from unrolled.config import RunConfig
from unrolled.tasks.sentiment import Sentiment
train.SAVE_EVERY = 0.0
recipe.run(Sentiment, reviews(2000), RunConfig(epochs=3, batch_size=8), Path(sys.argv[1]), resume=True,
           on_batch=lambda progress, n: print(progress.epoch, progress.batch, flush=True))
"""


def test_killed_at_any_point_and_resumed_it_ends_the_same(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *sys.path])}
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path / "killed")]
    rng = np.random.default_rng(0)
    for _ in range(3):
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
        for _ in range(int(rng.integers(20, 120))):
            process.stdout.readline()
        time.sleep(rng.random() * 0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    recipe.run(Sentiment, reviews(2000), RunConfig(epochs=3, batch_size=8), tmp_path / "straight")
    killed, straight = (bundles.Bundle.load(tmp_path / name) for name in ("killed", "straight"))
    for name, value in straight.weights.items():
        np.testing.assert_array_equal(killed.weights[name], value, err_msg=name)


def test_a_budget_of_steps_or_minutes_ends_training_inside_an_epoch():
    rates: list[float] = []
    run = trainer(RunConfig(steps=20, batch_size=16, learning_rate=0.01, schedule="cosine"))
    run.on_batch = lambda now, batches: rates.append(run.optimizer.param_groups[0]["lr"])
    history = run.fit(examples())  # 13 batches an epoch
    assert (len(history), run.progress.steps) == (2, 20)
    assert rates[0] < rates[1] == max(rates) == pytest.approx(0.01, rel=0.01)
    assert rates[1:] == sorted(rates[1:], reverse=True)
    assert rates[-1] < 0.0002
    run = trainer(RunConfig(minutes=0.001, batch_size=16))
    run.fit(examples())
    assert 0.06 <= run.progress.seconds < 5


def test_without_accuracies_the_epoch_of_the_lowest_loss_is_the_best():
    rows = [{"epoch": 1, "val_loss": 2.0}, {"epoch": 2, "val_loss": 1.0}, {"epoch": 3, "val_loss": 1.5}]
    assert train.best(rows) is rows[1]
    assert train.best([{"epoch": 1, "loss": 1.0}, {"epoch": 2, "loss": 2.0}])["epoch"] == 2


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"minutes": -1.0}, "minutes is -1.0; it must be 0 or more"),
        ({"steps": -1}, "steps is -1; it must be 0 or more"),
        ({"schedule": "step"}, "schedule is step; it must be constant or cosine"),
    ],
)
def test_a_budget_that_cannot_be_is_refused(setting, sentence):
    with pytest.raises(UsageError, match=sentence):
        RunConfig(**setting)
