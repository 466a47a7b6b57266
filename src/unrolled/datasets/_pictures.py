"""Pictures with their captions, read from tables and from COCO's JSON; what every such dataset shares."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..data import Rows, images, open_rows
from ..data.images import Picture
from ..errors import DataError
from . import Examples

IMAGE = ("image", "file_name", "filename", "file", "image_name", "path")
CAPTION = ("caption", "text", "sentence", "description", "comment")
TABLES = ("captions.csv", "captions.jsonl", "captions.json", "captions.txt", "metadata.jsonl", "metadata.csv")
FOLDERS = ("images", "Images", "pictures")


class Said(NamedTuple):
    """A caption as it stands in its source.

    `problem` is what is wrong with its row, as the end of a sentence.
    """

    place: str
    image: str
    caption: str
    problem: str = ""


def captions(
    path: str | Path, *, image_column: str | None = None, caption_column: str | None = None,
    images_folder: str | Path | None = None, skip_bad: bool = False,
) -> Examples:  # fmt: skip
    """Anybody's pictures with captions: a row for each caption, its picture as its group.

    Args:
        path: a table (CSV, TSV, JSON lines, Parquet), COCO's JSON of captions, or a folder that holds one of them under
            the name captions.csv, captions.jsonl, captions.json, captions.txt, metadata.jsonl or metadata.csv.
        image_column: column with the pictures' names, relative to the folder of the pictures; by default one of IMAGE.
        caption_column: column with the captions; by default one of CAPTION.
        images_folder: folder or tar archive of the pictures; by default the table's, or `images` in it.
        skip_bad: leave captions out that are empty or whose picture is missing, and count them.

    Raises:
        DataError: no such file or column, no caption left, or (unless `skip_bad`) one that cannot be used.
    """
    table = Path(path)
    if table.is_dir():
        table = next((table / name for name in TABLES if (table / name).is_file()), table)
        if table.is_dir():
            raise DataError(f"{path} holds no captions. Expected one of {', '.join(TABLES)} in it, or give the table.")
    where = Path(images_folder) if images_folder is not None else table.parent
    if not where.exists():
        raise DataError(f"There is no folder or archive {where} of pictures. Give it: --images FOLDER.")
    coco = _coco(table)
    found = coco if coco is not None else rows(table, image_column, caption_column)
    return pictured(found, where, str(table), skip_bad=skip_bad)


def pictured(said: Iterable[Said], where: Path, name: str, *, skip_bad: bool = False) -> Examples:
    """Captions with their pictures, which lie in the folder or the archive `where`; `name` is that of the source."""
    known = images.find(where) if where.is_file() else {}
    texts, groups, pictures, skipped = [], [], [], 0
    for one in said:
        picture = known.get(Path(one.image).name) if known else _file(where, one.image)
        problem = one.problem or _problem(one, picture, where)
        if problem and not skip_bad:
            raise DataError(f"{one.place} {problem}. Correct it, or leave such captions out with --skip-bad.")
        skipped += bool(problem)
        if not problem:
            assert picture is not None
            texts.append(one.caption)
            groups.append(str(picture))
            pictures.append(picture)
    if not texts:
        raise DataError(f"{name} holds no caption that can be used ({skipped} left out); expected at least one.")
    note = f"{len(texts):,} captions of {len(set(groups)):,} pictures"
    return Examples(texts, None, groups, skipped, note, pictures)


def _file(where: Path, image: str) -> Picture | None:
    for folder in (where, *(where / name for name in FOLDERS)):
        if image and (folder / image).is_file():
            return Picture(folder / image, image)
    return None


def _problem(one: Said, picture: Picture | None, where: Path) -> str:
    if not one.caption.strip():
        return "has no caption"
    return f"names the picture '{one.image}', which is not in {where}" if picture is None else ""


def rows(table: Path, image_column: str | None = None, caption_column: str | None = None) -> Iterator[Said]:
    """The rows of a table of captions; columns as of `captions`."""
    with open_rows(table, kind="delimited" if table.suffix.lower() == ".txt" else None) as found:
        wanted = ((image_column, IMAGE, "--image-column"), (caption_column, CAPTION, "--caption-column"))
        image, caption = (_column(found, *one) for one in wanted)
        for row in found:
            yield Said(row.place, row.field(image).strip(), row.field(caption), row.problem)


def _column(table: Rows, given: str | None, known: tuple[str, ...], option: str) -> int:
    name = given or next((name for name in known if name in table.columns), None)
    if name is None:
        raise DataError(
            f"{table.name} has the columns {', '.join(table.columns)}; none is called {' or '.join(known[:2])}. "
            f"Name it: {option} NAME."
        )
    return table.column(name)


def _coco(table: Path) -> Iterator[Said] | None:
    """The captions in COCO's JSON, or None where `table` is something else."""
    if table.suffix.lower() != ".json":
        return None
    try:
        found = json.loads(table.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(found, dict) or not isinstance(found.get("annotations"), list):
        return None
    return _annotations(table, found)


def _annotations(table: Path, found: Mapping[str, Any]) -> Iterator[Said]:
    try:
        names = {image["id"]: str(image["file_name"]) for image in found["images"]}
        for i, one in enumerate(found["annotations"]):
            yield Said(f"{table}, annotation {i}", names.get(one["image_id"], ""), str(one["caption"]))
    except (KeyError, TypeError) as error:
        raise DataError(
            f"{table} is no COCO file of captions: {error} is missing. Expected images with id and file_name, "
            "annotations with image_id and caption."
        ) from error
