"""The errors of this package, as one tree.

    UnrolledError               anything that goes wrong on purpose; its text is one helpful sentence or two
    ├── UsageError              asked wrongly: the command line exits with 2, the server answers 400
    │   ├── UnknownNameError    no such cell, lesson, dataset, model ...; names the nearest one
    │   ├── ShapeError          an array of the wrong shape or type
    │   ├── DataError           a file or a row that cannot be used; names file, row and remedy
    │   ├── BundleError         a trained model that cannot be loaded
    │   └── MissingExtraError   an optional package is not installed; names the command that installs it
    ├── TrainingError           training cannot go on (for example the loss is not a number)
    ├── DownloadError           the network failed, or sent something else than expected
    └── EngineError             the compiled engine refused a call or is broken

Every text says what is wrong, which value, what was expected and what to do. The same text is shown in
Python, on the command line and in the server's JSON.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from types import ModuleType


class UnrolledError(Exception):
    """Root of the tree."""


class UsageError(UnrolledError, ValueError):
    """The caller asked for something that cannot be done as asked."""


class UnknownNameError(UsageError, LookupError):
    """There is no thing of that kind with that name.

    `kind` is the singular noun shown to the reader ("cell"), `name` what was asked for, `known` what exists.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=1)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        super().__init__(f"There is no {kind} called '{name}'.{hint} Known: {', '.join(names) or 'none'}.")


class ShapeError(UsageError):
    """An array does not have the shape or the type that was expected."""


class DataError(UsageError):
    """A file, or a row of it, cannot be used."""


class BundleError(UsageError):
    """A folder is not a model that this version can load."""


class MissingExtraError(UsageError, ImportError):
    """An optional package is missing; `extra` is the name of the group that brings it."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        pinned = " -c constraints.txt" if extra in ("train", "timm") else ""
        super().__init__(
            f"{purpose} needs the package '{package}', which is not installed. "
            f'Install it with: pip install "unrolled[{extra}]"{pinned}'
        )


class TrainingError(UnrolledError):
    """Training cannot go on."""


class DownloadError(UnrolledError):
    """A download failed or delivered something unexpected."""


class EngineError(UnrolledError):
    """The compiled engine refused a call."""


def need(package: str, extra: str, purpose: str) -> ModuleType:
    """Import `package`, or raise the MissingExtraError that tells how to install it."""
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name and not package.startswith(error.name):
            raise
        raise MissingExtraError(package.partition(".")[0], extra, purpose) from error
