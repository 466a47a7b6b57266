"""A trained thing, on disk and in the hand: save, load, predict. Loading runs no code.

A bundle is a folder of four files, described in docs/format.md: `config.toml` (how it was trained), `task.json`
(what its numbers mean, and its layers), `weights.safetensors`, `card.md` (for people). Every file is written
whole or not at all, and `task.json`, written last, holds the checksum of the weights it belongs to.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from . import shelf
from .config import RunConfig, read_config
from .data.sequence import Sequences
from .errors import BundleError, UnknownNameError
from .network import Network
from .runtime import Runtime
from .tasks import Task

FORMAT = 1
MODELS = Path(__file__).parent / "models"
CHECKPOINT = "checkpoint.safetensors"
OWNED = "task/"  # what a task owns stands among the weights under this name
SCALE = ".scale"  # the scales of rows that are stored in 8 bits


@dataclass(frozen=True)
class Prediction:
    """An answer for one text.

    Attributes:
        label: the most probable label; None when the text cannot be judged.
        confidence: its probability, 0 to 1.
        probabilities: of every label, summing to 1.
        status: "ok", "undecided" (less confident than asked for), "empty", "unknown_words" or "invalid".
    """

    label: str | None
    confidence: float
    probabilities: dict[str, float]
    status: str = "ok"


@dataclass
class Bundle:
    """A trained model: what it does (`task`), its weights by name (float32), and how it came about (`config`)."""

    task: Task
    weights: dict[str, np.ndarray]
    config: RunConfig
    card: str = ""
    name: str = field(default="", compare=False)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels in the order of the columns of `probabilities`."""
        return self.task.labels

    @cached_property
    def runtime(self) -> Runtime:
        """The network on NumPy and the engine."""
        return Runtime(self.task.network, self.weights)

    def encode(self, texts: Sequence[str]) -> Sequence[np.ndarray]:
        """Texts as token ids, one int32 array each."""
        return self.task.encode(texts)

    def score_ids(self, sequences: Sequence[np.ndarray], *, batch_size: int = 256) -> np.ndarray:
        """Probabilities (N, K), float64, for token ids; texts of like lengths are read together, for speed alone."""
        given = Sequences.of(sequences)
        order = np.argsort(-given.lengths, kind="stable")
        found = np.zeros((len(given), len(self.labels)))
        for i in range(0, len(order), batch_size):
            part = order[i : i + batch_size]
            found[part] = self.task.scores(self.runtime, given.take(part))
        return found

    def probabilities(self, texts: Sequence[str], *, batch_size: int = 256) -> np.ndarray:
        """Probabilities (N, K), float64, columns in the order of `labels`."""
        return self.score_ids(self.encode(texts), batch_size=batch_size)

    def predict(
        self, texts: Sequence[str], *, batch_size: int = 256, min_confidence: float = 0.0
    ) -> list[Prediction]:
        """One answer per text, in order. A text that cannot be judged gets no label and equal probabilities.

        Args:
            texts: what to judge.
            batch_size: texts read at once.
            min_confidence: answers less probable than this get no label either, and the status "undecided".
        """
        sequences = self.encode(texts)
        scores = self.score_ids(sequences, batch_size=batch_size)
        answers = zip(map(self.task.status, sequences), scores, strict=True)
        return [self._answer(status, row, min_confidence) for status, row in answers]

    def unanswered(self, status: str) -> Prediction:
        """The answer to what cannot be judged."""
        share = 1 / len(self.labels)
        return Prediction(None, share, dict.fromkeys(self.labels, share), status)

    def score(self, answer: Prediction) -> float:
        """P(positive) - P(negative), -1 to 1; 0 where the labels have no such ends."""
        if not self.task.poles:
            return 0.0
        low, high = (answer.probabilities[label] for label in self.task.poles)
        return high - low

    def trace(self, text: str) -> list[float]:
        """The probability of the last label after each word of `text`, as the network reads on."""
        (ids,) = self.encode([text])
        return [float(p) for p in self.task.trace(self.runtime, ids)[:, -1]]

    def save(
        self, folder: str | os.PathLike[str], *, half: bool = False, eight_bits: Sequence[str] = ()
    ) -> Path:
        """Write the bundle into `folder`, made if needed.

        Args:
            folder: where to.
            half: store the weights in 16 bits, half the size.
            eight_bits: names of matrices to store in 8 bits, with a scale for each row. Loading gives float32 again.
        """
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        tensors = dict(_narrowed(self.weights, half, eight_bits))
        tensors |= {OWNED + name: np.ascontiguousarray(array) for name, array in self.task.arrays.items()}
        weights = save_tensors(tensors)
        described = {
            "format": FORMAT,
            "task": self.task.name,
            "settings": self.task.settings(),
            "input_shape": list(self.task.network.input_shape),
            "network": self.task.network.to_list(),
            "weights_sha256": hashlib.sha256(weights).hexdigest(),
        }
        write_atomically(path / "weights.safetensors", weights)
        write_atomically(path / "config.toml", self.config.to_toml().encode())
        write_atomically(path / "card.md", self.card.encode())
        write_atomically(path / "task.json", json.dumps(described, ensure_ascii=False, indent=1).encode())
        return path

    @classmethod
    def load(cls, name: str | os.PathLike[str]) -> Bundle:
        """Load a model that ships with the package by its name, or any by its folder.

        Raises:
            UnknownNameError: neither a shipped model nor a folder.
            BundleError: a damaged or foreign folder; says which file and what was expected.
        """
        path = find(name)
        described = _read_task(path / "task.json")
        network = Network.from_list(described["network"], tuple(described["input_shape"]))
        kind = shelf.find("tasks", described["task"], Task)
        task = kind.from_settings(described["settings"], network)
        tensors = _read_weights(path / "weights.safetensors", described["weights_sha256"])
        owned = {name: tensors.pop(name) for name in [*tensors] if name.startswith(OWNED)}
        task = task.with_arrays({name.removeprefix(OWNED): array for name, array in owned.items()})
        weights = dict(_widened(tensors))
        network.check(weights)
        card = (path / "card.md").read_text(encoding="utf-8") if (path / "card.md").exists() else ""
        return cls(task, weights, read_config(path / "config.toml"), card, name=path.name)

    def _answer(self, status: str, row: np.ndarray, least: float) -> Prediction:
        if status != "ok":
            return self.unanswered(status)
        best, probabilities = int(row.argmax()), dict(zip(self.labels, row.tolist(), strict=True))
        if row[best] < least:
            return Prediction(None, float(row[best]), probabilities, "undecided")
        return Prediction(self.labels[best], float(row[best]), probabilities)


def names() -> list[str]:
    """The models that ship with the package."""
    return sorted(path.parent.name for path in MODELS.glob("*/task.json"))


def find(name: str | os.PathLike[str]) -> Path:
    """The folder of a shipped model or of a trained one. Raises UnknownNameError, BundleError."""
    if isinstance(name, str) and name in names():
        return MODELS / name
    path = Path(name)
    if not path.is_dir():
        if isinstance(name, str) and os.sep not in name:
            raise UnknownNameError("model", name, names())
        raise BundleError(
            f"There is no folder {path}. Give the folder that training wrote, or one of: {', '.join(names())}."
        )
    if not (path / "task.json").is_file():
        raise BundleError(f"{path} is not a model: it has no task.json. Give the folder that training wrote.")
    return path


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: to a temporary one beside it, which then takes its name."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def save_checkpoint(folder: Path, progress: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> None:
    """Keep a training run's whole state in one file of `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    content = save_tensors(dict(tensors), metadata={"progress": json.dumps(progress)})
    write_atomically(folder / CHECKPOINT, content)


def load_checkpoint(folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
    """What `save_checkpoint` kept, or None. Raises BundleError for a damaged file."""
    path = folder / CHECKPOINT
    if not path.is_file():
        return None
    content = path.read_bytes()
    try:
        tensors = load_tensors(content)
        size = int.from_bytes(content[:8], "little")
        progress = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["progress"])
    except (SafetensorError, ValueError, KeyError) as error:
        raise BundleError(f"{path} is damaged ({error}). Delete it to start again.") from error
    return progress, tensors


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _read_task(path: Path) -> dict[str, Any]:
    expected = {
        "format": int, "task": str, "settings": dict, "input_shape": list, "network": list, "weights_sha256": str,
    }  # fmt: skip
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BundleError(
            f"{path} cannot be read ({error}). Restore the folder or train the model again."
        ) from error
    if isinstance(found, dict) and isinstance(found.get("format"), int) and found["format"] > FORMAT:
        raise BundleError(
            f"{path} has format {found['format']}, this version reads up to {FORMAT}. Upgrade unrolled."
        )
    for key, kind in expected.items():
        if not isinstance(found, dict) or not isinstance(found.get(key), kind):
            raise BundleError(
                f"{path}: '{key}' is missing or not {kind.__name__}. Restore the folder or train again."
            )
    return found


def _read_weights(path: Path, checksum: str) -> dict[str, np.ndarray]:
    try:
        content = path.read_bytes()
        tensors = load_tensors(content)
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise BundleError(
            f"{path} cannot be read ({error}). Restore the folder or train the model again."
        ) from error
    if hashlib.sha256(content).hexdigest() != checksum:
        raise BundleError(
            f"{path} is not the file that task.json belongs to. Restore the folder or train again."
        )
    return tensors


def _narrowed(
    weights: Mapping[str, np.ndarray], half: bool, eight_bits: Sequence[str]
) -> Iterator[tuple[str, np.ndarray]]:
    """As they are stored. A row in 8 bits is round(127 w / max |w|), its scale max |w| / 127."""
    for name, value in weights.items():
        if name in eight_bits:
            scale = np.maximum(np.abs(value).max(1), np.finfo(np.float32).tiny) / np.float32(127)
            yield name, np.rint(value / scale[:, None]).astype(np.int8)
            yield f"{name}{SCALE}", scale.astype(np.float32)
        else:
            yield name, np.ascontiguousarray(value, np.float16 if half else np.float32)


def _widened(tensors: Mapping[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    for name, value in tensors.items():
        scale = tensors.get(f"{name}{SCALE}")
        if scale is not None and value.ndim == 2 and scale.shape == value.shape[:1]:
            yield name, value * scale.astype(np.float32)[:, None]
        elif not name.endswith(SCALE):
            yield name, value.astype(np.float32) if value.dtype == np.float16 else value
