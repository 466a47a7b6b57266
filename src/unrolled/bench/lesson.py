"""The lesson's network, trained and used by `unrolled` and by the frameworks: the same arrays, weights and update.

Embedding(10000, 64), SimpleRNN(32), Dense(1, sigmoid) on 20,000 reviews of 500 steps, batch 128, Keras's RMSprop.
Every round trains one epoch from the same first weights in the same order, so that the losses can be compared too.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from ..data.sequence import pad_sequences
from ..datasets import imdb
from ..errors import need
from ..network import Dense, Embedding, Network, SimpleRNN
from . import Bench, Peer, Say, alternate, load, machine, option, peak_gflops, ratios, say_machine, timed

if TYPE_CHECKING:
    import torch

BACKENDS = ("tensorflow", "jax")
PREDICT_BATCHES = (128, 256, 512)
FEW = 2048
"""Reviews on which a peer's batch size for prediction is chosen."""


class Reviews(NamedTuple):
    """Pre-padded token ids (N, T) int32 of both halves and the labels (N,) of the first."""

    train_x: np.ndarray
    train_y: np.ndarray
    test_x: np.ndarray


class Side(Protocol):
    """One implementation of the lesson's network."""

    def train(self) -> tuple[float, float]:
        """One epoch from the first weights: seconds, and the mean loss of its steps."""

    def predict(self) -> float:
        """Seconds for all test reviews."""


@dataclass
class LessonBench(Bench):
    """`unrolled` against PyTorch's nn.RNN and, with `peer_python`, against Keras on TensorFlow and on JAX."""

    title = "the lesson's network: training and prediction against PyTorch, Keras and JAX"
    minutes = "1 minute; 5 with Keras and JAX"
    needs = ("train",)

    data: str = option(
        "", "IMDB: the archive, its folder, or imdb.npz; by default it is looked for and downloaded."
    )
    generated: bool = option(False, "Use generated reviews of IMDB's lengths and word frequencies instead.")
    train_reviews: int = option(20_000, "Reviews to train on.", least=1)
    test_reviews: int = option(25_000, "Reviews to predict.", least=1)
    length: int = option(500, "Steps of each padded review.", least=1)
    words: int = option(10_000, "Token ids of the vocabulary.", least=8)
    dimension: int = option(64, "Size of a word's vector.", least=1)
    units: int = option(32, "Recurrent neurons.", least=1)
    batch_size: int = option(128, "Reviews per update.", least=1)
    threads: int = option(2, "Threads of every side.", least=1)
    seed: int = option(0, "Seed of the first weights and of the order of the reviews.", least=0)
    peer_python: str = option("", "The python of an environment with keras, tensorflow and jax.")

    @property
    def network(self) -> Network:
        """The lesson's layers at the sizes of the options."""
        layers = (Embedding(self.words, self.dimension), SimpleRNN(self.units), Dense(1, "sigmoid"))
        return Network(layers, (self.length,))

    def run(self, say: Say) -> dict[str, Any]:
        """Train and predict in turn; the medians, their ratios, the last losses and the share of the limit."""
        need("torch", "train", "This benchmark").set_num_threads(self.threads)
        busy = load()
        reviews = self.reviews()
        say(
            f"{self.train_reviews} reviews to train on, {self.test_reviews} to predict, {self.length} steps each"
        )
        with ExitStack() as stack:
            sides: dict[str, Side] = {
                "unrolled": Ours(self, reviews),
                "torch": Torch(self, reviews),
                **self._peers(reviews, stack),
            }
            trained = alternate({name: side.train for name, side in sides.items()}, self.rounds)
            predicted = alternate({name: side.predict for name, side in sides.items()}, self.rounds)
        train_s = {name: statistics.median(seconds for seconds, _ in runs) for name, runs in trained.items()}
        per_s = {name: self.test_reviews / statistics.median(runs) for name, runs in predicted.items()}
        limit = self.limit(reviews)
        found = {
            "train_s": train_s,
            "predict_per_s": per_s,
            "train_ratio": ratios(train_s, higher_is_better=False),
            "predict_ratio": ratios(per_s, higher_is_better=True),
            "share_of_limit": limit["seconds"] / train_s["unrolled"],
            "loss": {name: runs[-1][1] for name, runs in trained.items()},
            "limit": limit,
            "machine": {**machine(), "load_before": busy},
        }
        report(found, say)
        return found

    def _peers(self, reviews: Reviews, stack: ExitStack) -> dict[str, Side]:
        """Keras on each backend, if there is an environment for it; `stack` ends them."""
        if not self.peer_python:
            return {}
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        write(folder, self, reviews)
        script = Path(__file__).with_name("_keras.py")
        peers = {
            f"keras_{name}": Peer(self.peer_python, script, folder, KERAS_BACKEND=name) for name in BACKENDS
        }
        for peer in peers.values():
            stack.callback(peer.close)
        return {name: Keras(peer) for name, peer in peers.items()}

    def reviews(self) -> Reviews:
        """The arrays that every side reads, cut to the number of reviews asked for."""
        if self.generated:
            return generated(self)
        (x, y), (test, _) = imdb.load_data(num_words=self.words, path=self.data or None)
        x, test = x[: self.train_reviews], test[: self.test_reviews]
        self.train_reviews, self.test_reviews = len(x), len(test)
        return Reviews(
            pad_sequences(list(x), self.length),
            y[: len(x)].astype(np.float32),
            pad_sequences(list(test), self.length),
        )

    def order(self) -> np.ndarray:
        """The order of the reviews in an epoch: what `train.Trainer` draws for its first one."""
        return np.random.default_rng([self.seed, 0]).permutation(self.train_reviews)

    def limit(self, reviews: Reviews) -> dict[str, float]:
        """The least seconds of an epoch: its products at the speed of the fastest product measured here.

        Counted once forward and twice backward: W_hh h for each word read (padding not), W_ih e for each
        different word of a batch. Not counted: tanh, gathering, the update.
        """
        x = reviews.train_x[self.order()]
        batches = np.split(x, range(self.batch_size, len(x), self.batch_size))
        different = sum(len(np.unique(batch)) for batch in batches)
        flop = 3 * 2 * self.units * (self.units * np.count_nonzero(x) + self.dimension * different)
        peak = peak_gflops()
        return {"gflop": flop / 1e9, "peak_gflop_per_s": peak, "seconds": flop / 1e9 / peak}


class Ours:
    """The public path: Sequential.fit trains, Sequential.predict runs the NumPy runtime."""

    def __init__(self, bench: LessonBench, reviews: Reviews) -> None:
        from ..sequential import Sequential

        self.reviews, self.batch_size = reviews, bench.batch_size
        self.model = Sequential(bench.network.layers, seed=bench.seed)
        self.model.compile(optimizer="rmsprop", loss="binary_crossentropy", metrics=["accuracy"])
        self.model.build((None, bench.length))
        self.first = self.model.get_weights()

    def train(self) -> tuple[float, float]:
        """One epoch of `fit`."""
        self.model.set_weights(self.first)
        x, y = self.reviews.train_x, self.reviews.train_y
        seconds, history = timed(
            lambda: self.model.fit(x, y, batch_size=self.batch_size, epochs=1, verbose=0)
        )
        return seconds, history.history["loss"][-1]

    def predict(self) -> float:
        """All test reviews through `predict`."""
        return timed(lambda: self.model.predict(self.reviews.test_x))[0]


class Torch:
    """nn.Embedding, nn.RNN and nn.Linear as torch runs them fastest: time first, the update in place.

    nn.RNN has two biases where the lesson has one: bias_hh stays at zero. torch.optim.RMSprop adds epsilon outside
    the root, so the update is written out (in time they do not differ).
    """

    def __init__(self, bench: LessonBench, reviews: Reviews) -> None:
        import torch
        from torch import nn

        self.reviews, self.order, self.batch_size = reviews, torch.from_numpy(bench.order()), bench.batch_size
        self.embedding = nn.Embedding(bench.words, bench.dimension)
        self.rnn = nn.RNN(bench.dimension, bench.units)
        self.dense = nn.Linear(bench.units, 1)
        self.rnn.bias_hh_l0.requires_grad_(False).zero_()
        modules = nn.ModuleList([self.embedding, self.rnn, self.dense])
        self.parameters = [parameter for parameter in modules.parameters() if parameter.requires_grad]
        self.first = [torch.from_numpy(value) for value in bench.network.initial(bench.seed).values()]
        self.predict_batch = min(PREDICT_BATCHES, key=lambda size: self._quickest(reviews.test_x[:FEW], size))

    def logits(self, tokens: torch.Tensor) -> torch.Tensor:
        """Token ids (B, T) to logits (B,)."""
        _, last = self.rnn(self.embedding(tokens.T))
        return self.dense(last[0]).squeeze(-1)

    def train(self) -> tuple[float, float]:
        """One epoch of the loop that every torch program has."""
        import torch

        for parameter, first in zip(self.parameters, self.first, strict=True):
            parameter.data.copy_(first)
        averages = [torch.zeros_like(parameter) for parameter in self.parameters]
        x, y = torch.from_numpy(self.reviews.train_x), torch.from_numpy(self.reviews.train_y)
        return timed(
            lambda: sum(self._step(x[i], y[i], averages) for i in self.order.split(self.batch_size)) / len(x)
        )

    def predict(self) -> float:
        """All test reviews, in batches of the size that was fastest on a few."""
        return self._predict(self.reviews.test_x, self.predict_batch)

    def _step(self, x: torch.Tensor, y: torch.Tensor, averages: list[torch.Tensor]) -> float:
        """One update; the batch's loss before it, times its size."""
        import torch

        loss = torch.nn.functional.binary_cross_entropy_with_logits(self.logits(x), y)
        gradients = torch.autograd.grad(loss, self.parameters)
        with torch.no_grad():
            for weight, gradient, average in zip(self.parameters, gradients, averages, strict=True):
                average.mul_(0.9).addcmul_(gradient, gradient, value=0.1)
                weight.addcdiv_(gradient, (average + 1e-7).sqrt_(), value=-0.001)
        return loss.item() * len(y)

    def _quickest(self, x: np.ndarray, size: int) -> float:
        return min(self._predict(x, size) for _ in range(3))

    def _predict(self, x: np.ndarray, size: int) -> float:
        import torch

        with torch.inference_mode():
            return timed(
                lambda: [torch.sigmoid(self.logits(part)) for part in torch.from_numpy(x).split(size)]
            )[0]


class Keras:
    """Keras in a process of its own."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer

    def train(self) -> tuple[float, float]:
        """One epoch of `fit`."""
        answer = self.peer.ask({"do": "train"})
        return answer["seconds"], answer["loss"]

    def predict(self) -> float:
        """All test reviews through `predict`."""
        return float(self.peer.ask({"do": "predict"})["seconds"])


def write(folder: Path, bench: LessonBench, reviews: Reviews) -> None:
    """What `_keras.py` reads: options.json, and each array as an .npy file."""
    sizes = ("words", "dimension", "units", "length", "batch_size", "threads")
    options = {name: getattr(bench, name) for name in sizes} | {"predict_batch": 256}
    (folder / "options.json").write_text(json.dumps(options), encoding="utf-8")
    arrays = reviews._asdict() | {"order": bench.order()}
    for i, (name, value) in enumerate(bench.network.initial(bench.seed).items()):
        # Keras multiplies from the right: its matrices lie transposed, but for the embedding.
        arrays[f"w{i}"] = value if name == "0.weight" or value.ndim == 1 else value.T
    for name, value in arrays.items():
        np.save(folder / name, value)


def generated(bench: LessonBench) -> Reviews:
    """Reviews made of nothing: lengths and word frequencies like IMDB's, and a label that two words give away."""
    rng = np.random.default_rng(bench.seed)
    count = bench.train_reviews + bench.test_reviews
    lengths = np.clip(
        rng.lognormal(5.2, 0.65, count) * bench.length / 500, 1, bench.length
    )  # median 181 of 500
    x = 3 + np.minimum(rng.zipf(1.2, (count, bench.length)), bench.words - 3) - 1
    y = rng.integers(0, 2, count)
    x[:, -1] = 4 + y
    x[np.arange(bench.length) < bench.length - lengths.astype(int)[:, None]] = 0
    at = bench.train_reviews
    return Reviews(x[:at].astype(np.int32), y[:at].astype(np.float32), x[at:].astype(np.int32))


def report(found: dict[str, Any], say: Say) -> None:
    """Say what was found, one line a side: "15.2 x" in a peer's line means that we are 15.2 times as fast."""
    say(f"{'':18}{'s an epoch':>12}{'we are':>10}{'loss':>9}{'reviews/s':>12}{'we are':>10}")
    for name, seconds in found["train_s"].items():
        trains, predicts = (found[of].get(name) for of in ("train_ratio", "predict_ratio"))
        faster = ["" if ratio is None else f"{ratio:.1f} x" for ratio in (trains, predicts)]
        loss, per_s = found["loss"][name], found["predict_per_s"][name]
        say(f"{name:18}{seconds:12.3f}{faster[0]:>10}{loss:9.4f}{per_s:12,.0f}{faster[1]:>10}")
    limit = found["limit"]
    say(
        f"Arithmetic limit: {limit['gflop']:.1f} GFLOP without padding at {limit['peak_gflop_per_s']:.0f} GFLOP/s "
        f"(best product measured) = {limit['seconds']:.3f} s; training reaches {found['share_of_limit']:.0%} of it."
    )
    say_machine(found["machine"], say)
