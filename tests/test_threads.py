"""Whose threads the engine works on, how many, and what it leaves behind; each case in a process of its own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from unrolled import kernels
from unrolled.errors import UsageError
from unrolled.kernels import library

linux = pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
engine = pytest.mark.skipif(not library.info().available, reason="there is no engine here")

# `call()` is one recurrence, large enough for every thread to get a share.
CALL = """
import os, sys, warnings
import numpy as np
from unrolled import kernels
from unrolled.kernels import library
# Python 3.12 warns of every fork of a process with threads; that is what is tested here.
warnings.filterwarnings("ignore", message=".*multi-threaded.*", category=DeprecationWarning)
rng = np.random.default_rng(1)
x, w_ih, w_hh = (rng.standard_normal(shape, dtype=np.float32) / 4 for shape in [(9, 64, 16), (32, 16), (32, 32)])
def call():
    return kernels.elman(x, w_ih, w_hh)[1].tobytes()
def tasks():
    return len(os.listdir("/proc/self/task"))
def in_a_child(pool):
    child = os.fork()
    if child == 0:
        same = call() == first
        print("child", library.info().pool, flush=True)
        os._exit(0 if same and library.info().pool == pool else 3)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"""
USE_TORCH = "import torch; torch.set_num_threads(2); torch.ones(1 << 20).exp().sum()\n"


@engine
@forks
def test_a_child_forked_after_a_call_builds_its_own_pool(run_python) -> None:
    done = run_python(
        CALL + "first = call()\nassert in_a_child('own') == 0\nassert call() == first\nprint('parent')"
    )
    assert done.stdout.split() == ["child", "own", "parent"]


@engine
@forks
@pytest.mark.parametrize("before", ["first = call()\n" + USE_TORCH, USE_TORCH + "first = call()\n"])
def test_a_child_forked_after_torch_works_on_one_thread(run_python, before: str) -> None:
    pytest.importorskip("torch")
    run_python(
        CALL + before + "assert in_a_child('none') == 0\nassert call() == first", UNROLLED_THREADS=None
    )


@engine
@forks
def test_a_fork_before_the_first_call_survives_too(run_python) -> None:
    pytest.importorskip("torch")
    source = "assert in_a_child('none') == 0\nassert library.info().pool == 'torch'"
    run_python(CALL + "first = kernels.elman(x, w_ih, w_hh)[1].tobytes()\n" + USE_TORCH + source)


@engine
@forks
@pytest.mark.parametrize("torch", ["", USE_TORCH])
def test_workers_of_multiprocessing_get_the_same_numbers(run_python, torch: str) -> None:
    if torch:
        pytest.importorskip("torch")
    source = """
import multiprocessing
first = call()
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.apply(call) == first
    assert pool.starmap(call, [()] * 8) == [first] * 8
assert call() == first
"""
    run_python(CALL + torch + source)


@engine
@linux
def test_our_threads_end_when_torch_arrives(run_python) -> None:
    pytest.importorskip("torch")
    source = """
first = call()
assert library.info().pool == "own"
ours = tasks()
assert ours >= 4
import torch
library.engine()
assert library.info().pool == "torch"
assert tasks() <= ours - 3
torch.set_num_threads(2)
assert library.info().threads == 2
assert call() == first
torch.set_num_threads(1)
assert library.info().threads == 1
assert call() == first
"""
    run_python(CALL + source, UNROLLED_THREADS="4")


@engine
@linux
def test_torch_first_means_no_threads_of_our_own(run_python) -> None:
    pytest.importorskip("torch")
    source = """
import torch
torch.set_num_threads(3)
torch.ones(1 << 20).exp().sum()
before = tasks()
call()
assert library.info() == library.EngineInfo(True, library.info().isa, 3, "torch", "")
assert tasks() == before
"""
    run_python("import torch\n" + CALL + source, UNROLLED_THREADS=None)


@engine
def test_the_limit_holds_on_torchs_threads_too(run_python) -> None:
    pytest.importorskip("torch")
    source = "import torch; torch.set_num_threads(4); library.engine(); print(library.info().threads)"
    assert run_python(CALL + source, UNROLLED_THREADS="2").stdout == "2\n"


@engine
@linux
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_unrolled_threads_is_obeyed(run_python, threads: int) -> None:
    source = "before = tasks(); call(); print(library.info().threads, tasks() - before)"
    done = run_python(CALL + source, UNROLLED_THREADS=str(threads))
    assert done.stdout.split() == [str(threads), str(threads - 1)]


@engine
@linux
def test_threads_start_only_when_they_are_needed(run_python) -> None:
    run_python(CALL + "before = tasks(); library.info(); assert tasks() == before", UNROLLED_THREADS="4")


@engine
@linux
def test_affinity_limits_our_threads(run_python) -> None:
    one = "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\n"
    assert run_python(one + CALL + "print(library.info().threads)", UNROLLED_THREADS=None).stdout == "1\n"


@engine
@pytest.mark.parametrize("setting", ["0", "-2", "two", "1.5"])
def test_a_number_of_threads_that_is_none_is_refused(run_python, setting: str) -> None:
    sentence = f"UNROLLED_THREADS is '{setting}'; it must be a whole number of at least 1."
    source = """
from unrolled.errors import UsageError
assert library.info().reason == sys.argv[1]
try:
    call()
except UsageError as error:
    assert str(error) == sys.argv[1]
else:
    raise AssertionError
"""
    run_python(CALL + source, sentence, UNROLLED_THREADS=setting)


@engine
def test_results_do_not_depend_on_the_number_of_threads(rng: np.random.Generator) -> None:
    x, w_ih, w_hh = (rng.standard_normal(shape, dtype=np.float32) for shape in [(5, 33, 7), (9, 7), (9, 9)])
    found = []
    try:
        for threads in (1, 2, 3, 8):
            library.set_threads(threads)
            found.append(kernels.elman(x, w_ih, w_hh)[0].tobytes())
    finally:
        library.set_threads(None)
    assert len(set(found)) == 1


def test_set_threads_refuses_none_at_all() -> None:
    with pytest.raises(UsageError, match=r"threads is 0; it must be at least 1, or None for the default"):
        library.set_threads(0)


@engine
@pytest.mark.parametrize("torch", ["", USE_TORCH])
def test_denormals_are_flushed_in_a_call_and_kept_after_it(run_python, torch: str) -> None:
    if torch:
        pytest.importorskip("torch")
    source = """
tiny = np.full((3, 64, 1), 1e-30, np.float32)
last = kernels.elman(tiny, np.full((8, 1), 1e-9, np.float32), np.zeros((8, 8), np.float32), nonlinearity="relu")[1]
assert (last == 0).all(), "1e-39 is a denormal and is flushed"
denormals = np.full(1 << 16, 1e-39, np.float32)
assert (denormals * np.float32(0.5) != 0).all(), "the calling thread computes denormals again"
if "torch" in sys.modules:
    assert (torch.full((1 << 22,), 1e-39) * 0.5 != 0).all(), "and so do torch's threads"
"""
    run_python(CALL + torch + source)


@engine
@pytest.mark.parametrize("torch", ["", USE_TORCH])
def test_python_threads_may_call_at_the_same_time(run_python, torch: str) -> None:
    if torch:
        pytest.importorskip("torch")
    source = """
from concurrent.futures import ThreadPoolExecutor
first = call()
with ThreadPoolExecutor(6) as callers:
    assert {future.result() for future in [callers.submit(call) for _ in range(300)]} == {first}
"""
    run_python(CALL + torch + source)


@engine
def test_torch_may_arrive_while_others_call(run_python) -> None:
    pytest.importorskip("torch")
    source = """
from concurrent.futures import ThreadPoolExecutor
first = call()
with ThreadPoolExecutor(3) as callers:
    calls = [callers.submit(call) for _ in range(400)]
    import torch
    calls += [callers.submit(call) for _ in range(400)]
    assert {future.result() for future in calls} == {first}
assert library.info().pool == "torch"
"""
    run_python(CALL + source)


@engine
def test_a_process_ends_while_a_thread_still_calls(run_python) -> None:
    source = """
import threading
def forever():
    while True:
        call()
threading.Thread(target=forever, daemon=True).start()
call()
print("end")
"""
    done = run_python(CALL + source, UNROLLED_THREADS="3")
    assert (done.stdout, done.stderr) == ("end\n", "")


GROUPS = {
    "no groups": ({}, None),
    "version 2, no limit": ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
    "version 2": ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "100000 100000\n"}, 1),
    "version 2, of a group around": (
        {"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/cpu.max": "50000 100000\n"},
        1,
    ),
    "version 1": (
        {
            "proc/self/cgroup": "3:memory:/m\n2:cpu,cpuacct:/a\n0::/\n",
            "sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": "70000\n",
            "sys/fs/cgroup/cpu/a/cpu.cfs_period_us": "100000\n",
        },
        1,
    ),
    "version 1, no limit": (
        {
            "proc/self/cgroup": "2:cpu,cpuacct:/\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        },
        None,
    ),
}


@pytest.mark.parametrize("name", GROUPS)
def test_quotas_of_control_groups_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    files, expected = GROUPS[name]
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    assert library.usable_cores(tmp_path) == (expected or 6)


def test_a_share_of_a_core_counts_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/\n")
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    for quota, cores in [(250000, 3), (200000, 2), (1000, 1), (900000, 6)]:
        (tmp_path / "sys/fs/cgroup/cpu.max").write_text(f"{quota} 100000\n")
        assert library.usable_cores(tmp_path) == cores


def test_torch_gives_every_range_a_thread_of_its_own_at_the_same_time(run_python) -> None:
    """What the kernels rely on when they work on torch's threads; nested calls are one range."""
    pytest.importorskip("torch")
    source = """
import ctypes, threading
from pathlib import Path
import torch
torch.set_num_threads(3)
cpu = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "{torch_name}"))
Range = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)
cpu.torch_parallel_for.argtypes = [ctypes.c_int64] * 3 + [Range, ctypes.c_void_p]
meeting, threads, inner = threading.Barrier(3), set(), []
@Range
def nested(begin, end, _):
    inner.append((begin, end, threading.get_ident()))
@Range
def outer(begin, end, _):
    meeting.wait(timeout=60)
    threads.add(threading.get_ident())
    cpu.torch_parallel_for(0, 9, 1, nested, None)
assert cpu.torch_parallel_for(0, 3, 1, outer, None) == 0
assert len(threads) == 3 and not meeting.broken
assert sorted(inner) == sorted((0, 9, thread) for thread in threads)
"""
    run_python(source.replace("{torch_name}", library._TORCH_NAME))
