"""What is measured of the engine beside whole layers: single steps, memory, whole programs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import kernels
from ..errors import UsageError
from . import Say
from ._layers import MODULES, Call, Work
from ._rows import Row, measure, rows

PROGRAMS = {  # file of _programs: the layer that it spends its time in
    "language_model": Work("lstm", "program", 32, 35, 128, 128),
    "sequence_classifier": Work("gru", "program", 64, 200, 64, 64),
    "forecaster": Work("gru", "program", 64, 168, 8, 64),
}


def stream(cell: str, hidden: int, rounds: int) -> list[Row]:
    """One sequence, one step a call, the state carried on: `Stepper` against torch's module."""
    import torch

    layer = getattr(torch.nn, MODULES[cell])(hidden, hidden)
    ours = kernels.Stepper.from_state_dict(layer.state_dict())
    x = torch.randn(1, 1, hidden)
    flat, states = x.numpy()[0], [ours.start(1), layer(x)[1]]

    def step(batch: int) -> None:
        states[0] = ours.step(flat, states[0])

    def theirs(batch: int) -> None:
        with torch.inference_mode():
            states[1] = layer(x, states[1])[1]

    sides: dict[str, Call] = {"unrolled": step, "torch": theirs}
    return rows(
        Work(cell, "streaming", 1, 1, hidden, hidden), torch.get_num_threads(), measure(sides, rounds)
    )


def memory(works: Sequence[Work], threads: int, say: Say) -> list[dict[str, Any]]:
    """Peak memory of one training pass, each side in a process of its own; says the rows and returns them."""
    say(
        f"{'cell':10} {'B':>4} {'T':>5} {'H':>5} {'ours, MiB':>10} {'torch, MiB':>10} {'share':>6}  (training)"
    )
    found = []
    for work in works:
        sizes = [str(size) for size in (work.T, work.B, work.D, work.H, threads)]
        mib = [
            _python(Path(__file__).with_name("_memory.py"), side, work.cell, *sizes)
            for side in ("ours", "torch")
        ]
        row: dict[str, Any] = {"cell": work.cell, "B": work.B, "T": work.T, "H": work.H}
        row |= {side: json.loads(words)["mib"] for side, words in zip(("ours", "torch"), mib, strict=True)}
        share = row["ours"] / max(row["torch"], 1e-9)
        say(
            f"{work.cell:10} {work.B:4} {work.T:5} {work.H:5} {row['ours']:10.1f} {row['torch']:10.1f} {share:6.2f}"
        )
        found.append(row)
    return found


def program(name: str, threads: int, rounds: int, scale: float, say: Say) -> list[Row]:
    """An unmodified program, before and after `python -m unrolled.patch`: the seconds it says its training took."""
    script = Path(__file__).with_name("_programs") / f"{name}.py"
    last: dict[str, str] = {}

    def run(side: str, *before: str) -> float:
        said = _python(*before, script, "--threads", str(threads), "--scale", str(scale)).strip().splitlines()
        last[side] = next(words for words in reversed(said) if words.endswith(" s"))
        return float(last[side].split()[-2])

    sides: dict[str, Call] = {
        "unrolled": lambda batch: run("unrolled", "-m", "unrolled.patch"),
        "torch": lambda batch: run("torch"),
    }
    found = rows(PROGRAMS[name], threads, measure(sides, rounds))
    for side, words in last.items():
        say(f"{name}, {side}: {words}")
    return found


def _python(*words: str | Path) -> str:
    """What a program of this environment prints.

    Raises:
        UsageError: it fails; its last words are quoted.
    """
    done = subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["none"])[-1]
        raise UsageError(f"The program {' '.join(map(str, words))} failed. Its last words: {said}")
    return done.stdout
