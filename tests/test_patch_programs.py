"""Whole programs on the engine that nobody edited: the launcher, several processes, and processes that fork."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from unrolled import kernels  # noqa: E402
from unrolled.kernels import library  # noqa: E402

pytestmark = pytest.mark.skipif(not kernels.available(), reason="the compiled engine is missing")

TRAIN = """
import os, sys, torch
from torch import nn
import helper

if __name__ == "__main__":
    torch.manual_seed(0)
    model = nn.GRU(4, 8)
    many = "RANK" in os.environ
    if many:
        torch.distributed.init_process_group("gloo")
        model = nn.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    rows = slice(int(os.environ.get("RANK", 0)), None, int(os.environ.get("WORLD_SIZE", 1)))
    x = torch.randn(5, 6, 4)[:, rows]
    for _ in range(3):
        optimizer.zero_grad()
        model(x)[0].square().mean().backward()
        optimizer.step()
    size = sum(float(p.detach().square().sum()) for p in model.parameters())
    print(sys.argv[1:], __file__ == sys.argv[0], helper.NAME, size)
    if many:
        torch.distributed.destroy_process_group()
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    (tmp_path / "train.py").write_text(TRAIN)
    (tmp_path / "helper.py").write_text("NAME = 'helper'\n")
    return tmp_path / "train.py"


def run(*arguments: object, status: int = 0, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], capture_output=True, text=True, timeout=300, check=False, cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(library.__file__).parents[2]), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == status, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def numbers(said: str) -> list[float]:
    return [float(line.split()[-1]) for line in said.splitlines() if "helper" in line]


def test_a_program_runs_as_by_python_and_is_reported_at_its_end(program):
    plain = run(program, "--epochs", "3")
    patched = run("-m", "unrolled.patch", program, "--epochs", "3")
    module = run("-m", "unrolled.patch", "-m", "train", "--epochs", "3", folder=program.parent)
    for done in (patched, module):
        assert done.stdout.startswith("['--epochs', '3'] True helper ")
        assert numbers(done.stdout) == pytest.approx(numbers(plain.stdout), rel=1e-5)
        assert done.stderr.endswith("unrolled.patch, calls:\n        3  gru.input: on the engine\n")
    assert plain.stderr == ""


def test_processes_of_torchrun_are_patched(program):
    launch = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", 29517)
    patched = run(*launch, "-m", "unrolled.patch", program)
    found = numbers(patched.stdout)
    assert len(found) == 2
    assert found == pytest.approx(2 * numbers(run(program).stdout), rel=1e-4)
    assert patched.stderr.count("        3  gru.input: on the engine") == 2


@pytest.mark.parametrize(
    ("source", "status", "said"),
    [
        ("import sys; sys.exit(7)", 7, "unrolled.patch, calls:"),
        ("1 / 0", 1, "ZeroDivisionError"),
        (
            "import pickle, __main__\nclass A: pass\nassert type(pickle.loads(pickle.dumps(A()))) is A",
            0,
            "calls:",
        ),
    ],
    ids=["exit", "error", "main"],
)
def test_a_program_ends_as_it_would(tmp_path, source, status, said):
    (tmp_path / "program.py").write_text(source)
    assert said in run("-m", "unrolled.patch", tmp_path / "program.py", status=status).stderr


@pytest.mark.parametrize("given", [[], ["-m"]])
def test_a_program_has_to_be_named(given):
    said = "Name the program: python -m unrolled.patch script.py ARGUMENTS, or -m module ARGUMENTS.\n"
    assert run("-m", "unrolled.patch", *given, status=2).stderr == said


FORK = """
import os, sys, torch, unrolled
torch.set_num_threads(2)
unrolled.patch_torch()
torch.manual_seed(0)
layer, x = torch.nn.LSTM(16, 32), torch.randn(20, 64, 16)

def both():
    layer.zero_grad()
    output = layer(x)[0]
    output.square().sum().backward()
    return [output.detach(), *(p.grad.clone() for p in layer.parameters())]

before = both()
if child := os.fork():
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert all(torch.equal(one, other) for one, other in zip(both(), before))
    print(unrolled.patch_report().native["lstm.input"])
else:
    torch.set_num_threads(1)  # torch's own threads do not outlive a fork
    same = all(torch.equal(one, other) for one, other in zip(both(), before))
    os._exit(0 if same and unrolled.torch_is_patched() else 1)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_fork_after_use_computes_the_same():
    assert run("-c", FORK).stdout == "2\n"
