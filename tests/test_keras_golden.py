"""Our training follows Keras step by step: the same first weights, the same batches, the same losses.

The numbers come from `golden/keras/record.py`; the .json files beside it say with which versions. What was found in
Keras 3.15's source, and by comparing its first update with the formulas in float64:

* RMSprop: v = 0.9 v + 0.1 g², w = w - 0.001 g / sqrt(v + 1e-7). Epsilon is inside the root (in torch's RMSprop it is
  outside); v decays for words that a batch does not hold.
* On TensorFlow the embedding's gradient is a list with one row per occurrence of a word, and Keras squares these rows
  before it sums them, so that v receives the sum of squares instead of the square of the sum. JAX computes what is
  written above: the float32 losses are JAX's. Only TensorFlow can do float64: there the rows were summed first.
* Binary cross-entropy comes from the logits on TensorFlow; on JAX from probabilities clipped to [1e-7, 1 - 1e-7],
  which is the same as long as no logit passes 16.
* A reported loss is the batch's mean before the update.
* Matrices multiply from the right there, x W: ours are their transposes.

Training through 500 steps of time is chaotic: from most seeds float32 and float64 (seen in torch), given the same
weights and batches, part by more than 1e-4 after 5 to 47 updates. So the lesson at its full length is followed
twice: in float64 through all hundred updates, and in float32, by the engine, for as long as Keras agrees with itself.
At 100 steps of time the engine follows Keras's float32 through all hundred.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

# ruff: noqa: E402 - what follows needs torch
torch = pytest.importorskip("torch")

from unrolled import layers
from unrolled.config import RunConfig
from unrolled.data.sequence import pad_sequences
from unrolled.datasets import imdb
from unrolled.network import Dense, Embedding, Network, SimpleRNN
from unrolled.optimizers import RMSprop
from unrolled.train import Trainer

GOLDEN = Path(__file__).parent / "golden" / "keras"
TOLERANCE = 1e-4


def figures(backend: str) -> dict[str, Any]:
    """What was recorded: JAX in float32, TensorFlow in float64."""
    return json.loads((GOLDEN / f"losses-{backend}.json").read_text(encoding="utf-8"))


class Record:
    """One recorded run, and a trainer of ours that stands where Keras began."""

    def __init__(self, name: str, dtype: torch.dtype = torch.float32) -> None:
        self.keras32, self.keras64 = (figures(backend)[name] for backend in ("jax", "tensorflow"))
        with np.load(GOLDEN / f"{'small' if name == 'small' else 'imdb'}.npz", allow_pickle=False) as file:
            self.arrays = dict(file)
        sizes = self.keras32["sizes"]
        embedding = Embedding(sizes["words"], sizes["dimension"])
        network = Network((embedding, SimpleRNN(sizes["units"]), Dense(1, "sigmoid")), (sizes["length"],))
        first = {name: self.arrays[name].astype(np.float32) for name in network.weight_shapes()}
        stack = layers.build(network, first).to(dtype)
        self.trainer = Trainer(stack, "binary_crossentropy", RunConfig())
        self.theirs = self.keras64 if dtype == torch.float64 else self.keras32

    def apart(self, x: np.ndarray, y: np.ndarray, steps: int = 100) -> np.ndarray:
        """How far our loss is from Keras's before each update."""
        data = hashlib.sha256(x.astype("<i4").tobytes() + y.astype("<i4").tobytes()).hexdigest()
        assert data == self.theirs["sha256"], "the reviews are not those that Keras read"
        inputs, targets = torch.from_numpy(x), torch.from_numpy(y)
        order = torch.from_numpy(self.arrays["order"].astype(np.int64))[:steps]
        losses = np.array([self.trainer.step(inputs[batch], targets[batch])[0] for batch in order])
        assert len(losses) == steps
        return np.abs(losses - self.theirs["losses"][:steps])

    def check_norms(self) -> None:
        """The sizes of the weights after the last update."""
        norms = {name: float(np.linalg.norm(w)) for name, w in layers.weights_of(self.trainer.stack).items()}
        assert norms == pytest.approx(self.theirs["norms"], rel=1e-3)


@pytest.fixture(scope="module")
def reviews() -> tuple[np.ndarray, np.ndarray]:
    """The lesson's training reviews, (20000, 500), and their labels."""
    folder = os.environ.get("UNROLLED_DATA", "")
    if not folder or not (Path(folder) / "imdb").is_dir():
        pytest.skip("the reviews are not here: set UNROLLED_DATA to the folder that holds imdb/")
    (x, y), _ = imdb.load_data(num_words=10_000)
    return pad_sequences(list(x[:20_000]), 500), y[:20_000]


def test_small_generated_reviews() -> None:
    record = Record("small")
    assert record.apart(record.arrays["x"], record.arrays["y"]).max() <= TOLERANCE
    record.check_norms()


@pytest.mark.parametrize("fault", [{"lr": 0.00101}, {"rho": 0.91}, {"eps": 4e-7}], ids=str)
def test_the_tolerance_sees_a_wrong_update(fault: dict[str, float]) -> None:
    record = Record("small")
    record.trainer.optimizer = RMSprop(record.trainer.stack.parameters(), **fault)
    assert record.apart(record.arrays["x"], record.arrays["y"]).max() > TOLERANCE


def test_the_last_100_words_of_the_reviews(reviews: tuple[np.ndarray, np.ndarray]) -> None:
    record = Record("short")
    assert record.apart(np.ascontiguousarray(reviews[0][:, -100:]), reviews[1]).max() <= TOLERANCE
    record.check_norms()


def test_the_lesson_in_float32_while_keras_agrees_with_itself(reviews: tuple[np.ndarray, np.ndarray]) -> None:
    record = Record("imdb")
    parted = np.abs(np.subtract(record.keras32["losses"], record.keras64["losses"])) > TOLERANCE / 10
    steps = int(parted.argmax())
    assert steps >= 80
    assert record.apart(*reviews, steps).max() <= TOLERANCE


def test_the_lesson_in_float64(reviews: tuple[np.ndarray, np.ndarray]) -> None:
    assert Record("imdb", torch.float64).apart(*reviews).max() <= TOLERANCE
