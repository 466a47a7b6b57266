"""What every test may use, and the line above the results that says what is tested."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from unrolled.kernels import library

RunPython = Callable[..., "subprocess.CompletedProcess[str]"]


def pytest_report_header() -> list[str]:
    """Say which package and which engine the results are about."""
    engine = library.info()
    runs_on = f"{engine.isa}, {engine.threads} threads" if engine.available else engine.reason
    return [
        f"unrolled: {Path(library.__file__).parents[1]}",
        f"engine: {runs_on}",
        f"UNROLLED_DATA: {os.environ.get('UNROLLED_DATA', 'not set, tests of real data are skipped')}",
    ]


def pytest_sessionstart() -> None:
    """End at once where the engine has to be there and is not: what passes on NumPy alone would prove little."""
    engine = library.info()
    if os.environ.get("UNROLLED_TEST_ENGINE") == "required" and not engine.available:
        pytest.exit(f"The engine is missing: {engine.reason}", returncode=1)


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers, the same in every run."""
    return np.random.default_rng(20)


@pytest.fixture(params=library.isas() or ["numpy"])
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each instruction set that this processor runs, in turn; "numpy" alone where the engine is missing."""
    before = library.info().isa
    if request.param != "numpy":
        library.set_isa(request.param)
    yield request.param
    if request.param != "numpy":
        library.set_isa(before)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real data that `UNROLLED_DATA` names; without it the test is skipped."""
    folder = os.environ.get("UNROLLED_DATA", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip(f"UNROLLED_DATA is {folder!r}, not a folder of real data")
    return Path(folder)


@pytest.fixture(scope="session")
def run_python() -> RunPython:
    """Run Python source in a process of its own: `run_python(source, UNROLLED_THREADS="2").stdout`.

    Its warnings are errors, as here. Keyword arguments are environment variables; None removes one. The exit
    status must be `status`.
    """

    def run(
        source: str, *arguments: str, status: int = 0, **environment: str | None
    ) -> subprocess.CompletedProcess[str]:
        changed = {**os.environ, "PYTHONPATH": str(Path(library.__file__).parents[2]), **environment}
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", source, *arguments],
            env={name: value for name, value in changed.items() if value is not None},
            capture_output=True, text=True, timeout=400, check=False,
        )  # fmt: skip
        assert done.returncode == status, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    return run


@pytest.fixture
def unpatched() -> Iterator[None]:
    """torch as it is, before the test and after it."""
    import unrolled

    unrolled.unpatch_torch()
    yield
    unrolled.unpatch_torch()
