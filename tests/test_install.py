"""What an installation brings: the wheel, its fallback without a compiler, and how the engine is chosen."""

from __future__ import annotations

import email.parser
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from unrolled.errors import UsageError
from unrolled.kernels import library

ROOT = Path(__file__).parents[1]
engine = pytest.mark.skipif(not library.info().available, reason="there is no engine here")
SMALL = """
import numpy as np
from unrolled import kernels
from unrolled.kernels import library
def call():
    return kernels.elman(np.ones((2, 3, 4), np.float32), np.ones((5, 4), np.float32), np.eye(5, dtype=np.float32))
"""


@pytest.fixture(scope="module")
def wheel() -> Path:
    """The wheel that scripts/test built."""
    if "UNROLLED_TEST_WHEEL" not in os.environ:
        pytest.skip("UNROLLED_TEST_WHEEL is not set; scripts/test builds a wheel and sets it")
    return Path(os.environ["UNROLLED_TEST_WHEEL"])


@pytest.fixture(scope="module")
def wheel_without_compiler(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that comes out where no compiler works."""
    pytest.importorskip("scikit_build_core")
    if not (ROOT / "CMakeLists.txt").exists():
        pytest.skip("there is no source tree here")
    folder = tmp_path_factory.mktemp("fallback")
    broken = {"CC": "/nonexistent/cc", "CXX": "/nonexistent/c++"}
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    here = [f"--config-settings=build-dir={folder / 'build'}", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run([*pip, *here], env={**os.environ, **broken}, check=True, timeout=300)
    return next(folder.glob("*.whl"))


def names(wheel: Path) -> list[str]:
    return zipfile.ZipFile(wheel).namelist()


def requirements(wheel: Path) -> tuple[set[str], set[str]]:
    """Names that the wheel always asks for, and those that it asks for in an extra."""
    path = next(name for name in names(wheel) if name.endswith(".dist-info/METADATA"))
    fields = (
        email.parser.Parser().parsestr(zipfile.ZipFile(wheel).read(path).decode()).get_all("Requires-Dist")
        or []
    )
    package = {field: re.split(r"[^\w.-]", field)[0] for field in fields}
    extras = {field for field in fields if "extra ==" in field}
    return {package[field] for field in fields if field not in extras}, {package[field] for field in extras}


def test_one_wheel_serves_every_python(wheel: Path) -> None:
    assert re.fullmatch(r"unrolled-[\d.]+-py3-none-(?!any)\w+\.whl", wheel.name)
    assert [name for name in names(wheel) if re.search(r"\.(so|dylib|dll)$", name)] == [
        f"unrolled/kernels/{library._OWN_NAME}"
    ]


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in names(wheel)}
    assert {re.sub(r"-.*\.", ".", top) for top in tops} == {"unrolled", "unrolled.dist-info"}
    models = {"unrolled/models/reviews/weights.safetensors", "unrolled/models/photos/encoder.onnx"}
    assert {"unrolled/py.typed", *models} <= {*names(wheel)}


def test_the_wheel_brings_four_packages_and_no_torch(wheel: Path) -> None:
    always, extras = requirements(wheel)
    assert always == {"numpy", "safetensors", "typer", "rich", "tomli"}
    assert {"torch", "scikit-learn", "matplotlib", "pyarrow", "openpyxl", "onnxruntime", "fastapi"} <= extras


def test_an_empty_environment_answers_offline(wheel: Path, tmp_path: Path) -> None:
    """Command one of the README, as a newcomer meets it."""
    python = tmp_path / "new" / ("Scripts" if os.name == "nt" else "bin") / "python"
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "new"], check=True)
    installed = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", wheel],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if installed.returncode and "No matching distribution" in installed.stderr:
        pytest.skip("pip reaches no index here")
    assert installed.returncode == 0, installed.stderr
    review = "This film was just brilliant"
    for command in ([python.with_name("unrolled")], [python, "-m", "unrolled"]):
        answer = subprocess.run(
            [*command, "sentiment", review],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            timeout=60,
            check=False,
        )
        assert answer.returncode == 0, answer.stderr
        assert "positive" in answer.stdout.lower()


def test_without_a_compiler_the_wheel_is_plain(wheel_without_compiler: Path) -> None:
    assert wheel_without_compiler.name.endswith("-py3-none-any.whl")
    assert not [name for name in names(wheel_without_compiler) if re.search(r"\.(so|dylib|dll|cpp)$", name)]
    assert "unrolled/kernels/library.py" in names(wheel_without_compiler)


def test_without_a_compiler_numpy_serves_and_says_so_once(
    wheel_without_compiler: Path, tmp_path: Path, run_python
) -> None:
    zipfile.ZipFile(wheel_without_compiler).extractall(tmp_path)
    source = """
information = library.info()
assert (information.available, information.isa) == (False, "numpy")
assert call()[0].shape == call()[0].shape == (2, 3, 5)
print(information.reason)
"""
    done = run_python(SMALL + source, PYTHONPATH=str(tmp_path), UNROLLED_ENGINE=None)
    reason = done.stdout.strip()
    assert re.fullmatch(r"this installation has no compiled engine, .* Install a compiler .* again\.", reason)
    assert done.stderr == f"unrolled computes with NumPy, many times slower than its engine: {reason}\n"


@engine
def test_the_engine_can_be_switched_off(run_python) -> None:
    source = SMALL + "call(); call(); print(library.info().reason)"
    done = run_python(source, UNROLLED_ENGINE="off")
    assert done.stdout == "UNROLLED_ENGINE is 'off'.\n"
    assert done.stderr.count("UNROLLED_ENGINE is 'off'") == 1


def test_a_switch_that_is_neither_on_nor_off_is_refused(run_python) -> None:
    done = run_python(SMALL + "print(library.info().reason); call()", UNROLLED_ENGINE="no", status=1)
    assert done.stdout == "UNROLLED_ENGINE is 'no'; it must be 'on' or 'off'.\n"
    assert "UsageError: UNROLLED_ENGINE is 'no'; it must be 'on' or 'off'." in done.stderr


@engine
def test_asking_what_runs_says_nothing_and_starts_nothing(run_python) -> None:
    assert run_python(SMALL + "library.info()", UNROLLED_ENGINE="off").stderr == ""


@engine
@pytest.mark.parametrize("isa", library.isas())
def test_the_instruction_set_can_be_chosen(run_python, isa: str) -> None:
    source = SMALL + "call(); print(library.info().isa)"
    assert run_python(source, UNROLLED_ISA=isa).stdout == f"{isa}\n"


@engine
def test_the_best_instruction_set_is_the_default(run_python) -> None:
    assert (
        run_python(SMALL + "print(library.info().isa)", UNROLLED_ISA=None).stdout == f"{library.isas()[0]}\n"
    )


@engine
def test_an_instruction_set_that_is_missing_is_refused(run_python) -> None:
    done = run_python(SMALL + "print(library.info().reason); call()", UNROLLED_ISA="avx10", status=1)
    offered = ", ".join(library.isas())
    sentence = f"UNROLLED_ISA is 'avx10', which this processor does not run. It runs: {offered}."
    assert done.stdout == f"{sentence}\n"
    assert f"UsageError: {sentence}" in done.stderr


@engine
def test_an_older_processor_gets_what_it_runs(tmp_path: Path) -> None:
    """The whole package on an emulated processor without AVX: nothing newer may be executed."""
    emulator = shutil.which("qemu-x86_64")
    if emulator is None or "avx2" not in library.isas():
        pytest.skip("qemu-x86_64 is not installed, or this is another kind of processor")
    source = "import ctypes, sys\nl = ctypes.CDLL(sys.argv[1])\nl.unrolled_isas.restype = ctypes.c_char_p\n"
    source += "print(l.unrolled_isas().decode(), l.unrolled_use_isa(b'avx2'))"
    for processor, expected in [("Nehalem", "baseline 1\n"), ("Haswell-noTSX", "avx2 baseline 0\n")]:
        python = [emulator, "-cpu", processor, sys.executable, "-I", "-S"]
        path = Path(library.__file__).with_name(library._OWN_NAME)
        done = subprocess.run(
            [*python, "-c", source, path], capture_output=True, text=True, timeout=120, check=True
        )
        assert done.stdout == expected


@engine
def test_choosing_in_the_program_is_checked_too() -> None:
    with pytest.raises(
        UsageError, match=r"isa is 'mmx', which this processor does not run\. It runs: .*baseline\."
    ):
        library.set_isa("mmx")
    best = library.isas()[0]
    for isa in [*library.isas(), best]:
        library.set_isa(isa)
        assert library.info().isa == isa


def test_a_library_of_another_machine_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / library._OWN_NAME
    broken.write_bytes(b"not a library")
    monkeypatch.setattr(library, "__file__", str(tmp_path / "library.py"))
    monkeypatch.setattr(library, "_library", None)
    monkeypatch.setattr(library, "_reason", None)
    monkeypatch.delenv("UNROLLED_ENGINE", raising=False)
    reason = library.info().reason
    assert reason.startswith("the compiled engine does not load on this machine (")
    assert reason.endswith("). Install unrolled again.")
