"""What is written for ONNX Runtime answers as we do, and what cannot be written says so."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from test_sentiment_steps import make
from tiny_model import tiny_bundle
from unrolled import bundle as bundles
from unrolled import cli, load
from unrolled.errors import EngineError, UsageError

onnx = pytest.importorskip("onnx", reason="onnx is not installed (extra 'onnx')")
runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra 'onnx')")

from unrolled.exports import onnx as room  # noqa: E402


def with_grams(bundle, count=40):
    """The same model with weights of runs, some of which the sample holds."""
    task, rng = bundle.task, np.random.default_rng(3)
    size = task.tokenizer.size
    texts = room.sample(bundle)[3:]
    held = {int(t[i]) for t in texts for i in range(len(t)) if t[i] != 1}
    held |= {
        int(t[i]) * size + int(t[i + 1]) for t in texts for i in range(len(t) - 1) if 1 not in t[i : i + 2]
    }
    held |= {
        (int(t[i]) * size + int(t[i + 1])) * size + int(t[i + 2])
        for t in texts for i in range(len(t) - 2) if 1 not in t[i : i + 3]
    }  # fmt: skip
    keys = np.sort(rng.permutation(sorted(held))[:count]).astype(np.uint64)
    weights = rng.normal(size=(count, task.network.shapes()[-1][-1])).astype(np.float16)
    task = task.with_arrays({**task.arrays, "grams": keys, "gram_weights": weights})
    return bundles.Bundle(task, bundle.weights, bundle.config)


MODELS = {
    "two classes": lambda: make(("negative", "positive")),
    "three classes": lambda: make(("negative", "neutral", "positive")),
    "n-grams beside": lambda: with_grams(make(("negative", "positive"))),
    "n-grams beside three": lambda: with_grams(make(("negative", "neutral", "positive"))),
    "the lesson's network": tiny_bundle,
}


@pytest.mark.parametrize("name", MODELS)
def test_the_runtime_answers_as_we_do(name, tmp_path):
    bundle = MODELS[name]()
    worst = room.Onnx().write(bundle, tmp_path / "model.onnx")
    assert worst < 1e-5
    spread = bundle.score_ids(room.sample(bundle))
    assert np.ptp(spread[:, 0]) > 0.01, "the sample must tell models apart"
    made = onnx.load(tmp_path / "model.onnx")
    assert [entry.name for entry in made.graph.input] == ["ids", "sequence_lens"]
    assert made.graph.doc_string == f"labels: {', '.join(bundle.labels)}"


@pytest.mark.parametrize("name", ["reviews-small", "general", "reviews"])
def test_the_models_of_the_package_answer_alike_on_real_sentences(name, tmp_path):
    bundle = load(name)
    assert room.Onnx().write(bundle, tmp_path / "model.onnx") <= 1e-4
    texts = [
        "A quiet, lovely film.",
        "",
        "qwrtzuiop",
        "Dull! " * 700,
        "I expected much, and it was not good at all.",
    ]
    session = runtime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    (p,) = session.run(None, room.feed(list(bundle.encode(texts))))
    np.testing.assert_allclose(p, bundle.probabilities(texts), atol=1e-4)


def test_what_differs_is_not_written(tmp_path, monkeypatch):
    build, other = room.build, make(("negative", "positive"))
    other.weights["2.bias"] += 0.5
    monkeypatch.setattr(room, "build", lambda bundle: build(other))
    with pytest.raises(EngineError, match="ONNX Runtime answers otherwise by up to .*; nothing was written."):
        room.Onnx().write(make(("negative", "positive")), tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()


def test_the_command_says_the_difference_and_the_path(tmp_path, capsys):
    folder = make(("negative", "positive")).save(tmp_path / "run")
    assert cli.run(["export", str(folder), "onnx", "-o", str(tmp_path / "m.onnx")]) == 0
    said = capsys.readouterr()
    assert said.out == f"{tmp_path / 'm.onnx'}\n"
    assert "largest difference of a probability: " in said.err
    assert cli.run(["export", str(folder), "onnx", "-o", str(tmp_path / "m.bin")]) == 2
    assert "does not end in .onnx, the ending of onnx files." in capsys.readouterr().err
    assert cli.run(["export", str(folder), "onx", "-o", str(tmp_path / "m.onnx")]) == 2
    assert "There is no format called 'onx'. Did you mean 'onnx'?" in capsys.readouterr().err


def test_other_networks_are_refused(tmp_path):
    bundle = tiny_bundle()
    layers = bundle.task.network.layers
    object.__setattr__(bundle.task.network, "layers", (*layers, layers[-1]))
    with pytest.raises(
        UsageError, match="with the layers Embedding, SimpleRNN, Dense, Dense cannot be exported"
    ):
        room.build(bundle)


def test_an_image_network_of_timm_becomes_an_encoder(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch", reason="torch is not installed (extra 'train')")
    from unrolled.encoder import Encoder
    from unrolled.exports import encoder

    class Maps(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = torch.nn.Conv2d(3, 4, 3, 2), torch.nn.Conv2d(4, 8, 3, 2)

        def forward(self, x):
            first = torch.relu(self.first(x))
            return [first, self.last(first)]

    torch.manual_seed(0)
    network = Maps().eval()
    mean, deviation = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
    timm = SimpleNamespace(
        create_model=lambda name, **told: {"maps": network}[name],
        data=SimpleNamespace(
            resolve_data_config=lambda told, model: {"mean": mean, "std": deviation, "input_size": (3, 40, 32)}
        ),
    )
    monkeypatch.setitem(sys.modules, "timm", timm)
    assert cli.run(["export", "timm:maps", "encoder", "-o", str(tmp_path / "maps.onnx")]) == 0
    made = Encoder(tmp_path / "maps.onnx", cache=False)
    assert (made.size, made.channels) == ((32, 40), 8)
    picture = np.random.default_rng(1).integers(0, 256, (40, 32, 3)).astype(np.uint8)
    x = torch.from_numpy((picture / 255 - mean) / deviation).float().permute(2, 0, 1)[None]
    with torch.no_grad():
        wanted = network(x)[-1][0].reshape(8, -1).T.numpy()
    np.testing.assert_allclose(made.encode(picture), wanted, atol=2e-3)
    for name in ("timm:nothing", "maps"):
        with pytest.raises(UsageError, match="timm"):
            encoder.Encoder().open(name)
