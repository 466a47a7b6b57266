"""The package's one list of names: each is there, stays the same, and is never hidden by a module."""

from __future__ import annotations

import ast
import types
from pathlib import Path

import pytest

import unrolled

NAMES = sorted(unrolled.__all__)
TORCH = ["nn", "patch_torch", "recipe", "train"]
PATCH = ["patch", *unrolled._ROOMS["patch"]]  # they come from one file, and torch registers operators once a process
ONE_BY_ONE = """
import importlib, pkgutil, sys, types

def fresh():
    for module in [m for m in sys.modules if m.partition(".")[0] == "unrolled"]:
        del sys.modules[module]
    return importlib.import_module("unrolled")

for name in sys.argv[1:]:
    unrolled = fresh()
    rooms = [module.name for module in pkgutil.iter_modules(unrolled.__path__)]
    first = getattr(unrolled, name)
    for module in {"bundle", "errors", "evaluate", "explain", "network", "report", "sequential", name} & {*rooms}:
        importlib.import_module(f"unrolled.{module}")
    scope = {}
    exec(f"from unrolled import {name}", scope)
    assert first == getattr(unrolled, name) == scope[name], name
    assert isinstance(first, types.ModuleType) == (name in rooms), f"{name} is also the name of a room"
    if callable(first):
        assert first.__module__.startswith("unrolled."), name
print("done")
"""


@pytest.mark.parametrize(
    "names", [[n for n in NAMES if n not in TORCH + PATCH], *([n] for n in TORCH)], ids=["base", *TORCH]
)
def test_a_name_is_the_same_twice_and_after_its_module_was_imported(names, run_python):
    if names[0] in TORCH:
        pytest.importorskip("torch", reason="torch is not installed (extra 'train')")
    assert run_python(ONE_BY_ONE, *names).stdout.strip() == "done"


def test_importing_the_package_loads_neither_torch_nor_numpy(run_python):
    source = (
        "import sys, unrolled; print([m for m in ('torch', 'numpy', 'typer', 'rich') if m in sys.modules])"
    )
    assert run_python(source).stdout.strip() == "[]"


def test_predicting_and_describing_a_network_load_no_torch(run_python):
    source = "import sys; from unrolled import Sequential, evaluate, load; print('torch' in sys.modules)"
    assert run_python(source).stdout.strip() == "False"


def test_what_editors_see_is_what_is_there():
    tree = ast.parse(Path(unrolled.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.asname for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    } | {"load"}
    modules = {name for name in NAMES if isinstance(getattr(unrolled, name, None), types.ModuleType)}
    assert seen == set(NAMES) - modules - {"__version__"}


def test_dir_and_star_give_every_name():
    assert set(NAMES) <= set(dir(unrolled))
    scope: dict[str, object] = {}
    exec("from unrolled import *", scope)
    assert set(NAMES) <= set(scope)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(AttributeError, match=r"module 'unrolled' has no attribute 'lode'\. Public: .*load"):
        _ = unrolled.lode


def test_the_version_is_the_installed_one():
    metadata = pytest.importorskip("importlib.metadata")
    try:
        installed = metadata.version("unrolled")
    except metadata.PackageNotFoundError:
        pytest.skip("unrolled runs from source here, not installed")
    assert unrolled.__version__ == installed
