"""The account of one answer, for a terminal and as a page."""

from __future__ import annotations

from html import escape
from pathlib import Path

import numpy as np

from ..drawing import Drawing, line_plot
from ..explain import METHOD, Account, strongest
from . import html


def terminal(found: Account, method: str, *, colour: bool = False) -> str:
    """The text with its strongest words marked, their numbers, and how the reading went."""
    if found.label is None:
        return f"no answer: {found.status}"
    lines = [f"{found.label}  {found.probability:.1%}  (log-odds {found.log_odds:+.2f})", ""]
    for word in strongest(found.influences, 12):
        bar = "#" * min(30, round(10 * abs(word.contribution)))
        sign = "\x1b[32m" if word.contribution > 0 else "\x1b[31m"
        shown = f"{sign}{bar}\x1b[0m" if colour else bar
        lines.append(f"  {word.contribution:+7.3f}  {word.word:<18} {word.start:>5}  {shown}")
    total = sum(word.contribution for word in found.influences)
    lines += ["", f"without these words {found.base:+.2f}, words {total:+.2f}, not explained {found.rest:+.2f}"]
    if found.reading:
        lines.append(f"as it reads: {_sparkline(found.reading)}")
    return "\n".join([*lines, "", method])


def page(path: Path, found: Account) -> Path:
    """The same as an HTML page; returns `path`."""
    title = f"{found.label or found.status}: {found.probability:.1%}"
    rows = [(w.word, f"{w.contribution:+.3f}", w.start, w.end) for w in strongest(found.influences, 30)]
    total = sum(word.contribution for word in found.influences)
    sums = f"Log-odds {found.log_odds:+.2f} = {found.base:+.2f} without these words + words {total:+.2f} + unexplained "
    sections = [
        ("", [html.Markup(f"<p>{_marked(found)}</p>"), html.paragraph(f"{sums}{found.rest:+.2f}. {METHOD}")]),
        ("Words", [html.table(("word", "contribution", "from", "to"), rows)]),
    ]
    if len(found.reading) > 1:
        sections.append(("As it reads", [html.Markup(_line(found.reading).svg())]))
    return html.write(path, title, sections)


def _marked(found: Account) -> str:
    most = max((abs(word.contribution) for word in found.influences), default=1.0) or 1.0
    at, parts = 0, []
    for word in found.influences:
        colour = "46,160,67" if word.contribution > 0 else "218,54,51"
        style = f"background:rgba({colour},{abs(word.contribution) / most:.2f})"
        parts.append(escape(found.text[at : word.start]))
        shown = escape(found.text[word.start : word.end])
        parts.append(f'<mark style="{style}" title="{word.contribution:+.3f}">{shown}</mark>')
        at = word.end
    return "".join([*parts, escape(found.text[at:])])


def _line(reading: list[float]) -> Drawing:
    steps = np.arange(1, len(reading) + 1)
    name = "probability of the last label"
    return line_plot({name: (steps, reading)}, title="As it reads", x_label="token", y_label=name, y_range=(0, 1))


def _sparkline(values: list[float], width: int = 60) -> str:
    step = max(1, -(-len(values) // width))
    return "".join("▁▂▃▄▅▆▇█"[min(7, int(8 * p))] for p in values[step - 1 :: step])
