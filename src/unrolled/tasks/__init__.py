"""What the numbers mean: a task turns what people have (texts, labels) into arrays and outputs into answers.

A shelf: the file name is what users type in `unrolled train NAME`. A task knows no torch; it describes a network,
and `train` and `runtime` execute it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from ..errors import BundleError, UsageError
from ..network import Network
from ..runtime import Runtime


class Task(ABC):
    """What a trained model does, without its weights.

    Methods that are not abstract are those of tasks that label examples; where a task does not, they say what its
    models are for.
    """

    name: ClassVar[str]
    answers: ClassVar[str] = "It labels texts: unrolled predict, unrolled evaluate"
    """What its models are for, and how they are asked."""
    labels: tuple[str, ...]
    network: Network
    arrays: Mapping[str, np.ndarray] = MappingProxyType({})
    """What it owns besides the network's weights, of any types; kept with them in a bundle, as it is."""

    @classmethod
    def learn(cls, inputs: Sequence[str], targets: Sequence[str]) -> Task:
        """Decide everything that is read off the training examples (labels, vocabulary), and nothing else."""
        raise cls._not_labels()

    def encode(self, inputs: Sequence[str]) -> Sequence[np.ndarray]:
        """Inputs as token ids, one int32 array each, of any length."""
        raise self._not_labels()

    def pad(self, sequences: Sequence[np.ndarray]) -> np.ndarray:
        """Encoded inputs as the matrix that the network reads, (B, T) int32."""
        raise self._not_labels()

    def targets(self, labels: Sequence[str]) -> np.ndarray:
        """Labels as what the loss compares with, (N,). Raises DataError for a label that was not in training."""
        raise self._not_labels()

    def probabilities(self, outputs: np.ndarray) -> np.ndarray:
        """The network's outputs (B, O) as probabilities (B, K), float64, in the order of `labels`."""
        raise self._not_labels()

    def scores(self, run: Runtime, sequences: Sequence[np.ndarray]) -> np.ndarray:
        """Probabilities (B, K), float64, of encoded inputs, by the network in `run`."""
        return self.probabilities(run(self.pad(sequences)))

    def trace(self, run: Runtime, sequence: np.ndarray) -> np.ndarray:
        """Probabilities (T, K) after each step of an encoded input."""
        raise self._not_labels()

    def status(self, sequence: np.ndarray) -> str:
        """Whether an encoded input can be judged: "ok", "empty" or "unknown_words"."""
        raise self._not_labels()

    @property
    def poles(self) -> tuple[str, str] | None:
        """The labels of the bad and of the good end, where there are such; their difference is a score."""
        ends = [[x for x in self.labels if x.lower() in names] for names in (("negative", "neg"), ("positive", "pos"))]
        return (ends[0][0], ends[1][0]) if all(ends) else None

    @property
    def training_loss(self) -> str:
        """The name of the loss in `train.LOSSES`."""
        raise self._not_labels()

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Everything `from_settings` needs, as plain JSON-able data."""

    @classmethod
    @abstractmethod
    def from_settings(cls, settings: Mapping[str, Any], network: Network) -> Task:
        """The task that `settings` described, with its layers.

        Raises:
            BundleError: a setting is missing or of a wrong type, or the layers do not fit the settings.
        """

    def with_arrays(self, arrays: Mapping[str, np.ndarray]) -> Task:
        """The same task with the arrays of its bundle. Raises BundleError for others than it owns."""
        if arrays:
            raise BundleError(
                f"The arrays {', '.join(sorted(arrays))} belong to no {self.name} model. Train again."
            )
        return self

    @classmethod
    def _not_labels(cls) -> UsageError:
        return UsageError(f"A model of the task '{cls.name}' does not label examples. {cls.answers}.")
