"""One frozen description of a run: everything that decides its result, except the data itself.

It is written to `config.toml` beside the weights, so that a trained model says how it came about and the same
command can be given again.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from .errors import BundleError, UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover - the same parser under its older name
    import tomli as tomllib


def option(default: Any, help: str, *, least: float | None = None, most: float | None = None) -> Any:
    """A dataclass field that a user sets, with its help; `least` and `most` bound it where that makes sense."""
    return field(default=default, metadata={"help": help, "least": least, "most": most})


@dataclass
class Options:
    """A dataclass whose fields are options: each is checked against its bounds when an object is made.

    Raises:
        UsageError: a value beyond its bounds.
    """

    def __post_init__(self) -> None:
        for entry in fields(self):
            value, name = getattr(self, entry.name), entry.name.replace("_", "-")
            least, most = entry.metadata["least"], entry.metadata["most"]
            if value is not None and least is not None and value < least:
                raise UsageError(f"{name} is {value}; it must be at least {least}.")
            if value is not None and most is not None and value > most:
                raise UsageError(f"{name} is {value}; it must be at most {most}.")


@dataclass(frozen=True)
class RunConfig:
    """Settings of a training run.

    Attributes:
        task: name on the shelf of tasks.
        epochs: passes over the training examples.
        batch_size: examples per step.
        learning_rate: step size of the optimizer.
        optimizer: "rmsprop" or "adam".
        validation_split: share of the training examples kept for validation, in [0, 1).
        patience: epochs without a better validation accuracy before training stops; 0 never stops early.
        clip_norm: largest global gradient norm; 0 does not clip.
        seed: of initial weights, split and order.
        minutes: of training, instead of epochs; 0 leaves it to them.
        steps: updates, instead of epochs; 0 leaves it to them.
        schedule: of the learning rate over the run: "constant" or "cosine".
    """

    task: str = "sentiment"
    epochs: int = 5
    batch_size: int = 128
    learning_rate: float = 0.001
    optimizer: str = "rmsprop"
    validation_split: float = 0.2
    patience: int = 0
    clip_norm: float = 0.0
    seed: int = 0
    minutes: float = 0.0
    steps: int = 0
    schedule: str = "constant"

    def __post_init__(self) -> None:
        checks = [
            ("epochs", self.epochs >= 1, "at least 1"),
            ("batch_size", self.batch_size >= 1, "at least 1"),
            ("learning_rate", self.learning_rate > 0, "greater than 0"),
            ("validation_split", 0 <= self.validation_split < 1, "at least 0 and less than 1"),
            ("patience", self.patience >= 0, "0 or more"),
            ("clip_norm", self.clip_norm >= 0, "0 or more"),
            ("minutes", self.minutes >= 0, "0 or more"),
            ("steps", self.steps >= 0, "0 or more"),
            ("schedule", self.schedule in ("constant", "cosine"), "constant or cosine"),
        ]
        for name, ok, expected in checks:
            if not ok:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be {expected}.")

    def to_toml(self) -> str:
        """The settings as TOML, one line each."""
        return "".join(f"{name} = {_toml_value(value)}\n" for name, value in asdict(self).items())


def _toml_value(value: Any) -> str:
    if isinstance(value, (bool, str)):
        return json.dumps(value, ensure_ascii=False)
    return repr(value)


def read_config(path: Path) -> RunConfig:
    """Read a `config.toml`.

    Raises:
        BundleError: not TOML, an unknown setting, or a setting of the wrong type.
    """
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BundleError(
            f"{path} is not valid TOML ({error}). Restore the file or train the model again."
        ) from error
    known = {entry.name: type(entry.default) for entry in fields(RunConfig)}
    for name, value in found.items():
        if name not in known:
            raise BundleError(f"{path} holds an unknown setting '{name}'. Known: {', '.join(known)}.")
        if type(value) is not known[name]:
            raise BundleError(f"{path}: '{name}' is {value!r}, but {known[name].__name__} was expected.")
    return RunConfig(**found)
