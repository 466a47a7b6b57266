"""A page about the answers to a whole file: shares with their intervals, what each class is about, doubtful rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .. import metrics
from ..bundle import Bundle, Prediction
from ..data.sequence import Sequences
from ..tasks.sentiment import Sentiment
from . import html

KEEP = 100_000
"""Rows whose texts are kept for words, phrases and examples; shares count all."""
_SHOWN, _PRIOR = 15, 50.0


class Answers:
    """Collects answers as they are given, and writes the page.

    Args:
        bundle: the model that gives them.
        by: the name of the column whose values are compared; "" for none.
        keep: whether texts are kept for a page; else answers are only counted.
    """

    def __init__(self, bundle: Bundle, by: str = "", *, keep: bool = True) -> None:
        self.bundle, self.by, self._keep = bundle, by, keep
        self.status: Counter[str] = Counter()
        self._labels: Counter[str] = Counter()
        self._by: dict[str, Counter[str]] = {}
        self._texts: list[str] = []
        self._answers: list[Prediction] = []

    def __len__(self) -> int:
        return sum(self.status.values())

    def add(
        self, texts: Sequence[str], answers: Sequence[Prediction], values: Sequence[str] | None = None
    ) -> None:
        """Take more rows: texts, answers, and their values of the column `by`."""
        self.status.update(answer.status for answer in answers)
        self._labels.update(answer.label for answer in answers if answer.label is not None)
        for value, answer in zip(values or (), answers, strict=bool(values)):
            if answer.label is not None:
                self._by.setdefault(value, Counter())[answer.label] += 1
        if self._keep and len(self._texts) < KEEP:
            self._texts += texts
            self._answers += answers

    def write(self, path: Path) -> Path:
        """The page; returns `path`."""
        sections = [("", [self._summary()]), ("Shares", [self._shares(self._labels)])]
        if self.by:
            sections.append((f"By {self.by}", [self._values()]))
        sections += [(f"What {label} is about", self._about(label)) for label in self.bundle.labels]
        sections.append(("The most doubtful rows", [self._doubtful()]))
        return html.write(path, f"{len(self):,} answers", sections)

    def _summary(self) -> html.Markup:
        status = ", ".join(f"{name} {count:,}" for name, count in self.status.most_common())
        kept = "" if len(self) <= KEEP else f" Words and examples are of the first {len(self._texts):,} rows."
        model = f"Model: {self.bundle.name}. Rows by status: {status}."
        return html.paragraph(f"{model}{kept} Intervals are Wilson's, 95%.")

    def _shares(self, counts: Counter[str]) -> html.Markup:
        total, rows = sum(counts.values()), []
        for label in self.bundle.labels:
            share = counts[label] / max(1, total)
            low, high = metrics.wilson_interval(counts[label], total) if total else (0.0, 1.0)
            rows.append((label, counts[label], f"{share:.1%}", f"{low:.1%} to {high:.1%}", html.bar(share)))
        return html.table(("answer", "rows", "share", "95% interval", ""), rows)

    def _values(self) -> html.Markup:
        rows = []
        for value, counts in sorted(self._by.items(), key=lambda item: -sum(item[1].values()))[:200]:
            total, shown = sum(counts.values()), []
            for label in self.bundle.labels:
                low, high = metrics.wilson_interval(counts[label], total)
                shown.append(f"{counts[label] / total:.1%} ({low:.1%} to {high:.1%})")
            rows.append((value, total, *shown))
        return html.table((self.by, "rows", *self.bundle.labels), rows)

    def _about(self, label: str) -> list[html.Markup]:
        """Words and phrases by Monroe, Colaresi and Quinn, "Fightin' words" (2008).

        Log-odds against all other rows, with the frequency among all rows as the prior, over their standard error.
        """
        task = self.bundle.task
        own = np.array([answer.label == label for answer in self._answers])
        if not isinstance(task, Sentiment) or not own.any() or own.all():
            return [html.paragraph("Too few rows to tell.")]
        examples = sorted(np.flatnonzero(own).tolist(), key=lambda i: -self._answers[i].confidence)[:5]
        return [
            self._terms(task, own, 1), self._terms(task, own, 2),
            html.table(("most certain rows", "confidence"), [self._row(i) for i in examples]),
        ]  # fmt: skip

    def _terms(self, task: Sentiment, own: np.ndarray, size: int) -> html.Markup:
        rows = Sequences.of(task.encode(self._texts))
        text = np.repeat(np.arange(len(rows)), np.diff(rows.offsets))
        ids, words = rows.ids.astype(np.int64), task.tokenizer.size
        good = task.spoken[ids]
        if size == 2:
            good = good[1:] & good[:-1] & (text[1:] == text[:-1])
            ids, text = ids[:-1] * words + ids[1:], text[1:]
        keys = np.unique(text[good] * words**size + ids[good]) if len(ids) else np.zeros(0, np.int64)  # once a text
        terms, place = np.unique(keys % words**size, return_inverse=True)
        inside = np.bincount(place, own[keys // words**size], len(terms)) if len(terms) else np.zeros(0)
        both = np.bincount(place, minlength=len(terms))
        n, m, share = own.sum(), (~own).sum(), both / max(1, len(own))
        a, b = inside + _PRIOR * share, both - inside + _PRIOR * share
        with np.errstate(divide="ignore", invalid="ignore"):
            z = (np.log(a / (n + _PRIOR - a)) - np.log(b / (m + _PRIOR - b))) / np.sqrt(1 / a + 1 / b)
        z = np.where((inside >= 3) & np.isfinite(z), z, -np.inf)
        best = [i for i in np.argsort(-z, kind="stable")[:_SHOWN] if z[i] > 0]
        name = task.tokenizer.word
        said = [name(t) if size == 1 else f"{name(t // words)} {name(t % words)}" for t in terms[best].tolist()]
        found = zip(said, inside[best].astype(int).tolist(), both[best].tolist(), strict=True)
        head = ("word" if size == 1 else "phrase", "rows of this answer", "all rows")
        return html.table(head, [(term, inner, whole) for term, inner, whole in found])

    def _doubtful(self) -> html.Markup:
        judged = [i for i, answer in enumerate(self._answers) if answer.status in ("ok", "undecided")]
        doubtful = sorted(judged, key=lambda i: self._answers[i].confidence)[:20]
        return html.table(("row", "confidence"), [self._row(i) for i in doubtful])

    def _row(self, i: int) -> tuple[str, str]:
        text = " ".join(self._texts[i].split())
        return text if len(text) <= 300 else f"{text[:297]}...", f"{self._answers[i].confidence:.1%}"
