"""The engine's layers against those of PyTorch, ONNX Runtime and JAX: same weights, same inputs, in turn.

The table has one row for each cell, pass, size and peer, and at its end the geometric mean for each hidden size.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import kernels
from ..errors import UnknownNameError, UsageError, need
from . import Bench, Peer, Say, load, machine, option, peak_gflops
from . import _others as others
from ._layers import GATES, Work, sides
from ._rows import HEAD, Row, line, mean, measure, picture, rows, together

PARTS = ("table", "ragged", "streaming", "grids", "memory", "programs")
MODES = ("training", "inference")
PEERS = ("torch", "onnx", "int8")
LONGEST = 500
"""Steps at which the reviews of the ragged part are cut."""

GRIDS = {  # oneDNN, tests/benchdnn/inputs/rnn, shapes_{training,inference,small,large}: layers, T, B, D, H
    "training": [
        (1, 1, 128, 512, 512), (2, 2, 128, 1024, 1024), (1, 1, 128, 2048, 1024), (1, 50, 32, 1760, 1760),
        (1, 50, 64, 500, 500), (1, 629, 128, 128, 128), (1, 10, 32, 512, 128), (10, 1, 32, 512, 128),
        (1, 1, 63, 64, 64), (1, 1, 34, 65, 65), (1, 1, 19, 128, 64), (2, 1, 1, 36, 36), (1, 2, 2, 32, 16),
    ],
    "inference": [
        (1, 30, 1, 512, 512), (7, 30, 1, 1024, 1024), (8, 1, 1, 2048, 1024), (1, 1, 1, 2048, 1024),
        (1, 50, 1, 1760, 1760), (1, 100, 1, 760, 760), (1, 50, 1, 500, 500), (1, 629, 1, 128, 128),
        (1, 10, 1, 512, 128), (10, 1, 1, 512, 128), (1, 1, 640, 2048, 1024), (1, 1, 63, 64, 64), (1, 1, 1, 16, 16),
    ],
}  # fmt: skip


@dataclass
class EngineBench(Bench):
    """Every part by itself, and every list can be shortened, so that a piece of it runs in seconds."""

    title = "the engine's RNN, GRU and LSTM against PyTorch, ONNX Runtime and JAX"
    minutes = "8 minutes; seconds with shorter lists"
    needs = ("train",)

    rounds: int = option(7, "Rounds that count; one more before them warms everything up.", least=1)
    parts: str = option(",".join(PARTS), "What to measure.")
    cells: str = option("elman,gru,lstm", "Cells.")
    modes: str = option(",".join(MODES), "Passes: training is forward and backward.")
    sizes: str = option("16,32,64,128,256,512", "Hidden sizes H, and D = H.")
    batches: str = option("32,128", "Batch sizes B of the table.")
    steps: str = option("50,250", "Steps T of the table.")
    threads: str = option("2", "Threads of every side; several are measured one after the other.")
    peers: str = option(",".join(PEERS), "Peers; JAX joins them with --peer-python.")
    peer_python: str = option("", "The python of an environment with jax.")
    data: str = option(
        "", "IMDB, for the lengths of the ragged part; by default $UNROLLED_DATA; else they are drawn."
    )
    isa: str = option("", "Instruction set of our side; by default the best.")
    picture: str = option("", "Draw the ratios against torch, as SVG, into this file.")
    scale: float = option(
        1.0, "Share of the batches of a program, and of the steps of the memory part.", least=0.0
    )

    def run(self, say: Say) -> list[dict[str, Any]]:
        """Measure the parts; the rows of all of them but memory, whose figures are said only."""
        torch = need("torch", "train", "This benchmark")
        parts, busy, before = _words("parts", self.parts, PARTS), load(), kernels.info().isa
        found: list[Row] = []
        try:
            if self.isa:
                kernels.set_isa(self.isa)
            for threads in _numbers("threads", self.threads):
                torch.set_num_threads(threads)
                self.peak = peak_gflops()
                on = machine()
                say(
                    f"{on['cpu']}, {on['cores']} cores; engine {on['isa']}, torch {torch.__version__}; "
                    f"{threads} threads; best product {self.peak:.0f} GFLOP/s; load before {busy:.1f}"
                )
                for part in parts:
                    found += self._part(part, threads, say)
        finally:
            if self.isa:
                kernels.set_isa(before)
        entries = [row.json() for row in found]
        if self.picture:
            say(f"picture: {picture(entries).save(Path(self.picture))}")
        return entries

    def _part(self, part: str, threads: int, say: Say) -> list[Row]:
        """One part: its rows as they come, then what they say together. The peak is the best product seen so far."""
        say(f"\n{part}")
        if part == "memory":
            others.memory(list(self._memory_works()), threads, say)
            return []
        say(HEAD)
        found: list[Row] = []
        with ExitStack() as stack:
            for new in self._measured(part, threads, stack, say):
                found += new
                self.peak = max(self.peak, peak_gflops(tries=3))
                for row in new:
                    say(line(row, self.peak))
        if part in ("table", "ragged"):
            together(found, self.peak, say)
        if part == "grids":
            say(f"geometric mean {mean(found):.2f} x; the worst:")
            for row in sorted(found, key=lambda row: row.ratio)[:3]:
                say(line(row, self.peak))
        return found

    def _measured(self, part: str, threads: int, stack: ExitStack, say: Say) -> Iterator[list[Row]]:
        cells, numbers = _words("cells", self.cells, tuple(GATES)), _numbers("sizes", self.sizes)
        if part == "streaming":
            yield from (others.stream(cell, 128, self.rounds) for cell in cells)
        elif part == "programs":
            yield from (
                others.program(name, threads, self.rounds, self.scale, say) for name in others.PROGRAMS
            )
        else:
            peers = _words("peers", self.peers, PEERS)
            peers = peers if part == "table" else [peer for peer in peers if peer == "torch"]
            jax = self._jax(threads, stack) if part == "table" else None
            works = {"table": self._table, "ragged": self._ragged, "grids": self._grids}[part]
            for work in works(cells, numbers, say):
                seconds = measure(sides(work, peers, threads, jax), self.rounds, max(1, len(work.lengths)))
                yield rows(work, threads, seconds)

    def _jax(self, threads: int, stack: ExitStack) -> Peer | None:
        if not self.peer_python:
            return None
        peer = Peer(self.peer_python, Path(__file__).with_name("_jax.py"), Path(str(threads)))
        stack.callback(peer.close)
        return peer

    def _table(self, cells: list[str], sizes: list[int], say: Say) -> Iterator[Work]:
        each = _numbers("batches", self.batches), _numbers("steps", self.steps)
        for mode, cell, H in itertools.product(_words("modes", self.modes, MODES), cells, sizes):
            yield from (Work(cell, mode, B, T, H, H) for B, T in itertools.product(*each))

    def _ragged(self, cells: list[str], sizes: list[int], say: Say) -> Iterator[Work]:
        """Random batches of 128 reviews, one a round, in the order in which they were drawn."""
        lengths, source = self._lengths()
        rng = np.random.default_rng(0)
        drawn = tuple(rng.choice(lengths, 128).astype(np.int64) for _ in range(self.rounds + 1))
        said = [int(np.percentile(lengths, share)) for share in (25, 50, 75)]
        say(f"lengths of {source}, cut at {LONGEST}: quartiles {said}")
        for mode, cell, H in itertools.product(_words("modes", self.modes, MODES), cells, sizes):
            yield Work(cell, mode, 128, max(int(part.max()) for part in drawn), H, H, lengths=drawn)

    def _lengths(self) -> tuple[np.ndarray, str]:
        """Of all training reviews, and whose they are."""
        if not (self.data or os.environ.get("UNROLLED_DATA")):
            made = np.random.default_rng(1).lognormal(5.2, 0.65, 25_000)
            return np.clip(made, 10, LONGEST), "no reviews but a log-normal distribution (5.2, 0.65)"
        from ..datasets import imdb

        (reviews, _), _ = imdb.load_data(self.data or None)
        return np.array([min(len(review), LONGEST) for review in reviews]), "IMDB's reviews"

    def _grids(self, cells: list[str], sizes: list[int], say: Say) -> Iterator[Work]:
        for mode in _words("modes", self.modes, MODES):
            for cell, (layers, T, B, D, H) in itertools.product(cells, GRIDS[mode]):
                yield Work(cell, mode, B, T, D, H, layers)

    def _memory_works(self) -> Iterator[Work]:
        for cell, H in itertools.product(_words("cells", self.cells, tuple(GATES)), (32, 128, 512)):
            yield Work(cell, "training", 128, max(1, round(500 * self.scale)), H, H)


def _words(option: str, given: str, known: tuple[str, ...]) -> list[str]:
    """The names in an option.

    Raises:
        UnknownNameError: one that is not known.
    """
    words = [word.strip() for word in given.split(",") if word.strip()]
    for word in words:
        if word not in known:
            raise UnknownNameError(option, word, known)
    return words


def _numbers(option: str, given: str) -> list[int]:
    """The numbers in an option.

    Raises:
        UsageError: something else, or a number below 1.
    """
    words = [word.strip() for word in given.split(",")]
    if not all(word.isdecimal() and int(word) > 0 for word in words):
        raise UsageError(
            f"{option} is '{given}'; it must be whole numbers of at least 1, with commas between."
        )
    return [int(word) for word in words]
