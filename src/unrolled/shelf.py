"""A shelf is a folder whose file names are the names that users type.

A new thing is one new file; there is no table to edit. `names` lists a shelf without importing what stands on
it, `find` imports one file and returns the one class in it that keeps the shelf's contract.
"""

from __future__ import annotations

import importlib
import pkgutil
from abc import ABCMeta
from pathlib import Path
from typing import TypeVar

from .errors import UnknownNameError

Contract = TypeVar("Contract")


def names(shelf: str) -> list[str]:
    """The things on `shelf` (a folder of this package, for example "cells"), sorted; imports nothing."""
    folder = Path(__file__).parent / shelf
    return sorted(m.name.replace("_", "-") for m in pkgutil.iter_modules([str(folder)]) if m.name[0] != "_")


def find(shelf: str, name: str, contract: type[Contract], *, kind: str = "") -> type[Contract]:
    """The class called `name` on `shelf`.

    Args:
        shelf: folder of this package, for example "cells".
        name: file name without its ending; "-" and "_" are the same.
        contract: the abstract class declared in the shelf's `__init__`.
        kind: the noun of the error message; by default the shelf's name without its plural s.

    Raises:
        UnknownNameError: no such file; the message names the nearest one.
    """
    known = names(shelf)
    wanted = name.strip().lower().replace("_", "-")
    if wanted not in known:
        raise UnknownNameError(kind or shelf.removesuffix("s"), name, known)
    module = importlib.import_module(f"{__package__}.{shelf}.{wanted.replace('-', '_')}")
    found = [
        value
        for value in vars(module).values()
        # ABCMeta, not type: before Python 3.11 a list[int] in the file would pass for a class.
        if isinstance(value, ABCMeta) and issubclass(value, contract) and value.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise TypeError(f"{module.__name__} must define exactly one {contract.__name__}, found {len(found)}.")
    return found[0]
