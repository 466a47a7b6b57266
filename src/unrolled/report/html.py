"""One page without an outside address: its head, tables and bars."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

_STYLE = """
:root{color-scheme:light dark} body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;margin:.6rem 0 1.4rem} th,td{padding:.2rem .7rem;text-align:left;vertical-align:top;
border-bottom:1px solid #8884} td.n{text-align:right;font-variant-numeric:tabular-nums} h2{margin-top:2rem}
.bar{display:inline-block;height:.8em;background:#2563a8;border-radius:2px} .q{color:#888} mark{border-radius:3px;
padding:0 2px;color:inherit} svg{max-width:100%}
"""


class Markup(str):
    """Text that is HTML already."""


def cell(value: object) -> str:
    """A cell of a table: Markup as it is, anything else escaped, numbers to the right."""
    if isinstance(value, Markup):
        return f"<td>{value}</td>"
    text = f"{value:,}" if isinstance(value, int) else str(value)
    number = text.strip("%+-").replace(",", "").replace(".", "").isdigit()
    return f"<td{' class=n' if number else ''}>{escape(text)}</td>"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> Markup:
    """Rows under their headings."""
    titles = "".join(f"<th>{escape(name)}</th>" for name in head)
    lines = "".join(f"<tr>{''.join(map(cell, row))}</tr>" for row in rows)
    return Markup(f"<table><tr>{titles}</tr>{lines}</table>")


def bar(share: float) -> Markup:
    """A share from 0 to 1 as a bar."""
    return Markup(f'<span class=bar style="width:{120 * share:.0f}px"></span>')


def paragraph(text: str) -> Markup:
    """A paragraph of words."""
    return Markup(f"<p>{escape(text)}</p>")


def write(path: Path, title: str, sections: Iterable[tuple[str, Iterable[Markup]]]) -> Path:
    """A page of sections, each with its heading; returns `path`."""
    body = "".join(f"<h2>{escape(name)}</h2>{''.join(parts)}" if name else "".join(parts) for name, parts in sections)
    head = f'<meta charset="utf-8"><meta name=viewport content="width=device-width"><title>{escape(title)}</title>'
    page = f"<!doctype html><html lang=en>{head}<style>{_STYLE}</style><h1>{escape(title)}</h1>{body}</html>\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_text(page, encoding="utf-8", errors="replace")
    os.replace(part, path)
    return path
