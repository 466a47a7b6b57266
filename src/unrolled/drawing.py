"""Pictures as SVG from the standard library and NumPy: shapes, value-coloured cells, networks, plots, heatmaps.

Positions and sizes are pixels from the upper left corner. Colours are close to those of Okabe and Ito (2008), which
any kind of colour vision can tell apart; lines of a plot differ by their dashes too. Arrow heads are shapes of
their own and indices are placed by `dy`, because viewers of SVG differ in what else they support.
"""

from __future__ import annotations

import math
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import numpy as np
from numpy.typing import ArrayLike

INK, QUIET, GRID, PAPER = "#22252a", "#62676f", "#dfe2e6", "#ffffff"
BLUE, ORANGE, GREEN, PURPLE, SKY, AMBER = "#0072b2", "#d55e00", "#00805c", "#b0558f", "#4a9fd0", "#c98a00"
STYLES = ((BLUE, ""), (ORANGE, "7 4"), (GREEN, "2 3"), (PURPLE, "10 3 2 3"), (SKY, "4 2"), (AMBER, "1 2"))
FONT = "DejaVu Sans, Verdana, Segoe UI, Helvetica, Arial, sans-serif"
NETWORK_LEGEND = "Neurons: orange above zero, blue below. Lines: weights, wider if larger, dashed below zero."
Point = tuple[float, float]


def shade(value: float, limit: float | None = 1.0) -> str:
    """The colour of a value: white at 0, orange at +limit, blue at -limit; grey where it is no number.

    With `limit` None the value is a share, from white at 0 to blue at 1.
    """
    if not math.isfinite(value):
        return GRID
    color = ORANGE if limit and value > 0 else BLUE
    share = abs(value) / limit if limit else max(value, 0.0)
    return "#" + "".join(f"{round(255 + (part - 255) * min(share, 1.0)):02x}" for part in _rgb(color))


def readable_on(color: str) -> str:
    """Ink or paper, whichever stands out more against `color` (its luma by ITU-R BT.601)."""
    return INK if np.dot(_rgb(color), (0.299, 0.587, 0.114)) > 140 else PAPER


def _rgb(color: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(color[1:]))


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _pairs(points: Sequence[Point], between: str = " ") -> str:
    return between.join(f"{_number(x)},{_number(y)}" for x, y in points)


def _tag(name: str, inner: str = "", /, **attributes: Any) -> str:
    texts = {
        key.replace("_", "-"): v if isinstance(v, str) else _number(v)
        for key, v in attributes.items()
        if v != ""
    }
    return f"<{name} {' '.join(f'{key}={quoteattr(text)}' for key, text in texts.items())}>{inner}</{name}>"


@dataclass
class Drawing:
    """A picture of `width` by `height`; what is drawn later lies on top. `title` is for screen readers, not drawn."""

    width: float
    height: float
    title: str
    parts: list[str] = field(default_factory=list)

    def text(
        self,
        at: Point,
        words: str,
        *,
        size: float = 14,
        anchor: str = "middle",
        color: str = INK,
        bold: bool = False,
    ) -> None:
        """Words at the height of `at`, their `anchor` ("start", "middle", "end") there."""
        place = {"x": at[0], "y": at[1] + 0.36 * size, "text_anchor": anchor}
        look = {"font_size": size, "fill": color, "font_weight": "bold" if bold else ""}
        self.parts.append(_tag("text", escape(words), **place, **look))

    def formula(self, at: Point, words: str, *, size: float = 14, **look: Any) -> None:
        """As `text`, but h_t, W_hh and h_{t-1} are set with a lowered index."""
        self.text(at, words, size=size, **look)
        lower = _tag("tspan", r"\1\2", dy=0.28 * size, font_size=0.74 * size)
        back = _tag(
            "tspan", "&#8203;", dy=-0.28 * size
        )  # a space of no width, as an empty tspan moves nothing
        self.parts[-1] = re.sub(r"(?<=\w)_(?:\{([^}]*)\}|(\w+))", lower + back, self.parts[-1])

    def box(self, x: float, y: float, width: float, height: float, *, fill: str = PAPER) -> None:
        """A rectangle with slightly rounded corners."""
        self.parts.append(_tag("rect", x=x, y=y, width=width, height=height, rx=3, fill=fill, stroke=GRID))

    def circle(self, at: Point, radius: float, *, fill: str = PAPER) -> None:
        """A disc around `at`."""
        self.parts.append(_tag("circle", cx=at[0], cy=at[1], r=radius, fill=fill, stroke=QUIET))

    def line(self, points: Sequence[Point], *, color: str = INK, width: float = 1.5, dash: str = "") -> None:
        """Straight pieces from point to point."""
        self._stroke("M" + _pairs(points, "L"), color, width, dash)

    def arrow(self, points: Sequence[Point], *, color: str = INK, width: float = 1.5) -> None:
        """An arrow to the last point: straight (two points) or a Bezier curve (three: quadratic, four: cubic)."""
        (x, y), (x0, y0) = points[-1], points[-2]
        angle, size = math.atan2(y - y0, x - x0), 5 + 2.4 * width
        neck, *sides = (
            (x - size * math.cos(angle + a), y - size * math.sin(angle + a)) for a in (0, -0.42, 0.42)
        )
        kind = {2: "L", 3: "Q", 4: "C"}[len(points)]
        self._stroke(f"M{_pairs(points[:1])}{kind}{_pairs([*points[1:-1], neck])}", color, width, "")
        self.parts.append(_tag("path", d=f"M{_pairs([(x, y), *sides], 'L')}Z", fill=color))

    def _stroke(self, path: str, color: str, width: float, dash: str) -> None:
        look = {"stroke": color, "stroke_width": width, "stroke_dasharray": dash, "stroke_linejoin": "round"}
        self.parts.append(_tag("path", d=path, fill="none", **look))

    def cells(
        self,
        at: Point,
        values: ArrayLike,
        *,
        size: Point = (52, 24),
        limit: float | None = 1.0,
        form: str = "+.2f",
    ) -> None:
        """A value-coloured cell for each number of a vector (a column) or a matrix, from the corner `at`.

        Args:
            at: the upper left corner.
            values: (R,) or (R, C).
            size: width and height of one cell.
            limit: where the colour is deepest, as in `shade`.
            form: how the number is written, as in `format`; "" leaves it out.
        """
        table = np.asarray(values, dtype=float)
        for (row, column), value in np.ndenumerate(table.reshape(len(table), -1)):
            x, y, fill = at[0] + column * size[0], at[1] + row * size[1], shade(value, limit)
            self.box(x, y, *size, fill=fill)
            if form:
                middle, high = (x + size[0] / 2, y + size[1] / 2), min(13, 0.52 * size[1])
                self.text(middle, format(value, form), size=high, color=readable_on(fill))

    def svg(self) -> str:
        """The picture as text."""
        width, height = _number(self.width), _number(self.height)
        paper = _tag("rect", width=width, height=height, fill=PAPER)
        inner = "\n".join(["", _tag("title", escape(self.title)), paper, *self.parts, ""])
        look = {"viewBox": f"0 0 {width} {height}", "font_family": FONT, "role": "img"}
        return _tag("svg", inner, xmlns="http://www.w3.org/2000/svg", width=width, height=height, **look)

    def save(self, path: Path) -> Path:
        """Write the picture to `path`, whole or not at all, and return it; folders are made as needed."""
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, unfinished = tempfile.mkstemp(dir=path.parent, suffix=".part")
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
                file.write(self.svg())
            os.replace(unfinished, path)
        except BaseException:
            os.unlink(unfinished)
            raise
        return path


def network(
    title: str,
    formula: str,
    columns: Sequence[tuple[str, ArrayLike]],
    links: Sequence[tuple[str, str, ArrayLike]],
    *,
    below: float = 0.0,
) -> Drawing:
    """Layers as columns of neurons, 170 pixels apart, centred at a height of 226.

    Args:
        title: the heading.
        formula: a line under it, set as `Drawing.formula`.
        columns: name and activations of each layer; an activation colours its neuron.
        links: name, colour and weights (after, before) between one column and the next.
        below: room left free under the columns.
    """
    picture = Drawing(max(170.0 * len(columns) + 40, 620), 392 + below, title)
    center = picture.width / 2
    picture.text((center, 26), title, size=17, bold=True)
    picture.formula((center, 52), formula, color=QUIET)
    xs = [center + 170 * (k - (len(columns) - 1) / 2) for k in range(len(columns))]
    places = [_column(x, len(np.asarray(values))) for x, (_, values) in zip(xs, columns, strict=True)]
    for (name, color, weights), x, before, after in zip(links, xs, places, places[1:], strict=False):
        picture.formula((x + 85, 90), name, size=16, color=color, bold=True)
        for (row, column), weight in np.ndenumerate(np.asarray(weights) / (np.abs(weights).max() or 1.0)):
            width, dash = 0.4 + 2.2 * abs(weight), "" if weight >= 0 else "5 3"
            picture.line([before[column], after[row]], color=color, width=width, dash=dash)
    for (name, values), x, spots in zip(columns, xs, places, strict=True):
        picture.formula((x, 90), name, size=17, bold=True)
        _neurons(picture, spots, np.asarray(values, dtype=float))
    picture.text((center, picture.height - 20), NETWORK_LEGEND, size=12, color=QUIET)
    return picture


def _column(x: float, count: int) -> list[Point]:
    gap = min(54.0, 216 / count)
    return [(x, 226 + gap * (k - (count - 1) / 2)) for k in range(count)]


def _neurons(picture: Drawing, spots: Sequence[Point], values: np.ndarray) -> None:
    radius = min(21.0, 91 / len(spots))
    for spot, value in zip(spots, values, strict=True):
        picture.circle(spot, radius, fill=shade(value))
        if radius > 15:
            picture.text(spot, f"{value:+.2f}", size=11, color=readable_on(shade(value)))


def inputs(picture: Drawing, x: float, rows: Mapping[str, np.ndarray], name: str, color: str) -> None:
    """Vectors under the column at `x` of a network, at most 72 pixels high, with an arrow up to it called `name`."""
    length = len(next(iter(rows.values())))
    wide, high = min(44.0, 132 / length), min(24.0, 72 / len(rows))
    left, form = x - wide * length / 2, "+.2f" if wide > 38 and high > 15 else ""
    picture.cells((left, 400), list(rows.values()), size=(wide, high), form=form)
    picture.arrow([(x, 396), (x, 344)], color=color, width=3)
    picture.formula((x + 12, 370), name, size=16, color=color, bold=True, anchor="start")
    for row, label in enumerate(rows):
        picture.formula(
            (left - 8, 400 + high * (row + 0.5)), label, size=min(15, high), anchor="end", bold=True
        )


def line_plot(
    series: Mapping[str, tuple[ArrayLike, ArrayLike]],
    *,
    title: str,
    x_label: str,
    y_label: str,
    y_range: Point | None = None,
    levels: Mapping[str, float] | None = None,
) -> Drawing:
    """Up to six lines over common axes, with a legend.

    Args:
        series: name to (x values, y values) of one line; it is broken where y is no number.
        title: the heading.
        x_label: below the horizontal axis.
        y_label: above the vertical axis.
        y_range: bottom and top; by default what lines and levels need.
        levels: name to height of a dotted horizontal line, such as chance.
    """
    levels = levels or {}
    xs, ys = (np.concatenate([np.asarray(xy[k], dtype=float) for xy in series.values()]) for k in (0, 1))
    frame = _Frame(ticks(*_extent(xs)), ticks(*(y_range or _extent(np.append(ys, [*levels.values()])))))
    picture = Drawing(640, 404, title)
    picture.text((320, 22), title, size=16, bold=True)
    frame.draw_on(picture, x_label, y_label)
    for name, height in levels.items():
        left, right = (frame.place(x, height) for x in (frame.xs[0], frame.xs[-1]))
        picture.line([left, right], color=QUIET, dash="2 3")
        picture.text((right[0] - 4, right[1] + 10), name, size=12, anchor="end", color=QUIET)
    x = 320 - sum(46 + 8.2 * len(name) for name in series) / 2
    for (name, (across, up)), (color, dash) in zip(series.items(), STYLES, strict=False):
        for run in _unbroken(np.asarray(across, dtype=float), np.asarray(up, dtype=float)):
            picture.line([frame.place(*point) for point in run], color=color, width=2.2, dash=dash)
        picture.line([(x, 50), (x + 28, 50)], color=color, width=2.6, dash=dash)
        picture.text((x + 35, 50), name, size=13, anchor="start")
        x += 46 + 8.2 * len(name)
    return picture


@dataclass(frozen=True)
class _Frame:
    """The axes of a plot: their ticks, and where values lie in the picture."""

    xs: Sequence[float]
    ys: Sequence[float]

    def place(self, x: float, y: float) -> Point:
        across = (x - self.xs[0]) / (self.xs[-1] - self.xs[0])
        up = (min(max(y, self.ys[0]), self.ys[-1]) - self.ys[0]) / (self.ys[-1] - self.ys[0])
        return 72 + 544 * across, 346 - 254 * up

    def draw_on(self, picture: Drawing, x_label: str, y_label: str) -> None:
        for y in self.ys:
            height = self.place(0, y)[1]
            picture.line([(72, height), (616, height)], color=QUIET if y == self.ys[0] else GRID, width=1)
            picture.text((64, height), f"{y:g}", size=12, anchor="end", color=QUIET)
        for x in self.xs:
            picture.text((self.place(x, 0)[0], 362), f"{x:g}", size=12, color=QUIET)
        picture.text((344, 388), x_label, size=13)
        picture.text((14, 74), y_label, size=13, anchor="start")


def _extent(values: np.ndarray) -> Point:
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)


def ticks(low: float, high: float) -> list[float]:
    """Round numbers, 1, 2 or 5 times a power of ten apart, that enclose `low` to `high` in about five steps."""
    span = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / 5))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor * 5 >= span * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(step * k, 12) for k in range(first, max(last, first + 1) + 1)]


def _unbroken(xs: np.ndarray, ys: np.ndarray) -> list[list[Point]]:
    """The points of a line in runs between those that are no number."""
    gaps = np.flatnonzero(~np.isfinite(ys))
    pieces = zip(np.split(xs, gaps), np.split(ys, gaps), strict=True)
    points = ([p for p in zip(x.tolist(), y.tolist(), strict=True) if math.isfinite(p[1])] for x, y in pieces)
    return [run for run in points if run]


def heatmap(
    values: ArrayLike, rows: Sequence[str], columns: Sequence[str], *, title: str, form: str = ".2f"
) -> Drawing:
    """A matrix (len(rows), len(columns)) of values of 0 and more as cells, with names at its sides."""
    table = np.asarray(values, dtype=float)
    left, wide = 24 + 8.0 * max(map(len, rows)), max(56.0, 12 + 7.6 * max(map(len, columns)))
    picture = Drawing(
        max(left + wide * len(columns) + 24, 48 + 10.0 * len(title)), 96 + 34.0 * len(rows), title
    )
    picture.text((picture.width / 2, 22), title, size=16, bold=True)
    for row, name in enumerate(rows):
        picture.text((left - 8, 91 + 34.0 * row), name, size=13, anchor="end")
    for column, name in enumerate(columns):
        picture.text((left + wide * (column + 0.5), 58), name, size=13)
    largest = float(np.nanmax(table, initial=0.0)) or 1.0
    for (row, column), value in np.ndenumerate(table):
        x, y, share = left + wide * column, 74 + 34.0 * row, value / largest
        picture.cells((x, y), [share], size=(wide, 34), limit=None, form="")
        words, color = format(value, form), readable_on(shade(share, None))
        picture.text((x + wide / 2, y + 17), words, size=13, color=color)
    return picture
