"""A trained thing in a foreign format. A shelf: the file name is what users type in `unrolled export RUN NAME`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

from ..bundle import Bundle


class Export(ABC):
    """One format. What is written is run by its own runtime and compared with us before it is kept."""

    ending: ClassVar[str]
    """Of the file's name."""
    tolerance: ClassVar[float]
    """The largest difference that is let pass."""
    compares: ClassVar[str] = "probability"
    """What the difference is of."""

    def open(self, name: str) -> Any:
        """What is to be written: by default the bundle called `name`."""
        return Bundle.load(name)

    @abstractmethod
    def write(self, source: Any, path: Path) -> float:
        """Write what `open` gave to `path`, whole or not at all; returns the largest difference found.

        Raises:
            UsageError: a model that this format cannot hold.
            EngineError: the difference is above `tolerance`; nothing is written.
        """
