"""Our training follows Keras step by step: the same first weights, the same batches, the same losses.

The numbers come from `golden/keras/record.py`; `golden/keras/losses.json` says with which versions. What was found in
Keras 3.15's source, and by comparing its first update with the formulas in float64:

* RMSprop: v = 0.9 v + 0.1 g², w = w - 0.001 g / sqrt(v + 1e-7). Epsilon is inside the root (in torch's RMSprop it is
  outside); v decays for words that a batch does not hold.
* On TensorFlow the embedding's gradient is a list with one row per occurrence of a word, and Keras squares these rows
  before it sums them, so that v receives the sum of squares instead of the square of the sum. JAX (and torch) compute
  what is written above, which is why the losses were recorded there.
* Binary cross-entropy comes from the logits on TensorFlow; on JAX from probabilities clipped to [1e-7, 1 - 1e-7],
  which is the same as long as no logit passes 16.
* A reported loss is the batch's mean before the update.
* Matrices multiply from the right there, x W: ours are their transposes.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

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


class Record:
    """One recorded run, and a trainer of ours that stands where Keras began."""

    def __init__(self, name: str) -> None:
        self.figures = json.loads((GOLDEN / "losses.json").read_text(encoding="utf-8"))[name]
        with np.load(GOLDEN / f"{name}.npz", allow_pickle=False) as file:
            self.arrays = dict(file)
        sizes = self.figures["sizes"]
        network = Network(
            (Embedding(sizes["words"], sizes["dimension"]), SimpleRNN(sizes["units"]), Dense(1, "sigmoid"))
        )
        first = {name: self.arrays[name].astype(np.float32) for name in network.weight_shapes()}
        self.trainer = Trainer(layers.build(network, first), "binary_crossentropy", RunConfig())

    def losses(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Our loss of each recorded batch, training as we go."""
        inputs, targets = torch.from_numpy(x), torch.from_numpy(y)
        order = torch.from_numpy(self.arrays["order"].astype(np.int64))
        return np.array([self.trainer.step(inputs[batch], targets[batch])[0] for batch in order])

    def check(self, x: np.ndarray, y: np.ndarray) -> None:
        """Each loss, and the size of every weight at the end."""
        data = hashlib.sha256(x.astype("<i4").tobytes() + y.astype("<i4").tobytes()).hexdigest()
        assert data == self.figures["sha256"], "the reviews are not those that Keras read"
        difference = np.abs(self.losses(x, y) - self.figures["losses"])
        assert len(difference) == 100
        assert difference.max() <= TOLERANCE, f"step {difference.argmax()}: {difference.max():.1e} apart"
        norms = {name: np.linalg.norm(w) for name, w in layers.weights_of(self.trainer.stack).items()}
        assert norms == pytest.approx(self.figures["norms"], rel=1e-3, abs=TOLERANCE)


def test_a_hundred_small_steps() -> None:
    record = Record("small")
    record.check(record.arrays["x"], record.arrays["y"])


def test_a_hundred_steps_of_the_lesson() -> None:
    folder = os.environ.get("UNROLLED_DATA", "")
    if not folder or not (Path(folder) / "imdb").is_dir():
        pytest.skip("the reviews are not here: set UNROLLED_DATA to the folder that holds imdb/")
    (x, y), _ = imdb.load_data(num_words=10_000)
    Record("imdb").check(pad_sequences(x[:20_000], 500), y[:20_000])


@pytest.mark.parametrize("fault", [{"lr": 0.00101}, {"rho": 0.91}, {"eps": 4e-7}], ids=str)
def test_the_tolerance_sees_a_wrong_update(fault: dict[str, float]) -> None:
    record = Record("small")
    record.trainer.optimizer = RMSprop(record.trainer.stack.parameters(), **fault)
    with pytest.raises(AssertionError, match="apart"):
        record.check(record.arrays["x"], record.arrays["y"])
