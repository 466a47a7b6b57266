"""The shelf of benchmarks: we and the real peer, in one run.

Seconds move from machine to machine and from minute to minute, so a claim is a ratio: every side does the same
work in the same run, in turn, several rounds long, and the medians are compared. Both sides are printed.

A benchmark is one file with one class that derives `Bench`. Its dataclass fields are its options, declared with
`option`, as those of a lesson are.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from .. import kernels
from ..config import Options, option
from ..errors import UsageError, need

Say = Callable[[str], None]
Result = TypeVar("Result")
BUSY = 0.25
"""Load for each core, before we began, from which on a measurement is no good."""


@dataclass
class Bench(Options, ABC):
    """The contract. Importing a benchmark loads NumPy at most; the peers are imported by `run`."""

    title: ClassVar[str]  # one line, for the list of benchmarks
    minutes: ClassVar[str]  # how long it takes with its defaults, in words
    needs: ClassVar[tuple[str, ...]] = ()  # extras that must be installed

    rounds: int = option(5, "Rounds that count; one more before them warms everything up.", least=1)

    @abstractmethod
    def run(self, say: Say) -> dict[str, Any] | list[dict[str, Any]]:
        """Measure. `say` is called with each line for a reader; what is returned is printed by `--json`."""


def alternate(sides: Mapping[str, Callable[[], Result]], rounds: int) -> dict[str, list[Result]]:
    """Call every side once a round, in turn; returns the results of each, without the first round's.

    The round before the `rounds` that count loads, compiles and allocates. Every second round runs backwards, so
    that no side always follows the same other.
    """
    found: dict[str, list[Result]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name in list(sides)[:: -1 if number % 2 else 1]:
            found[name].append(sides[name]())
    return {name: results[1:] for name, results in found.items()}


def timed(work: Callable[[], Result]) -> tuple[float, Result]:
    """Seconds that `work` took, and what it returned."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def ratios(numbers: Mapping[str, float], *, higher_is_better: bool) -> dict[str, float]:
    """How many times better "unrolled" is than each other side."""
    ours = numbers["unrolled"]
    others = {name: value for name, value in numbers.items() if name != "unrolled"}
    return {name: ours / value if higher_is_better else value / ours for name, value in others.items()}


def machine() -> dict[str, Any]:
    """The machine and what runs on it: processor, cores this process may use, the engine's instruction set."""
    info = kernels.info()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"cpu": _processor(), "cores": cores, "isa": info.isa, "threads": info.threads}


def load() -> float:
    """How many programs wanted a core during the last minute; 0 where the system does not say."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def say_machine(on: Mapping[str, Any], say: Say) -> None:
    """Say what `machine()` found, and that figures count for nothing where `load_before` was high."""
    say(f"On {on['cpu']}, {on['cores']} cores; engine {on['isa']}, {on['threads']} threads.")
    if on["load_before"] > BUSY * on["cores"]:
        say(f"Other programs were running (load {on['load_before']:.1f}): do not quote these ratios.")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def peak_gflops(size: int = 1024, tries: int = 10) -> float:
    """The machine's fastest float32 product, in GFLOP/s: the best of torch's `mm` and oneDNN's linear layer."""
    torch = need("torch", "train", "Measuring the machine's peak")
    a, b, out = (torch.rand(size, size) for _ in range(3))
    products = [lambda: torch.mm(a, b, out=out)]
    if torch.backends.mkldnn.is_available():
        packed = a.to_mkldnn(), b.to_mkldnn()
        products.append(lambda: torch.nn.functional.linear(*packed))
    with torch.inference_mode():
        seconds = min(timed(product)[0] for product in products for _ in range(tries))
    return float(2 * size**3 / seconds / 1e9)


class Peer:
    """A program of another environment that answers requests: one JSON object a line, in and out."""

    def __init__(self, python: str, script: Path, *arguments: Path, **environment: str) -> None:
        """Start `python script arguments` with additional environment variables.

        Raises:
            UsageError: `python` cannot be started.
        """
        self._python = python
        self._said = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 - close() does
        try:
            self._process = subprocess.Popen(
                [python, script, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._said,
                env={**os.environ, **environment},
                encoding="utf-8",
            )
        except OSError as error:
            self._said.close()
            raise UsageError(
                f"The peer's Python '{python}' cannot be started ({error.strerror}). "
                "Give the path of the python program of an environment with the peer installed."
            ) from error

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Send `request` and return its answer.

        Raises:
            UsageError: the peer ended instead of answering; its last words are quoted.
        """
        to, back = self._process.stdin, self._process.stdout
        assert to
        assert back
        try:
            to.write(json.dumps(request) + "\n")
            to.flush()
            line = back.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise UsageError(
                f"The peer '{self._python}' ended without an answer. Its last words: {self._last_words()} "
                "Give the path of the python program of an environment with the peer installed."
            )
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End the program."""
        self._process.terminate()
        self._process.communicate()
        self._said.close()

    def _last_words(self) -> str:
        self._process.wait()
        self._said.seek(0)
        return (self._said.read().strip().splitlines() or ["none"])[-1]
