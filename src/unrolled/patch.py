"""The engine inside any program: after `unrolled.patch_torch()` torch's own RNN, LSTM and GRU compute with it.

    unrolled.patch_torch()                         # here and now, in the whole process, in all its threads
    python -m unrolled.patch train.py --epochs 3   # a program that nobody may edit; also under torchrun

Layers (`nn.RNN`, `nn.LSTM`, `nn.GRU`, on tensors and on a PackedSequence) and cells (`nn.RNNCell` ...) arrive at
operators of torch (`aten::lstm.input` ...), for which kernels are registered here. Whatever the engine does not take
goes on to torch's own kernel: the result is torch's. `patch_report()` counts both. A process that was started with
"spawn" is a new one, which has to be patched too.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from . import kernels
from .errors import UsageError
from .kernels.recurrent import Plan, lengths_of, recurrent
from .kernels.recurrent_checks import foreign, misfit, plain, transformed, watched
from .kernels.recurrent_torch import COMPOSITE, composite

__all__ = ["PatchReport", "patch_report", "patch_torch", "torch_is_patched", "torch_patched", "unpatch_torch"]

OLDEST, NEWEST = (2, 4), (2, 13)
CELLS = ("rnn_tanh", "rnn_relu", "lstm", "gru")
AXES = "An input of other axes, or with batch sizes that do not fit it."
_log = logging.getLogger("unrolled")
_lock = threading.Lock()
_library: Any = None
_warned = False


@dataclass(frozen=True)
class PatchReport:
    """How often a patched operator was called since `patch_torch`.

    Attributes:
        native: calls that the engine computed, by operator: {"lstm.input": 3}.
        fallback: calls that went to torch's own kernel, by operator and reason: {("gru.input", "..."): 1}.
    """

    native: Counter[str] = field(default_factory=Counter)
    fallback: Counter[tuple[str, str]] = field(default_factory=Counter)

    def __str__(self) -> str:
        rows = [f"{count:9d}  {name}: on the engine" for name, count in sorted(self.native.items())]
        rows += [
            f"{count:9d}  {name}: torch's own. {why}" for (name, why), count in sorted(self.fallback.items())
        ]
        return "\n".join(["unrolled.patch, calls:", *(rows or ["        0"])])


_report = PatchReport()


def patch_torch() -> None:
    """Let torch's RNN, LSTM and GRU compute with the engine, in the whole process, from now on.

    Modules, weights and results stay torch's own. Called twice it does nothing more. With a version of torch that is
    not known to work (older than 2.4, newer than 2.13), or without the engine, it warns once and changes nothing.
    """
    global _library, _warned, _report
    with _lock:
        if _library is not None:
            return
        reason = _obstacle()
        if reason:
            if not _warned:
                _log.warning("torch is not patched: %s", reason)
            _warned = True
            return
        _report = PatchReport()
        library = torch.library.Library("aten", "IMPL")
        for op, kernel in _patched():
            unseen = _apart(kernel)
            library.impl(op, unseen, "AutogradCPU")
            library.impl(op, unseen, "CPU")
            op._dispatch_cache.clear()  # the Python dispatcher's
        _library = library


def unpatch_torch() -> None:
    """Give torch its own kernels back, in the whole process. Without a patch it does nothing."""
    global _library
    with _lock:
        if _library is not None:
            _library._destroy()
            _library = None
            for op, _ in _patched():
                op._dispatch_cache.clear()


def torch_is_patched() -> bool:
    """Whether torch's RNN, LSTM and GRU compute with the engine at present."""
    return _library is not None


@contextmanager
def torch_patched() -> Iterator[None]:
    """`patch_torch` for a `with` block, which other threads of the process see too."""
    before = torch_is_patched()
    patch_torch()
    try:
        yield
    finally:
        if not before:
            unpatch_torch()


def patch_report() -> PatchReport:
    """Calls since `patch_torch`: what the engine computed, what torch did, and why. It prints as a table."""
    return PatchReport(_report.native.copy(), _report.fallback.copy())


def _obstacle() -> str:
    """Why torch cannot be patched; empty where it can."""
    version = torch.__version__.partition("+")[0]
    numbers = tuple(int(part) for part in version.split(".")[:2])
    if not OLDEST <= numbers <= NEWEST:
        known = " to ".join(".".join(map(str, bound)) for bound in (OLDEST, NEWEST))
        return f"unrolled knows torch {known}, and this is {version}. Its layers compute as they always do."
    support = kernels.supports("lstm")
    return "" if support else support.reason


def _patched() -> Iterator[tuple[Any, Callable[..., Any]]]:
    """Each operator and its kernel."""
    for cell in CELLS:
        packet = getattr(torch.ops.aten, cell)
        yield packet.input, _dense(cell)
        yield packet.data, _packed(cell)
        yield getattr(torch.ops.aten, f"{cell}_cell").default, _step(cell)


def _apart(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """The kernel, unseen by torch.compile, which would compile our Python where it calls an operator as it stands."""
    frames = torch._C._dynamo.eval_frame

    def apart(*given: Any) -> Any:
        before = frames.set_eval_frame(None)
        try:
            return kernel(*given)
        finally:
            frames.set_eval_frame(before)

    if hasattr(frames, "skip_code"):  # until torch 2.6
        frames.skip_code(apart.__code__)
    elif hasattr(frames, "_FrameExecStrategy"):
        action = frames._FrameAction
        frames.set_code_exec_strategy(
            apart.__code__, frames._FrameExecStrategy(action.SKIP, action.DEFAULT)
        )
    return apart


def _dense(cell: str) -> Callable[..., Any]:
    """The kernel of aten::<cell>.input."""
    op, name = getattr(torch.ops.aten, cell).input, f"{cell}.input"

    def kernel(x: Tensor, hx: Any, weights: Any, *options: Any) -> Any:  # mirrors torch
        bias, layers, dropout, train, both, batch_first = options
        states = hx if cell == "lstm" else [hx]
        plan = Plan(cell, layers, 1 + both, 2 * bias)
        reason = _reason(
            plan, x, (layers * plan.directions, *x.shape[not batch_first : -1][:1]), states, weights
        )
        if reason or x.dim() != 3:
            return _torch(op, name, reason or AXES, x, hx, weights, *options)
        _report.native[name] += 1
        seen = x.transpose(0, 1) if batch_first else x
        output, *last = recurrent(plan, seen, states, weights, dropout=dropout if train else 0.0)
        return output.transpose(0, 1) if batch_first else output, *last

    return kernel


def _packed(cell: str) -> Callable[..., Any]:
    """The kernel of aten::<cell>.data."""
    op, name = getattr(torch.ops.aten, cell).data, f"{cell}.data"

    def kernel(x: Tensor, sizes: Tensor, hx: Any, weights: Any, *options: Any) -> Any:  # mirrors torch
        bias, layers, dropout, train, both = options
        states = hx if cell == "lstm" else [hx]
        plan = Plan(cell, layers, 1 + both, 2 * bias)
        lengths = lengths_of(sizes, len(x)) if plain(sizes) else None
        rows = 0 if lengths is None else len(lengths)
        reason = _reason(plan, x, (layers * plan.directions, rows), states, weights)
        if reason or x.dim() != 2 or lengths is None:
            return _torch(op, name, reason or AXES, x, sizes, hx, weights, *options)
        _report.native[name] += 1
        return recurrent(plan, x, states, weights, lengths, dropout if train else 0.0)

    return kernel


def _step(cell: str) -> Callable[..., Any]:
    """The kernel of aten::<cell>_cell."""
    name = f"{cell}_cell"
    op = getattr(torch.ops.aten, name).default

    def kernel(x: Tensor, hx: Any, w_ih: Tensor, w_hh: Tensor, *biases: Any) -> Any:
        states = hx if cell == "lstm" else [hx]
        given = [bias for bias in biases if bias is not None]
        weights = [w_ih, w_hh, *given]
        plan = Plan(cell, biases=2 if given else 0)
        reason = _reason(plan, x, tuple(x.shape[:1]), states, weights)
        if reason or x.dim() != 2 or len(given) == 1:
            return _torch(op, name, reason or AXES, x, hx, w_ih, w_hh, *biases)
        _report.native[name] += 1
        found = recurrent(plan, x, states, weights)
        return found if cell == "lstm" else found[0]

    return kernel


def _reason(
    plan: Plan, x: Tensor, rows: tuple[int, ...], states: Sequence[Tensor], weights: Sequence[Tensor]
) -> str:
    """Why the engine does not take these tensors, here and now; empty where it does. `rows`: B, or layers and B."""
    if reason := foreign(x, *states, *weights):
        return reason
    if 0 in (*x.shape, *states[0].shape):
        return "An empty input, or a layer without units."
    return watched() or transformed() or misfit(plan, x.shape[-1], rows, states, weights)


def _torch(op: Any, name: str, reason: str, *given: Any) -> Any:
    """What torch's own kernel answers, counted; the first time for a reason, logged."""
    if not any(why == reason for _, why in _report.fallback):
        _log.info("torch's own kernel computes %s: %s", name, reason)
    _report.fallback[name, reason] += 1
    if COMPOSITE in op.py_kernels and torch._C._dispatch_tls_is_dispatch_key_included("PythonDispatcher"):
        return op.py_kernels[COMPOSITE](*given)
    return composite(op, *given)


def main(arguments: list[str]) -> None:
    """Run a program as `python` would, with torch patched, and report at its end.

    Raises:
        UsageError: no program is named.
    """
    import atexit
    import runpy

    if not arguments or arguments == ["-m"]:
        raise UsageError(
            "Name the program: python -m unrolled.patch script.py ARGUMENTS, or -m module ARGUMENTS."
        )
    patch_torch()
    atexit.register(lambda: print(patch_report(), file=sys.stderr))
    if arguments[0] == "-m":
        sys.argv = arguments[1:]
        sys.path[0] = ""
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        return
    _run_script(arguments)


def _run_script(arguments: list[str]) -> None:
    """The program is `__main__`, and stays it until the process ends."""
    import io
    import os
    import types

    path = arguments[0]
    sys.argv = arguments
    sys.path[0] = os.path.dirname(os.path.abspath(path))
    module = types.ModuleType("__main__")
    module.__dict__.update(__file__=path, __builtins__=__builtins__)
    with io.open_code(path) as file:
        code = compile(file.read(), path, "exec")
    sys.modules["__main__"] = module
    exec(code, module.__dict__)


if __name__ == "__main__":
    from unrolled.patch import main as canonical  # this file as everybody else knows it, with its state

    try:
        canonical(sys.argv[1:])
    except UsageError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
