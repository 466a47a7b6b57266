"""The floors of the house: a room imports only rooms that stand lower, and things on a shelf do not know each other.

The source is read, not run, so imports inside functions and under TYPE_CHECKING count like all others.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path((importlib.util.find_spec("unrolled").submodule_search_locations or [""])[0])
DOORS = 10
FLOORS = {
    "errors": -1,  # the ground: its neighbours on floor 0 raise them too
    "config": 0, "shelf": 0,
    "kernels": 1,
    "cells": 2, "data": 2, "drawing": 2, "linear": 2, "metrics": 2, "network": 2, "ngram": 2, "optimizers": 2,
    "layers": 3, "runtime": 3, "nn": 3, "patch": 3, "datasets": 3, "encoder": 3, "decoding": 3,
    "tasks": 4,
    "bundle": 5, "models": 5,
    "evaluate": 6, "explain": 6, "exports": 6,
    "report": 7, "train": 7, "distil": 7,
    "recipe": 8, "sequential": 8, "estimators": 8, "timeseries": 8, "language": 8, "captions": 8,
    "lessons": 9, "bench": 9,
    "__init__": DOORS, "__main__": DOORS, "cli": DOORS, "server": DOORS, "page": DOORS,
}  # fmt: skip
SHELVES = {"cells", "layers", "tasks", "datasets", "exports", "lessons", "bench"}
STANDARD_LIBRARY = {*sys.stdlib_module_names, "tomllib", "tomli"}  # tomllib is tomli before Python 3.11
NETWORK = {"urllib.request", "http.client", "socket", "ssl", "ftplib", "requests", "httpx"}
TORCH_ROOMS = {
    "cells", "layers", "nn", "patch", "optimizers", "train", "distil", "kernels/torch_ops.py",
    "kernels/recurrent.py", "kernels/recurrent_checks.py", "kernels/recurrent_compile.py", "kernels/recurrent_ops.py",
    "kernels/recurrent_torch.py", "kernels/scan_ops.py",
    "language/learn.py", "language/adapt.py", "captions/learn.py", "captions/make.py", "captions/see.py",
}  # fmt: skip


def imports(package: Path, file: Path) -> Iterator[str]:
    """Every module that `file` names, as a dotted path; names inside the package begin with a dot."""
    own = ["", *file.relative_to(package).parts[:-1]]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (_inside(package, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = [*own[: len(own) - node.level + 1]] if node.level else []
            path = [*base, *(node.module.split(".") if node.module else [])]
            yield from (_inside(package, ".".join([*path, alias.name])) for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            names = [argument.value for argument in node.args[:1] if isinstance(argument, ast.Constant)]
            yield from (_inside(package, str(name)) for name in names)


def _inside(package: Path, name: str) -> str:
    own = name == package.name or name.startswith(f"{package.name}.")
    return "." + name[len(package.name) + 1 :] if own else name


def room_of(package: Path, dotted: str) -> str:
    """The room of a dotted path such as ".data.text"; a name that is neither file nor folder is a door's."""
    name = dotted.split(".")[1]
    there = name and ((package / f"{name}.py").exists() or (package / name).is_dir())
    return name if there else "__init__"


def violations(package: Path) -> Iterator[str]:
    for file in sorted(package.rglob("*.py")):
        here = file.relative_to(package)
        room = here.parts[0].removesuffix(".py")
        if room not in FLOORS:
            yield f"{room} stands on no floor: add it to FLOORS and to docs/design.md"
            continue
        for dotted in imports(package, file):
            yield from _broken_by(package, here, room, dotted)


def _broken_by(package: Path, here: Path, room: str, dotted: str) -> Iterator[str]:
    floor = FLOORS[room]
    if not dotted.startswith("."):
        if floor <= 0 and dotted.split(".")[0] not in STANDARD_LIBRARY:
            yield f"{here} (floor {floor}) may not import {dotted}: it knows the standard library only"
        reaches_out = any(f"{dotted}.".startswith(f"{name}.") for name in NETWORK)
        if reaches_out and here.as_posix() != "data/fetch.py":
            yield f"{here} may not import {dotted}: only data/fetch.py touches the network"
        return
    other = room_of(package, dotted)
    if other == room:
        yield from _sibling(package, here, dotted)
    elif FLOORS.get(other, DOORS) >= floor and not (floor == DOORS and other != "__init__"):
        yield f"{room} (floor {floor}) may not import {other} (floor {FLOORS.get(other, DOORS)})"


def _sibling(package: Path, here: Path, dotted: str) -> Iterator[str]:
    parts = dotted.split(".")[1:]
    if (
        here.parts[0] not in SHELVES
        or here.name == "__init__.py"
        or len(parts) < 2
        or parts[1].startswith("_")
    ):
        return  # what begins with "_" does not stand on the shelf: it helps those that do
    sibling = package / parts[0] / parts[1]
    exists = sibling.with_suffix(".py").exists() or sibling.is_dir()
    if exists and sibling.with_suffix(".py") != package / here:
        yield f"{here} may not import {parts[1]} of its own shelf: things know only the shelf's __init__"


def circle(package: Path) -> list[str]:
    """Files of one folder that import each other in a circle; empty where there is none."""
    for folder in (path for path in package.iterdir() if (path / "__init__.py").exists()):
        names = {file.stem for file in folder.glob("*.py")} - {"__init__"}
        graph = {name: set(_siblings(package, folder / f"{name}.py", names)) for name in names}
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            return list(error.args[1])
    return []


def _siblings(package: Path, file: Path, names: set[str]) -> Iterator[str]:
    for dotted in imports(package, file):
        parts = dotted.split(".")
        if parts[:2] == ["", file.parent.name] and len(parts) > 2 and parts[2] in names:
            yield parts[2]


def eager_torch(package: Path) -> Iterator[str]:
    """Files outside the torch rooms that import torch when they are imported themselves."""
    for file in sorted(package.rglob("*.py")):
        here = file.relative_to(package)
        if {here.parts[0].removesuffix(".py"), here.as_posix()} & TORCH_ROOMS or "_programs" in here.parts:
            continue  # programs are started, never imported
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            yield from (f"{here} imports torch at its top" for name in names if name.split(".")[0] == "torch")


def test_every_room_imports_only_lower_rooms() -> None:
    assert list(violations(PACKAGE)) == []


def test_files_of_a_folder_stand_in_no_circle() -> None:
    assert circle(PACKAGE) == []


def test_only_torch_rooms_import_torch_at_their_top() -> None:
    assert list(eager_torch(PACKAGE)) == []


def house(folder: Path) -> Path:
    """An empty house with a few rooms."""
    package = folder / "unrolled"
    for room in ("cells", "data", "cli"):
        (package / room).mkdir(parents=True)
    for name in (
        "train.py",
        "errors.py",
        "cells/__init__.py",
        "cells/gru.py",
        "data/__init__.py",
        "cli/__init__.py",
    ):
        (package / name).touch()
    return package


PLANTED = [
    ("cells/lstm.py", "from ..train import fit", "cells (floor 2) may not import train (floor 7)"),
    (
        "cells/lstm.py",
        "def f():\n    import unrolled.train",
        "cells (floor 2) may not import train (floor 7)",
    ),
    ("cells/lstm.py", "from unrolled import train", "cells (floor 2) may not import train (floor 7)"),
    ("cells/lstm.py", "from unrolled import load", "cells (floor 2) may not import __init__ (floor 10)"),
    ("cells/lstm.py", "import unrolled", "cells (floor 2) may not import __init__ (floor 10)"),
    ("cells/lstm.py", "from .. import data", "cells (floor 2) may not import data (floor 2)"),
    ("cells/lstm.py", "from .gru import step", "cells/lstm.py may not import gru of its own shelf"),
    ("cells/lstm.py", "from . import gru", "cells/lstm.py may not import gru of its own shelf"),
    ("cells/gru.py", "import importlib\nimportlib.import_module('unrolled.train')", "may not import train"),
    ("cells/lstm.py", "import urllib.request", "only data/fetch.py touches the network"),
    ("train.py", "from .cli import table", "train (floor 7) may not import cli (floor 10)"),
    ("errors.py", "import numpy", "errors.py (floor -1) may not import numpy"),
    ("cellar.py", "", "cellar stands on no floor"),
]


@pytest.mark.parametrize(("path", "source", "expected"), PLANTED)
def test_a_planted_violation_is_found(tmp_path: Path, path: str, source: str, expected: str) -> None:
    package = house(tmp_path)
    (package / path).write_text(source)
    found = list(violations(package))
    assert len(found) == 1
    assert expected in found[0]


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("train.py", "from .cells import gru\nfrom .data import *\nimport numpy"),
        ("cells/__init__.py", "from . import gru\nfrom .gru import step"),
        ("cells/lstm.py", "from . import Cell\nfrom ..errors import UsageError"),
        ("server.py", "from .cli import table"),
        ("data/fetch.py", "import urllib.request"),
        ("data/fetch.py", "from .tables import read"),
        ("cells/lstm.py", "from ._gates import split"),
    ],
)
def test_what_is_allowed_is_not_reported(tmp_path: Path, path: str, source: str) -> None:
    package = house(tmp_path)
    (package / path).write_text(source)
    assert list(violations(package)) == []


def test_a_planted_circle_is_found(tmp_path: Path) -> None:
    package = house(tmp_path)
    (package / "data" / "text.py").write_text("from .tables import read")
    (package / "data" / "tables.py").write_text("import csv")
    assert circle(package) == []
    (package / "data" / "tables.py").write_text("def f():\n    from . import text")
    assert sorted(set(circle(package))) == ["tables", "text"]


def test_planted_torch_is_found(tmp_path: Path) -> None:
    package = tmp_path / "unrolled"
    (package / "cells").mkdir(parents=True)
    (package / "cells" / "lstm.py").write_text("import torch")
    (package / "metrics.py").write_text("from torch import nn")
    (package / "bundle.py").write_text("def f():\n    import torch")
    assert list(eager_torch(package)) == ["metrics.py imports torch at its top"]
