"""Captions to look at: where the network looked for each word, and a gallery of the best, the worst and others."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import UnrolledError, need
from . import html

TILE, COLUMNS, LINE = 180, 6, 22
SHOWN, SIDE = 12, 260


def attention(path: Path, pixels: np.ndarray, words: Sequence[str], weights: np.ndarray) -> Path:
    """For each word the picture, bright where the network looked; written as a PNG, returns `path`.

    Args:
        path: where to write.
        pixels: (height, width, 3) uint8.
        words: T words.
        weights: (T, rows, columns) of the map of regions, each summing to 1.
    """
    image = need("PIL.Image", "caption", "Drawing pictures")
    drawing = need("PIL.ImageDraw", "caption", "Drawing pictures")
    picture = image.fromarray(pixels).resize((TILE, TILE))
    tiles, rows = len(words) + 1, -(-(len(words) + 1) // COLUMNS)
    sheet = image.new("RGB", (min(tiles, COLUMNS) * TILE, rows * (TILE + LINE)), "white")
    pen = drawing.Draw(sheet)
    for i, word in enumerate(["", *words]):
        at = (i % COLUMNS * TILE, i // COLUMNS * (TILE + LINE))
        tile = picture
        if i:
            share = weights[i - 1] / weights[i - 1].max()
            mask = image.fromarray((255 * (0.15 + 0.85 * share)).astype(np.uint8)).resize((TILE, TILE))
            tile = image.composite(picture, image.new("RGB", picture.size), mask)
        sheet.paste(tile, at)
        pen.text((at[0] + 6, at[1] + TILE + 4), word, fill="black")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    sheet.save(part, "PNG")
    os.replace(part, path)
    return path


@dataclass(frozen=True)
class Shown:
    """A picture of the gallery: how to read it, its name, caption, confidence per word, references, CIDEr x 100."""

    read: Callable[[], bytes]
    name: str
    caption: str
    confidence: float
    references: Sequence[str]
    cider: float


def gallery(path: Path, figures: Mapping[str, Mapping[str, float]], shown: Sequence[Shown]) -> Path:
    """A page with the figures, and the best, the worst and random pictures by CIDEr; returns `path`."""
    ranked = sorted(shown, key=lambda one: -one.cider)
    some = np.random.default_rng(0).permutation(len(shown))[:SHOWN].tolist()
    names = [*next(iter(figures.values()))]
    rows = [[kind, *(f"{one[name]:.1f}" for name in names)] for kind, one in figures.items() if one]
    parts = {"The best": ranked[:SHOWN], "The worst": ranked[::-1][:SHOWN], "At random": [shown[i] for i in some]}
    sections = [("Figures, x 100", [html.table(("", *names), rows)])]
    sections += [(name, [_table(group)]) for name, group in parts.items()]
    return html.write(path, f"Captions of {len(shown):,} pictures", sections)


def _table(group: Sequence[Shown]) -> html.Markup:
    rows = []
    for one in group:
        said = html.Markup("<br>".join(html.escape(text) for text in one.references))
        words = html.Markup(f"<b>{html.escape(one.caption)}</b><br>confidence per word {one.confidence:.2f}")
        rows.append((_thumbnail(one), words, said, f"{one.cider:.0f}"))
    return html.table(("picture", "caption", "what people said", "CIDEr"), rows)


def _thumbnail(one: Shown) -> html.Markup:
    """The picture within the page itself, small; where it cannot be read, its name."""
    image = need("PIL.Image", "caption", "Drawing pictures")
    try:
        with image.open(io.BytesIO(one.read())) as opened:
            opened.draft("RGB", (SIDE, SIDE))
            small = opened.convert("RGB")
    except (UnrolledError, OSError, SyntaxError, ValueError):
        return html.Markup(html.escape(one.name))
    small.thumbnail((SIDE, SIDE))
    content = io.BytesIO()
    small.save(content, "JPEG", quality=70)
    data = base64.b64encode(content.getvalue()).decode()
    return html.Markup(f'<img src="data:image/jpeg;base64,{data}" alt="{html.escape(one.name)}">')
