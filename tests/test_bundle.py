"""What is on disk: saved, loaded, predicted, and refused when it is not what it should be."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from unrolled import bundle as bundles
from unrolled.bundle import Bundle
from unrolled.config import RunConfig, read_config
from unrolled.errors import BundleError, DataError, UnknownNameError, UsageError
from unrolled.tasks.sentiment import Sentiment

TEXTS = ["a quiet lovely film", "a dull film", "lovely", "dull dull dull", "the film was lovely and quiet"]
LABELS = ["positive", "negative", "positive", "negative", "positive"]


def make(labels=LABELS) -> Bundle:
    task = Sentiment.learn(TEXTS, labels, num_words=20, maxlen=8, embedding=6, units=5)
    weights = {name: 8 * w for name, w in task.network.initial(1).items()}
    return Bundle(task, weights, RunConfig(epochs=3, seed=1), "# A card\n", "mine")


@pytest.fixture
def folder(tmp_path):
    return make().save(tmp_path / "mine")


def test_saved_and_loaded_it_predicts_the_same(folder):
    ours, loaded = make(), Bundle.load(folder)
    assert loaded.predict(TEXTS) == ours.predict(TEXTS)
    assert loaded.config == ours.config
    assert loaded.card == ours.card
    assert loaded.name == "mine"
    assert loaded.labels == ("negative", "positive")
    assert sorted(path.name for path in folder.iterdir()) == [
        "card.md",
        "config.toml",
        "task.json",
        "weights.safetensors",
    ]


def test_half_precision_is_half_the_size_and_close(tmp_path):
    whole, half = make().save(tmp_path / "whole"), make().save(tmp_path / "half", half=True)
    sizes = [len((path / "weights.safetensors").read_bytes()) for path in (whole, half)]
    assert sizes[1] < 0.75 * sizes[0]
    np.testing.assert_allclose(Bundle.load(half).probabilities(TEXTS), make().probabilities(TEXTS), atol=5e-3)


def test_eight_bits_are_near_and_small(tmp_path):
    names = ["0.weight", "1.weight_hh"]
    folder = make().save(tmp_path / "small", half=True, eight_bits=names)
    loaded = Bundle.load(folder)
    for name, weight in make().weights.items():
        assert loaded.weights[name].dtype == np.float32
        step = np.abs(weight).max(-1, keepdims=True) / (254 if name in names else 2000)
        assert (np.abs(loaded.weights[name] - weight) <= 1.01 * step).all(), name
    stored = load_file(folder / "weights.safetensors")
    assert {stored[name].dtype.name for name in names} == {"int8"}
    assert stored["0.weight.scale"].shape == make().weights["0.weight"].shape[:1]


def test_probabilities_are_columns_in_the_order_of_labels():
    ours = make()
    p = ours.probabilities(TEXTS)
    assert p.shape == (5, 2)
    np.testing.assert_allclose(p.sum(1), 1)
    first = ours.predict(TEXTS)[0]
    assert first.probabilities == dict(zip(ours.labels, p[0].tolist(), strict=True))
    assert first.confidence == p[0].max()
    assert first.label == ours.labels[int(p[0].argmax())]


def test_one_text_gets_the_same_answer_in_any_company():
    ours = make()
    alone = [ours.predict([text])[0] for text in TEXTS]
    assert alone == ours.predict(TEXTS) == ours.predict(TEXTS, batch_size=2)


def test_texts_that_cannot_be_judged_say_so():
    empty, unknown = make().predict(["  ... !", "xylophone zeppelin"])
    assert (empty.label, empty.status) == (None, "empty")
    assert (unknown.label, unknown.status) == (None, "unknown_words")
    assert empty.probabilities == {"negative": 0.5, "positive": 0.5}
    assert make().predict([]) == []


def test_many_labels(tmp_path):
    ours = make(["a", "b", "c", "a", "b"])
    assert ours.labels == ("a", "b", "c")
    loaded = Bundle.load(ours.save(tmp_path / "three"))
    np.testing.assert_allclose(loaded.probabilities(TEXTS).sum(1), 1)
    assert loaded.predict(TEXTS) == ours.predict(TEXTS)


def test_trace_has_one_probability_for_each_word_and_ends_with_the_answer():
    ours = make()
    trace = ours.trace("a quiet lovely film")
    assert len(trace) == len(ours.encode(["a quiet lovely film"])[0])
    assert trace[-1] == pytest.approx(ours.probabilities(["a quiet lovely film"])[0, 1], abs=1e-6)


def test_training_needs_two_labels_and_words():
    with pytest.raises(DataError, match=r"Every example has the same label, \['x'\]"):
        Sentiment.learn(["a", "b"], ["x", "x"])
    with pytest.raises(DataError, match="The training texts hold no words at all"):
        Sentiment.learn(["...", ""], ["x", "y"])
    with pytest.raises(
        DataError, match="The label 'neutral' does not occur in training. Known: negative, positive"
    ):
        make().task.targets(["neutral"])


def edit(folder, change) -> None:
    path = folder / "task.json"
    described = json.loads(path.read_text(encoding="utf-8"))
    change(described)
    path.write_text(json.dumps(described), encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda d: d.update(format=2), "has format 2, this version reads up to 1. Upgrade unrolled"),
        (lambda d: d.pop("network"), "'network' is missing or not list"),
        (lambda d: d.update(weights_sha256="0" * 64), "is not the file that task.json belongs to"),
        (
            lambda d: d["network"][1].update(units=6),
            r"The weight '1.weight_ih' has shape \(5, 6\).* but shape \(6, 6\)",
        ),
        (lambda d: d["network"][0].update(input_dim=9), "an embedding of 1?[0-9] ids was expected"),
        (lambda d: d["network"][2].update(units=3), "The network has 3 outputs, which does not fit 2 labels"),
        (lambda d: d["network"].append({"layer": "exec"}), "There is no layer called 'exec'"),
        (lambda d: d["settings"].update(labels=["one"]), "'labels' must be a list of at least two texts"),
        (lambda d: d["settings"].pop("tokenizer"), "A tokenizer is stored as"),
        (
            lambda d: d.update(task="sentimant"),
            "There is no task called 'sentimant'. Did you mean 'sentiment'",
        ),
    ],
)
def test_a_bundle_that_is_not_right_is_refused(folder, change, sentence):
    edit(folder, change)
    with pytest.raises((BundleError, UnknownNameError), match=sentence):
        Bundle.load(folder)


@pytest.mark.parametrize("name", ["task.json", "weights.safetensors"])
@pytest.mark.parametrize("content", [b"", b"\x00\xff junk", b"[]"])
def test_damaged_files_are_refused(folder, name, content):
    (folder / name).write_bytes(content)
    with pytest.raises(BundleError, match=name):
        Bundle.load(folder)


def test_truncated_weights_are_refused(folder):
    path = folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(BundleError, match="cannot be read"):
        Bundle.load(folder)


def test_a_name_that_is_no_model_names_the_known_ones(tmp_path):
    with pytest.raises(UnknownNameError, match="There is no model called 'revews'"):
        Bundle.load("revews")
    with pytest.raises(BundleError, match="There is no folder"):
        Bundle.load(tmp_path / "nothing")
    with pytest.raises(BundleError, match="has no task.json"):
        Bundle.load(tmp_path)


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    bundles.write_atomically(path, b"old")

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bundles.os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        bundles.write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_config_goes_through_toml(tmp_path):
    config = RunConfig(epochs=7, learning_rate=3e-4, seed=9, validation_split=0.0)
    path = tmp_path / "config.toml"
    path.write_text(config.to_toml(), encoding="utf-8")
    assert read_config(path) == config


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("epochs = ", "is not valid TOML"),
        ("epoch = 3", "holds an unknown setting 'epoch'"),
        ("epochs = 3.5", "'epochs' is 3.5, but int was expected"),
    ],
)
def test_config_that_cannot_be_read_says_where(tmp_path, line, sentence):
    path = tmp_path / "config.toml"
    path.write_text(line, encoding="utf-8")
    with pytest.raises(BundleError, match=sentence):
        read_config(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("batch_size", 0),
        ("learning_rate", 0.0),
        ("validation_split", 1.0),
        ("patience", -1),
        ("clip_norm", -0.1),
    ],
)
def test_settings_out_of_range_are_named(name, value):
    with pytest.raises(UsageError, match=f"{name} is {value}; it must be"):
        RunConfig(**{name: value})
