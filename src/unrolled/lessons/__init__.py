"""The shelf of lessons: short programs that a learner reads from top to bottom.

A lesson is one file with one class that derives `Lesson`. Its dataclass fields are its options: the command
line turns each into `--name` with its type, default, lower bound and help. `run` tells the story through a
`Narrator`, has every claim checked where it is made, and returns the figures claimed.
"""

from __future__ import annotations

import sys
import textwrap
import webbrowser
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TextIO

import numpy as np
from numpy.typing import ArrayLike
from rich.console import Console

from .. import shelf
from ..config import Options, option
from ..drawing import Drawing
from ..errors import UnknownNameError, UnrolledError

# What consoles without Unicode show instead.
PLAIN = str.maketrans({"∂": "d", "→": "->", "≤": "<=", "≥": ">="})


class ClaimError(UnrolledError, AssertionError):
    """A lesson claims something that its own run did not show."""


@dataclass
class Lesson(Options, ABC):
    """The contract. Importing a lesson loads NumPy at most; what else it needs, `run` imports."""

    title: ClassVar[str]  # one line, for the list of lessons
    minutes: ClassVar[str]  # how long it takes, in words
    needs: ClassVar[tuple[str, ...]] = ()  # extras that must be installed
    aliases: ClassVar[tuple[str, ...]] = ()  # other names

    seed: int = option(0, "Seed of everything random: initial weights, generated data, order.", least=0)

    @abstractmethod
    def run(self, say: Narrator) -> dict[str, Any]:
        """Tell the lesson and return the figures that it claims: names, numbers, text; nothing else.

        Raises:
            ClaimError: a claim does not hold.
        """


def find(name: str) -> type[Lesson]:
    """The lesson called `name`, by its file name or one of its aliases.

    Raises:
        UnknownNameError: no such lesson; the message names the nearest one.
    """
    lessons = {known: shelf.find("lessons", known, Lesson) for known in shelf.names("lessons")}
    aliases = {alias: lesson for lesson in lessons.values() for alias in lesson.aliases}
    try:
        return (lessons | aliases)[name.strip().lower().replace("_", "-")]
    except KeyError:
        raise UnknownNameError("lesson", name, lessons | aliases) from None


def numbers(values: ArrayLike, form: str = "+.2f") -> str:
    """A vector in one line, for example [+0.12 -0.40]."""
    return "[" + " ".join(format(value, form) for value in np.ravel(values)) + "]"


@dataclass
class Narrator:
    """Prints a lesson step by step and keeps its pictures.

    Colours are used on a terminal only, and a symbol that the stream cannot encode is replaced by plain letters.

    Attributes:
        stream: where to print; the standard output by default.
        folder: where pictures are saved.
        pause: wait for the Enter key before each step, if `keyboard` is a terminal.
        show: open each picture in the browser as well.
        keyboard: where the Enter key is read from; the standard input by default.
        claims: how many claims were checked so far.
    """

    stream: TextIO = field(default_factory=lambda: sys.stdout)
    folder: Path = Path("runs/lessons")
    pause: bool = False
    show: bool = False
    keyboard: TextIO = field(default_factory=lambda: sys.stdin)
    claims: int = 0

    def __post_init__(self) -> None:
        self._console = Console(file=self.stream, markup=False, emoji=False, highlight=False, soft_wrap=True)
        self._width = min(self._console.width, 100) if self._console.is_terminal else 100

    def _print(self, text: str, style: str = "") -> None:
        encoding = getattr(self.stream, "encoding", None) or "utf-8"
        try:
            text.encode(encoding)
        except UnicodeEncodeError:
            text = text.translate(PLAIN).encode(encoding, "replace").decode(encoding)
        self._console.print(text, style=style or None)

    def __call__(self, text: str) -> None:
        """Print a paragraph, filled to the width of the console."""
        self._print(textwrap.fill(" ".join(text.split()), self._width))

    def step(self, heading: str) -> None:
        """Begin the next step of the lesson; waits for the Enter key if that was asked for."""
        if self.pause and self.keyboard.isatty():
            self._print("\n[Enter]", "dim")
            self.keyboard.readline()
        self._print(f"\n{heading}\n{'-' * len(heading)}", "bold")

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Print rows under their headings, each column as wide as it needs."""
        lines = [tuple(columns), *(tuple(map(str, row)) for row in rows)]
        widths = [max(map(len, column)) for column in zip(*lines)]
        for number, line in enumerate(lines):
            text = "  ".join(cell.ljust(width) for cell, width in zip(line, widths))
            self._print("  " + text.rstrip(), "" if number else "bold")

    def claim(self, text_says: str, you_see: str, ok: bool) -> None:
        """Print what the text says beside what was computed.

        Raises:
            ClaimError: `ok` is false.
        """
        self.claims += 1
        self._print(f"  the text says  {text_says}")
        self._print(
            f"  you see        {you_see}  {'[ok]' if ok else '[NOT SO]'}", "green" if ok else "bold red"
        )
        if not ok:
            raise ClaimError(f"The text says: {text_says}. But this run shows: {you_see}.")

    def picture(self, name: str, drawing: Drawing) -> Path:
        """Save `drawing` as `name`.svg, print its path, open it if that was asked for."""
        path = drawing.save(self.folder / f"{name}.svg")
        self._print(f"  picture        {path}", "cyan")
        if self.show:
            webbrowser.open(path.resolve().as_uri())
        return path
