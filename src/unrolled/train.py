"""The only training loop. It knows no task by name: a module, arrays, a loss, and what is kept of it on disk.

Batches depend on nothing but (seed, epoch), and everything else that changes is in the checkpoint, so that a run
killed at any point and resumed ends with the same weights as one that was left alone.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from . import bundle as bundles
from . import layers, optimizers
from .config import RunConfig
from .errors import TrainingError, UnknownNameError, UsageError

Row = dict[str, float]
SAVE_EVERY = 60.0
"""Seconds between checkpoints inside an epoch."""


@dataclass(frozen=True)
class Arrays:
    """Examples as arrays: `inputs` (N, ...) and `targets` (N,) in the same order."""

    inputs: np.ndarray
    targets: np.ndarray

    def __post_init__(self) -> None:
        if len(self.inputs) != len(self.targets):
            raise UsageError(
                f"There are {len(self.inputs)} inputs but {len(self.targets)} targets; give one target per input."
            )
        if not len(self.inputs):
            raise UsageError("There are no examples to train on or to score; give at least one.")

    def __len__(self) -> int:
        return len(self.inputs)

    def count(self, size: int) -> int:
        """How many batches of `size` there are."""
        return math.ceil(len(self) / size)

    def order(self, seed: int, epoch: int) -> np.ndarray:
        """The order in which an epoch meets the examples."""
        return np.random.default_rng([seed, epoch]).permutation(len(self))

    def batches(
        self, size: int, order: np.ndarray | None = None, start: int = 0
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of `size` in `order`, from batch number `start`; the last may be smaller."""
        inputs, targets = torch.from_numpy(self.inputs), torch.from_numpy(self.targets)
        index = torch.arange(len(self)) if order is None else torch.from_numpy(order)
        for part in list(index.split(size))[start:]:
            yield inputs.index_select(0, part), targets.index_select(0, part)


@dataclass
class Progress:
    """How far a run is.

    `history` has one row per finished epoch, sums are of the epoch under way, `steps` and `seconds` of all, and
    `identity` is a checksum of the settings and examples that the run began with.
    """

    identity: str = ""
    epoch: int = 0
    batch: int = 0
    loss_sum: float = 0.0
    correct: float = 0.0
    seen: int = 0
    steps: int = 0
    seconds: float = 0.0
    best_epoch: int = -1
    history: list[Row] = field(default_factory=list)


def binary_crossentropy(logits: Tensor, targets: Tensor) -> Tensor:
    """max(z, 0) - z y + log(1 + exp(-|z|)), mean over the batch; logits (B, 1), targets (B,) of 0 and 1."""
    return nn.functional.binary_cross_entropy_with_logits(logits.squeeze(-1), targets.to(logits.dtype))


def categorical_crossentropy(logits: Tensor, targets: Tensor) -> Tensor:
    """-log softmax(z)_y, mean over the batch; logits (B, K), targets (B,) of 0 to K - 1."""
    return nn.functional.cross_entropy(logits, targets.long())


Loss = Callable[[Tensor, Tensor], Tensor]
LOSSES: dict[str, Loss] = {
    "binary_crossentropy": binary_crossentropy,
    "sparse_categorical_crossentropy": categorical_crossentropy,
}


def best(history: Sequence[Row]) -> Row:
    """The row of the best epoch: highest score or accuracy in validation, then lowest loss; without it the last."""

    def rank(row: Row) -> tuple[float, float]:
        worst = row["epoch"] if "val_loss" not in row else 0.0
        return row.get("val_score", row.get("val_accuracy", worst)), -row.get("val_loss", 0.0)

    return max(history, key=rank)


def rate(schedule: str, share: float) -> float:
    """What the learning rate is multiplied with when `share` of the run is done.

    "cosine" rises over the first fiftieth and falls to zero: Loshchilov and Hutter, "SGDR" (2017), without restarts.
    """
    if schedule == "constant":
        return 1.0
    return min(1.0, 50 * share + 0.02) * 0.5 * (1 + math.cos(math.pi * share))


def _correct(logits: Tensor, targets: Tensor) -> int:
    # In NumPy: a handful of torch calls on so few numbers would take longer than they are worth.
    z, wanted = logits.detach().numpy(force=True), targets.numpy(force=True)
    guess = z[:, 0] > 0 if z.shape[-1] == 1 else z.argmax(-1)
    return int((guess == wanted).sum())


class Trainer:
    """Fits a `layers.Stack` to arrays.

    Args:
        stack: the module; its weights are changed in place. What it carries from batch to batch, if anything, it
            keeps in its attribute `carried`, which every epoch begins empty.
        loss: a name in LOSSES, or a function of logits and targets; then no accuracy is counted.
        config: epochs, batch size, optimizer, patience, seed.
        folder: where checkpoints go; None keeps nothing on disk.
        on_batch: called after each batch with the progress and the number of batches in an epoch.
        on_epoch: called after each epoch with its row of figures.

    Raises:
        UnknownNameError: no such loss or optimizer.
    """

    def __init__(
        self,
        stack: layers.Stack,
        loss: str | Loss,
        config: RunConfig,
        *,
        folder: Path | None = None,
        on_batch: Callable[[Progress, int], None] | None = None,
        on_epoch: Callable[[Row], None] | None = None,
    ) -> None:
        if isinstance(loss, str) and loss not in LOSSES:
            raise UnknownNameError("loss", loss, LOSSES)
        self.loss, self.counts = (LOSSES[loss], True) if isinstance(loss, str) else (loss, False)
        self.stack, self.config, self.folder = stack, config, folder
        self.on_batch, self.on_epoch = on_batch, on_epoch
        self.parameters = list(stack.parameters())
        self.optimizer = optimizers.make(config.optimizer, self.parameters, config.learning_rate)
        self.progress = Progress()
        self.best: dict[str, np.ndarray] = {}
        stack.carried = {}
        self._saved = time.monotonic()

    def fit(self, training: Arrays, validation: Arrays | None = None) -> list[Row]:
        """Train until the budget is spent or patience runs out; returns one row of figures per epoch.

        Rows hold loss and accuracy (running means over the epoch, before each update, as Keras reports them),
        val_loss and val_accuracy, and seconds. Afterwards `best` holds the weights of the best epoch.
        """
        if self.folder is not None:
            self._check_identity(_checksum(self.config, training, validation))
        while self.share(0) < 1 and not self._out_of_patience():
            self._run_epoch(training, validation)
        if self.folder is not None:
            self.save()
        return self.progress.history

    def share(self, batches: int) -> float:
        """The share of the budget that is spent: of minutes, of steps, or of epochs with `batches` each."""
        now, config = self.progress, self.config
        if config.minutes:
            return now.seconds / (60 * config.minutes)
        if config.steps:
            return now.steps / config.steps
        return (now.epoch + (now.batch / batches if batches else 0)) / config.epochs

    def step(self, inputs: Tensor, targets: Tensor) -> tuple[float, int]:
        """One update; returns the batch's loss before it and how many examples were right."""
        logits = self.stack.logits(inputs)
        loss = self.loss(logits, targets)
        value = loss.item()
        if not math.isfinite(value):
            raise TrainingError(
                f"The loss became {value} in epoch {self.progress.epoch + 1}, batch {self.progress.batch + 1}. "
                "Try a smaller learning rate (--learning-rate) or clip the gradient (--clip-norm 1)."
            )
        for parameter in self.parameters:
            parameter.grad = None
        loss.backward()
        if self.config.clip_norm:
            optimizers.clip_norm(self.parameters, self.config.clip_norm)
        self.optimizer.step()
        return value, _correct(logits, targets) if self.counts else 0

    @torch.no_grad()
    def score(self, examples: Arrays) -> tuple[float, float]:
        """Mean loss and accuracy, without training."""
        loss = correct = 0.0
        seen, carried = 0, self.stack.carried
        self.stack.carried = {}
        self.stack.eval()
        for inputs, targets in examples.batches(512):
            logits = self.stack.logits(inputs)
            loss += float(self.loss(logits, targets)) * targets.numel()
            correct += _correct(logits, targets) if self.counts else 0
            seen += targets.numel()
        self.stack.train()
        self.stack.carried = carried
        return loss / seen, correct / seen

    def save(self) -> None:
        """Write the checkpoint, all or nothing."""
        assert self.folder is not None
        bundles.save_checkpoint(self.folder, vars(self.progress), self._tensors())
        self._saved = time.monotonic()

    def resume(self) -> bool:
        """Continue from the checkpoint in the folder; False where there is none.

        Raises:
            BundleError: the checkpoint belongs to another network or is damaged.
        """
        found = bundles.load_checkpoint(self.folder) if self.folder is not None else None
        if found is None:
            return False
        progress, tensors = found
        self._restore(tensors)
        self.progress = Progress(**progress)
        return True

    def weights(self) -> dict[str, np.ndarray]:
        """What is kept of the best epoch."""
        return layers.weights_of(self.stack)

    def _check_identity(self, identity: str) -> None:
        if self.progress.identity not in ("", identity):
            raise UsageError(
                f"The checkpoint in {self.folder} belongs to other examples or other settings, so it cannot be "
                "continued. Give the same ones, or another folder to start anew."
            )
        self.progress.identity = identity

    def _run_epoch(self, training: Arrays, validation: Arrays | None) -> None:
        now, size, started = self.progress, self.config.batch_size, time.perf_counter()
        batches, clock = training.count(size), started
        if not now.batch:
            self.stack.carried = {}
        for inputs, targets in training.batches(size, training.order(self.config.seed, now.epoch), now.batch):
            for group in self.optimizer.param_groups:
                group["lr"] = self.config.learning_rate * rate(self.config.schedule, self.share(batches))
            loss, correct = self.step(inputs, targets)
            self._count(loss, correct, targets.numel())
            now.seconds, clock = now.seconds + time.perf_counter() - clock, time.perf_counter()
            if self.on_batch:
                self.on_batch(now, batches)
            if self.folder is not None and time.monotonic() - self._saved > SAVE_EVERY:
                self.save()
            if (self.config.minutes or self.config.steps) and self.share(batches) >= 1:
                break
        row = {"epoch": now.epoch + 1, "loss": now.loss_sum / now.seen}
        if self.counts:
            row["accuracy"] = now.correct / now.seen
        row["seconds"] = time.perf_counter() - started
        if validation is not None:
            row["val_loss"], accuracy = self.score(validation)
            if self.counts:
                row["val_accuracy"] = accuracy
        self._finish_epoch(row)

    def _count(self, loss: float, correct: int, targets: int) -> None:
        now = self.progress
        now.batch, now.steps = now.batch + 1, now.steps + 1
        now.loss_sum += loss * targets
        now.correct += correct
        now.seen += targets

    def _finish_epoch(self, row: Row) -> None:
        now = self.progress
        now.history.append(row)
        if row is best(now.history):
            now.best_epoch, self.best = now.epoch, self.weights()
        now.epoch, now.batch, now.loss_sum, now.correct, now.seen = now.epoch + 1, 0, 0.0, 0.0, 0
        if self.folder is not None:
            self.save()
        if self.on_epoch:
            self.on_epoch(row)

    def _out_of_patience(self) -> bool:
        waited = self.progress.epoch - 1 - self.progress.best_epoch
        return bool(self.config.patience and self.progress.history and waited >= self.config.patience)

    def _tensors(self) -> dict[str, np.ndarray]:
        found = {f"weight/{name}": value for name, value in layers.weights_of(self.stack).items()}
        found |= {f"best/{name}": value for name, value in self.best.items()}
        for i, state in self.optimizer.state_dict()["state"].items():
            found |= {
                f"optimizer/{i}/{name}": torch.as_tensor(value).numpy() for name, value in state.items()
            }
        found |= {f"carried/{name}": value.numpy() for name, value in self.stack.carried.items()}
        return found | {"random": torch.get_rng_state().numpy()}

    def _restore(self, tensors: dict[str, np.ndarray]) -> None:
        self.stack.load_state_dict(_under("weight/", tensors))
        self.best = {name: value.numpy() for name, value in _under("best/", tensors).items()}
        self.stack.carried = _under("carried/", tensors)
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in _under("optimizer/", tensors).items():
            i, _, key = name.partition("/")
            state.setdefault(int(i), {})[key] = value
        self.optimizer.load_state_dict(
            {"state": state, "param_groups": self.optimizer.state_dict()["param_groups"]}
        )
        torch.set_rng_state(torch.from_numpy(tensors["random"]))


def _checksum(config: RunConfig, training: Arrays, validation: Arrays | None) -> str:
    # A run may go on for longer than first planned.
    settings = asdict(config) | dict.fromkeys(("epochs", "patience"), 0)
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for examples in (training, validation):
        if examples is not None:
            digest.update(np.ascontiguousarray(examples.inputs).data)
            digest.update(np.ascontiguousarray(examples.targets).data)
    return digest.hexdigest()


def _under(prefix: str, tensors: dict[str, np.ndarray]) -> dict[str, Tensor]:
    return {
        k.removeprefix(prefix): torch.from_numpy(v.copy()) for k, v in tensors.items() if k.startswith(prefix)
    }
