"""`info` and `list`: what is here."""

from __future__ import annotations

import json
import re
from typing import Annotated

import typer

from .. import shelf
from ..errors import UnknownNameError
from . import Json, examples

SHELVES = ("bench", "cells", "datasets", "exports", "lessons", "models", "tasks")


def add(app: typer.Typer) -> None:
    """Add both verbs."""
    app.command(epilog=examples("unrolled info", "unrolled info --json"))(info)
    app.command("list", epilog=examples("unrolled list", "unrolled list lessons"))(list_)


def info(
    as_json: Json = False,
) -> None:
    """Version, engine, installed extras, folders."""
    found = _facts()
    if as_json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:<10}{_in_words(value)}")


def list_(
    kind: Annotated[
        str | None, typer.Argument(help=f"One of: {', '.join(SHELVES)}.", show_default="all")
    ] = None,
) -> None:
    """Names of the things that exist, by kind; of one kind, one name a line."""
    if kind is None:
        for each in SHELVES:
            print(f"{each:<10}{'  '.join(_names(each)) or 'none'}")
        return
    if kind not in SHELVES:
        raise UnknownNameError("list", kind, SHELVES)
    for name in _names(kind):
        print(name)


def _names(kind: str) -> list[str]:
    if kind == "models":
        from .. import bundle

        return bundle.names()
    return [name for name in shelf.names(kind) if (kind, name) != ("datasets", "files")]


def _facts() -> dict[str, object]:
    import platform

    from .. import bundle, kernels
    from ..data import fetch

    engine = kernels.info()
    return {
        "version": _version("unrolled") or "unknown: run from source, not installed",
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "engine": engine.isa if engine.available else f"not available: {engine.reason}",
        "threads": engine.threads,
        "pool": engine.pool,
        "extras": _extras(),
        "models": bundle.names(),
        "cache": str(fetch.cache_folder()),
    }


def _in_words(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {'yes' if held else 'no'}" for name, held in value.items()) or "unknown"
    return (", ".join(value) or "none") if isinstance(value, list) else str(value)


def _extras() -> dict[str, bool]:
    """Each extra of this installation, and whether everything it brings is there; empty when run from source."""
    from importlib import metadata

    try:
        required = metadata.requires("unrolled") or []
    except metadata.PackageNotFoundError:
        return {}
    found: dict[str, bool] = {}
    for line in required:
        name, extra = re.match(r"[\w.-]+", line), re.search(r"extra == ['\"](\w+)['\"]", line)
        if name and extra and name.group() != "unrolled":
            found[extra.group(1)] = found.get(extra.group(1), True) and _version(name.group()) is not None
    return found


def _version(distribution: str) -> str | None:
    from importlib import metadata

    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
