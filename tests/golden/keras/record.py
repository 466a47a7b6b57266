"""Record what Keras computes for the lesson's network: the golden numbers of `tests/test_keras_golden.py`.

Run in an environment with keras, jax and tensorflow, from the root of the repository, with the reviews at hand:

    PYTHONPATH=src KERAS_BACKEND=jax python tests/golden/keras/record.py losses
    PYTHONPATH=src KERAS_BACKEND=tensorflow python tests/golden/keras/record.py losses
    PYTHONPATH=src KERAS_BACKEND=jax python tests/golden/keras/record.py accuracies
    PYTHONPATH=src KERAS_BACKEND=tensorflow python tests/golden/keras/record.py accuracies

Each writes a .json of its name and backend; the first also `imdb.npz` and `small.npz`: first weights and batches.

The losses of JAX are float32, those of TensorFlow float64, which Keras can do there alone. On TensorFlow the gradient
of the embedding is a list with one row per occurrence of a word, and Keras squares the rows before it sums them; for
the losses they are summed first, as on JAX and as RMSprop was published. The accuracies are of Keras as it comes.
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
# Training 500 steps deep is chaotic: from most seeds float32 and float64 (seen in torch) have parted by 1e-4 after five
# to fifty updates. Of the seeds 0 to 130 this is one of the calmest.
SEED = 50
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
SHORT = LESSON._replace(length=100)
SMALL = Sizes(words=30, dimension=6, units=5, length=12, batch=8)


class Examples(NamedTuple):
    x: np.ndarray  # (N, T) ids
    y: np.ndarray  # (N,) labels
    order: np.ndarray  # (STEPS, batch) rows of x that each step reads


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


class DenseRMSprop(keras.optimizers.RMSprop):
    """Keras's RMSprop, given each word's gradient as one sum also where TensorFlow has a row per occurrence."""

    def apply(self, grads: list[Any], trainable_variables: Any = None) -> Any:
        import tensorflow

        return super().apply([tensorflow.convert_to_tensor(g) for g in grads], trainable_variables)


def first_weights(sizes: Sizes) -> list[np.ndarray]:
    """Keras's own for the seed, rounded to float16 so that their file stays small."""
    keras.utils.set_random_seed(SEED)
    return [w.astype(np.float16) for w in model_of(sizes).get_weights()]


def train(sizes: Sizes, examples: Examples, first: list[np.ndarray]) -> dict[str, Any]:
    """One step per row of `examples.order`; the losses before each update and the norms of the last weights."""
    model = model_of(sizes)
    if BACKEND == "tensorflow":
        model.compile(DenseRMSprop(), "binary_crossentropy")
    model.set_weights(first)
    losses = [float(np.ravel(model.train_on_batch(examples.x[i], examples.y[i]))[0]) for i in examples.order]
    last = {
        name: float(np.linalg.norm(w.astype(np.float64))) for name, w in ours(model.get_weights()).items()
    }
    return {
        "sizes": sizes._asdict(),
        "sha256": digest(examples.x, examples.y),
        "losses": losses,
        "norms": last,
    }


def order_of(count: int, batch: int) -> np.ndarray:
    """Which examples each step reads, (STEPS, batch)."""
    rng = np.random.default_rng(SEED)
    rounds = -(-STEPS * batch // count)
    order = np.concatenate([rng.permutation(count) for _ in range(rounds)])
    return order[: STEPS * batch].reshape(STEPS, batch).astype(np.uint16)


def record_losses() -> dict[str, Any]:
    """Small generated reviews, the last 100 ids of the lesson's reviews, and the lesson's reviews."""
    if BACKEND == "tensorflow":
        keras.config.set_floatx("float64")
        keras.config.set_dtype_policy("float64")
    x, y, *_ = reviews()
    examples = Examples(x[:20_000], y[:20_000], order_of(20_000, LESSON.batch))
    small = Examples(*small_reviews(), order_of(64, SMALL.batch))
    short = examples._replace(x=np.ascontiguousarray(examples.x[:, -SHORT.length :]))
    if BACKEND == "jax":
        np.savez_compressed(HERE / "imdb.npz", order=examples.order, **ours(first_weights(LESSON)))
        np.savez_compressed(HERE / "small.npz", **small._asdict(), **ours(first_weights(SMALL)))
    first, first_small = saved("imdb"), saved("small")
    return {
        "seed": SEED,
        "small": train(SMALL, small, first_small),
        "short": train(SHORT, short, first),
        "imdb": train(LESSON, examples, first),
    }


def saved(name: str) -> list[np.ndarray]:
    """The first weights of both backends, as Keras has them."""
    with np.load(HERE / f"{name}.npz") as file:
        return [file[n].T if file[n].ndim == 2 and n != NAMES[0] else file[n] for n in NAMES]


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


def record_accuracies(seeds: int = 5, epochs: int = 5) -> None:
    """The lesson's whole program for each seed; the test reviews are scored after every epoch.

    The file is written after each seed, and seeds that it holds are not run again.
    """
    path = HERE / f"accuracies-{BACKEND}.json"
    runs = json.loads(path.read_text(encoding="utf-8"))["runs"] if path.exists() else []
    x, y, test_x, test_y = reviews()
    for seed in range(len(runs), seeds):
        keras.utils.set_random_seed(seed)
        model = model_of(LESSON)
        score = Score(test_x, test_y)
        history = model.fit(x, y, 128, epochs, 0, [score], validation_split=0.2).history["val_accuracy"]
        best, last = score.found[int(np.argmax(history))], score.found[-1]
        runs.append({"seed": seed, "val": history, "test": score.found, "best": best, "last": last})
        means = {f"mean_{which}": float(np.mean([run[which] for run in runs])) for which in ("best", "last")}
        write(path, {"runs": runs, **means})


def write(path: Path, found: dict[str, Any]) -> None:
    """The numbers and where they come from."""
    text = json.dumps({"certificate": certificate(), **found}, indent=1)
    path.write_text(text + "\n", encoding="utf-8")


def certificate() -> dict[str, Any]:
    """Where the numbers come from."""
    return {
        "command": f"PYTHONPATH=src KERAS_BACKEND={BACKEND} python tests/golden/keras/record.py {sys.argv[1]}",
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
        write(HERE / f"losses-{BACKEND}.json", record_losses())
    else:
        record_accuracies()
