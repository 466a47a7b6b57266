"""Peak memory of one training pass: `python _memory.py ours|torch CELL T B D H THREADS` prints MiB as JSON.

Counted is what the process grows by, at its highest, over what it held with the layer, its input and the gradient
of its output in place. A small pass before loads libraries and starts threads. Where the system cannot forget an
older peak (Linux can), a pass that stays below it counts as nothing.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from typing import Any


def forget() -> None:
    """Let the peak begin anew."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak() -> float:
    """The most memory that this process held since then, in MiB."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) / 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (1024 * 1024 if sys.platform == "darwin" else 1024)


def train(nn: Any, cell: str, sizes: tuple[int, ...]) -> float:
    """MiB by which one pass over x (T, B, D) raises the peak."""
    import torch

    T, B, D, H = sizes
    layer = getattr(nn, {"elman": "RNN", "gru": "GRU", "lstm": "LSTM"}[cell])(D, H)
    x, upstream = torch.ones(T, B, D, requires_grad=True), torch.ones(T, B, H)
    forget()
    before = peak()
    output, _ = layer(x)
    output.backward(upstream)
    return peak() - before


def main() -> None:
    """Measure."""
    import torch
    from torch import nn

    side, cell, *numbers = sys.argv[1:]
    *sizes, threads = map(int, numbers)
    torch.set_num_threads(threads)
    if side == "ours":
        from unrolled import nn
    train(nn, cell, (2, 2, 2, 2))
    print(json.dumps({"mib": train(nn, cell, tuple(sizes))}))


if __name__ == "__main__":
    main()
