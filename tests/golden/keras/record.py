"""Record what Keras computes for the lesson's network: the golden numbers of `tests/test_keras_golden.py`.

Run in an environment with keras, jax and tensorflow, from the root of the repository, with the reviews at hand:

    PYTHONPATH=src KERAS_BACKEND=jax python tests/golden/keras/record.py losses
    PYTHONPATH=src KERAS_BACKEND=jax python tests/golden/keras/record.py accuracies
    PYTHONPATH=src KERAS_BACKEND=tensorflow python tests/golden/keras/record.py accuracies

`losses` writes `losses.json`, `imdb.npz` and `small.npz`, `accuracies` writes `accuracies-BACKEND.json` (minutes).
The losses are JAX's, because there the gradient of the embedding is dense and RMSprop is the published formula. On
TensorFlow it is a list with one row per occurrence of a word, and Keras squares the rows before it sums them.
"""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

HERE = Path(__file__).parent
SEED = 0
STEPS = 100
BACKEND = keras.backend.backend()
NAMES = ("0.weight", "1.weight_ih", "1.weight_hh", "1.bias", "2.weight", "2.bias")


class Sizes(NamedTuple):
    words: int
    dimension: int
    units: int
    length: int
    batch: int


LESSON = Sizes(words=10_000, dimension=64, units=32, length=500, batch=128)
SMALL = Sizes(words=30, dimension=6, units=5, length=12, batch=8)


def model_of(sizes: Sizes) -> keras.Sequential:
    """The lesson's model, compiled as the lesson does."""
    model = keras.Sequential(
        [
            keras.Input((sizes.length,), dtype="int32"),
            keras.layers.Embedding(sizes.words, sizes.dimension),
            keras.layers.SimpleRNN(sizes.units),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(optimizer="rmsprop", loss="binary_crossentropy", metrics=["accuracy"])
    return model


def ours(weights: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Keras's weights by our names; its matrices multiply from the right, so they are transposed."""
    turned = (w.T if w.ndim == 2 and i else w for i, w in enumerate(weights))
    return dict(zip(NAMES, turned, strict=True))


def reviews() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Padded ids and labels of both halves, as the lesson makes them."""
    from unrolled.data.sequence import pad_sequences
    from unrolled.datasets import imdb

    (x, y), (test_x, test_y) = imdb.load_data(num_words=LESSON.words)
    return pad_sequences(x, LESSON.length), y, pad_sequences(test_x, LESSON.length), test_y


def small_reviews() -> tuple[np.ndarray, np.ndarray]:
    """64 rows of generated ids behind 0 to 11 zeros; a row is positive if most of its ids are odd."""
    rng = np.random.default_rng(SEED)
    x = rng.integers(1, SMALL.words, (64, SMALL.length))
    y = (x % 2).mean(1) > 0.5
    x[np.arange(SMALL.length) < rng.integers(0, SMALL.length, 64)[:, None]] = 0
    return x.astype(np.int32), y.astype(np.int64)


def losses_of(sizes: Sizes, x: np.ndarray, y: np.ndarray, order: np.ndarray) -> dict[str, Any]:
    """Train one batch per row of `order`; returns Keras's first weights (as float16), losses, last norms."""
    keras.utils.set_random_seed(SEED)
    model = model_of(sizes)
    first = [w.astype(np.float16) for w in model.get_weights()]
    model.set_weights([w.astype(np.float32) for w in first])
    losses = [float(model.train_on_batch(x[batch], y[batch])[0]) for batch in order]
    last = {
        name: float(np.linalg.norm(w.astype(np.float64))) for name, w in ours(model.get_weights()).items()
    }
    return {"first": ours(first), "losses": losses, "norms": last}


def record_losses() -> dict[str, Any]:
    """Both sizes; arrays go into .npz files, figures into the result."""
    rng = np.random.default_rng(SEED)
    found: dict[str, Any] = {}
    x, y, *_ = reviews()
    training = {"imdb": (LESSON, x[:20_000], y[:20_000]), "small": (SMALL, *small_reviews())}
    for name, (sizes, inputs, labels) in training.items():
        count = STEPS * sizes.batch
        order = np.concatenate([rng.permutation(len(inputs)) for _ in range(-(-count // len(inputs)))])
        order = order[:count].reshape(STEPS, sizes.batch).astype(np.uint16)
        run = losses_of(sizes, inputs, labels, order)
        arrays = {"order": order, **run.pop("first")}
        if name == "small":
            arrays |= {"x": inputs, "y": labels}
        np.savez_compressed(HERE / f"{name}.npz", **arrays)
        found[name] = {"sizes": sizes._asdict(), "sha256": digest(inputs, labels), **run}
    return found


def digest(x: np.ndarray, y: np.ndarray) -> str:
    """SHA-256 of the inputs and labels, so that a difference in the data is not taken for one in the training."""
    return hashlib.sha256(x.astype("<i4").tobytes() + y.astype("<i4").tobytes()).hexdigest()


class Score(keras.callbacks.Callback):
    """Accuracy on the test reviews after each epoch."""

    def __init__(self, x: np.ndarray, y: np.ndarray) -> None:
        super().__init__()
        self.x, self.y, self.found = x, y, []

    def on_epoch_end(self, epoch: int, logs: object = None) -> None:
        p = self.model.predict(self.x, batch_size=512, verbose=0)[:, 0]
        self.found.append(float(((p > 0.5) == self.y).mean()))


def record_accuracies(seeds: int = 5, epochs: int = 5) -> dict[str, Any]:
    """The lesson's whole program for each seed; the test reviews are scored after every epoch."""
    x, y, test_x, test_y = reviews()
    runs = []
    for seed in range(seeds):
        keras.utils.set_random_seed(seed)
        model = model_of(LESSON)
        score = Score(test_x, test_y)
        history = model.fit(x, y, 128, epochs, 0, [score], validation_split=0.2).history["val_accuracy"]
        best, last = score.found[int(np.argmax(history))], score.found[-1]
        runs.append({"seed": seed, "val": history, "test": score.found, "best": best, "last": last})
        print(runs[-1], file=sys.stderr, flush=True)
    means = {f"mean_{which}": float(np.mean([run[which] for run in runs])) for which in ("best", "last")}
    return {"runs": runs, **means}


def certificate() -> dict[str, Any]:
    """Where the numbers come from."""
    return {
        "command": f"PYTHONPATH=src KERAS_BACKEND={BACKEND} python tests/golden/keras/record.py {sys.argv[1]}",
        "seed": SEED,
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "versions": {
            "python": platform.python_version(),
            "keras": keras.__version__,
            BACKEND: importlib.metadata.version(BACKEND if BACKEND == "jax" else "tensorflow-cpu"),
            "numpy": np.__version__,
        },
        "machine": platform.machine(),
    }


if __name__ == "__main__":
    if sys.argv[1:] == ["losses"]:
        name, found = "losses", record_losses()
    else:
        name, found = f"accuracies-{BACKEND}", record_accuracies()
    text = json.dumps({"certificate": certificate(), **found}, indent=1)
    (HERE / f"{name}.json").write_text(text + "\n", encoding="utf-8")
