"""The compiled engine as a library: where it is, whether it may be used and on how many threads it runs.

`engine()` is what a kernel asks at every call. It loads the library at the first call, and hands it torch's
threads as soon as torch is in the process, so that there is never a second pool beside torch's.

Environment:
    UNROLLED_ENGINE   "off" computes with NumPy
    UNROLLED_ISA      "avx512", "avx2" or "baseline" instead of the best that the processor runs
    UNROLLED_THREADS  the most threads that a call uses
"""

from __future__ import annotations

import ctypes
import math
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UsageError

_NAMES = {
    "darwin": ("libunrolled.dylib", "libtorch_cpu.dylib"),
    "win32": ("unrolled.dll", "torch_cpu.dll"),
}
_OWN_NAME, _TORCH_NAME = _NAMES.get(sys.platform, ("libunrolled.so", "libtorch_cpu.so"))

_library: ctypes.CDLL | None = None
_reason: str | None = None  # why there is no library; None while nobody has asked
_torch_met = False


@dataclass(frozen=True)
class EngineInfo:
    """What the engine runs on.

    Attributes:
        available: False where the readable NumPy path serves instead.
        isa: instruction set in use: "avx512", "avx2" or "baseline"; "numpy" without the engine.
        threads: the most threads that a call uses.
        pool: whose threads: "own", "torch", or "none" for one thread only (in a child forked after torch was
            loaded, and without the engine).
        reason: why the engine is not available; empty where it is.
    """

    available: bool
    isa: str
    threads: int
    pool: str
    reason: str


def engine() -> ctypes.CDLL | None:
    """The library, ready for a call; None where NumPy serves (said once, as a warning in the log `unrolled`).

    Raises:
        UsageError: an environment variable of the engine has a value that cannot be followed.
    """
    if _library is None:
        first = _reason is None
        _load()
        if first and _reason:
            import logging

            logging.getLogger("unrolled").warning(
                "unrolled computes with NumPy, many times slower than its engine: %s", _reason
            )
    if not _torch_met and "torch" in sys.modules:
        _meet_torch()
    return _library


def info() -> EngineInfo:
    """What the engine runs on, or why it does not run. Raises nothing and says nothing in the log."""
    global _reason
    try:
        _load()
    except UsageError as error:
        return EngineInfo(False, "numpy", 1, "none", str(error))
    if _library is None:
        reason, _reason = _reason or "", None  # the first use will still say it
        return EngineInfo(False, "numpy", 1, "none", reason)
    if not _torch_met and "torch" in sys.modules:
        _meet_torch()
    isa, pool = _library.unrolled_isa().decode(), _library.unrolled_pool().decode()
    return EngineInfo(True, isa, _library.unrolled_threads(), pool, "")


def set_threads(threads: int | None) -> None:
    """Let calls use at most `threads` threads; None goes back to what the environment says.

    Results do not depend on it.
    """
    if threads is not None and threads < 1:
        raise UsageError(f"threads is {threads}; it must be at least 1, or None for the default.")
    library = engine()
    if library is not None:
        library.unrolled_set_threads(threads or _thread_limit(torch=_torch_met))


def set_isa(name: str) -> None:
    """Compute with the instructions `name` from now on.

    Raises:
        UsageError: this processor, or this build, does not have them.
    """
    library = engine()
    if library is not None:
        _choose_isa(library, name, "isa")


def isas() -> list[str]:
    """The instruction sets that this processor runs, best first; empty without the engine."""
    library = engine()
    return [] if library is None else library.unrolled_isas().decode().split()


def _load() -> None:
    """Set `_library`, or `_reason`. Two threads may do this at once: they find the same."""
    global _library, _reason
    if _library is not None or _reason is not None:
        return
    switch = os.environ.get("UNROLLED_ENGINE", "on")
    if switch not in ("on", "off"):
        raise UsageError(f"UNROLLED_ENGINE is '{switch}'; it must be 'on' or 'off'.")
    if switch == "off":
        _reason = "UNROLLED_ENGINE is 'off'."
        return
    path = Path(__file__).with_name(_OWN_NAME)
    if not path.exists():
        _reason = (
            "this installation has no compiled engine, because no C++ compiler worked when it was made. "
            "Install a compiler (for example g++), then install unrolled again."
        )
        return
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        _reason = f"the compiled engine does not load on this machine ({error}). Install unrolled again."
        return
    _declare(library)
    if name := os.environ.get("UNROLLED_ISA"):
        _choose_isa(library, name, "UNROLLED_ISA")
    library.unrolled_set_threads(_thread_limit(torch=False))
    _library = library


def _declare(library: ctypes.CDLL) -> None:
    for name in ("unrolled_isa", "unrolled_isas", "unrolled_pool"):
        getattr(library, name).restype = ctypes.c_char_p
    library.unrolled_threads.restype = ctypes.c_int32
    library.unrolled_set_threads.argtypes = [ctypes.c_int32]
    library.unrolled_set_threads.restype = None
    library.unrolled_use_isa.argtypes = [ctypes.c_char_p]
    library.unrolled_use_isa.restype = ctypes.c_int32
    library.unrolled_set_parallel_for.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
    library.unrolled_set_parallel_for.restype = None


def _choose_isa(library: ctypes.CDLL, name: str, setting: str) -> None:
    if library.unrolled_use_isa(name.encode()) != 0:
        offered = ", ".join(library.unrolled_isas().decode().split())
        raise UsageError(f"{setting} is '{name}', which this processor does not run. It runs: {offered}.")


def _meet_torch() -> None:
    """Give torch's threads to the engine, once torch has been imported to its end.

    A torch before 2.10 exports no parallel_for, and one built without OpenMP does not promise that ranges run
    at the same time, on which the kernels rely: beside these our own pool stays.
    """
    global _torch_met
    torch: Any = sys.modules.get("torch")
    if _library is None or torch is None or getattr(torch.__spec__, "_initializing", False):
        return
    _torch_met = True
    try:
        cpu = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / _TORCH_NAME))
        run, threads = cpu.torch_parallel_for, cpu.torch_get_num_threads
    except (OSError, AttributeError):
        return
    if torch.backends.openmp.is_available():
        _library.unrolled_set_threads(_thread_limit(torch=True))
        _library.unrolled_set_parallel_for(
            ctypes.cast(run, ctypes.c_void_p), ctypes.cast(threads, ctypes.c_void_p)
        )


def _before_fork() -> None:
    # torch's threads do not survive a fork. The library notices, but only if it was given them before.
    if not _torch_met and "torch" in sys.modules:
        try:
            _load()
        except UsageError:
            return
        _meet_torch()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork)


def _thread_limit(*, torch: bool) -> int:
    """UNROLLED_THREADS; else 0 (no limit) on torch's threads, and the share of the processor on our own."""
    setting = os.environ.get("UNROLLED_THREADS", "")
    if not setting:
        return 0 if torch else usable_cores()
    if not setting.isdecimal() or int(setting) < 1:
        raise UsageError(f"UNROLLED_THREADS is '{setting}'; it must be a whole number of at least 1.")
    return min(int(setting), 1024)


def usable_cores(root: Path = Path("/")) -> int:
    """Cores that this process may use: its affinity, and the quota of its control groups (versions 1 and 2).

    `root` is where `/proc` and `/sys` are found.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([affinity, *(math.ceil(quota) for quota in _quotas(root))]))


def _quotas(root: Path) -> Iterator[float]:
    """Every limit on this process in cores: those of its groups and of all groups around them."""
    try:
        groups = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in groups:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = root / "sys/fs/cgroup" / ("cpu" if controllers else "")
        folder = mount / path.lstrip("/")
        for group in [folder, *folder.parents]:
            yield from _quota(group, legacy=bool(controllers))
            if group == mount:
                break


def _quota(group: Path, *, legacy: bool) -> Iterator[float]:
    names = ["cpu.cfs_quota_us", "cpu.cfs_period_us"] if legacy else ["cpu.max"]
    try:
        words = " ".join((group / name).read_text() for name in names).split()
        quota, period = int(words[0]), int(words[1])
    except (OSError, ValueError, IndexError):
        return  # no such file, or "max": no limit here
    if quota > 0 and period > 0:
        yield quota / period
