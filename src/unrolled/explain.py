"""The words that mattered to an answer.

Method (occlusion; Zeiler & Fergus 2014, Li, Monroe & Jurafsky 2016): each known word of the text is replaced, one
at a time, by the mark for unknown words, and the network reads the text again. A word's contribution is how much
the log-odds of the answer, ln(p / (1 - p)) in nats, fall without it: positive where the word spoke for the answer,
negative where it spoke against it. Contributions are exact for this network and do not add up to the log-odds,
because words act together.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from .bundle import Bundle
from .errors import UsageError
from .tasks.sentiment import Sentiment

LIMIT = 200
"""Words looked at by default, the last ones that the network reads: the cost is one reading for each."""

READ = 2000
"""Tokens of the longest text whose reading is followed: a network that reads both ways is asked for each beginning."""

_EPS = 2.0**-24  # of float32: probabilities cannot come closer to 0 or 1 in any way that means something


@dataclass(frozen=True)
class Influence:
    """A word and what it did to the answer.

    Attributes:
        word: as the model reads it.
        start: where it begins in the text, in code points; text[start:end] is the word as written.
        end: where it ends.
        contribution: the fall of the answer's log-odds without the word, in nats.
    """

    word: str
    start: int
    end: int
    contribution: float


def explain(bundle: Bundle, text: str, *, label: str | None = None, limit: int = LIMIT) -> list[Influence]:
    """What each known word of `text` contributed, in the order of the text.

    Args:
        bundle: a model that classifies texts.
        text: the text.
        label: the answer to explain; by default the one the model gives.
        limit: only the last `limit` known words that the network reads.

    Raises:
        UsageError: the model has no such label, or `limit` is negative.
    """
    if label is not None and label not in bundle.labels:
        raise UsageError(f"The model has no label '{label}'. Its labels: {', '.join(bundle.labels)}.")
    if limit < 0:
        raise UsageError(f"limit is {limit}; it must be 0 or more.")
    task = bundle.task
    assert isinstance(task, Sentiment)  # the only task whose inputs are words
    (ids,) = bundle.encode([text])
    places = _known(task, text, ids)[-limit:] if limit else []
    scores = bundle.score_ids([ids, *_without(ids, places, task.tokenizer.unknown_id)])
    answer = int(scores[0].argmax()) if label is None else bundle.labels.index(label)
    p = np.clip(scores[:, answer], _EPS, 1 - _EPS)
    odds = np.log(p) - np.log1p(-p)
    spans = task.tokenizer.token_spans(text)
    falls = zip(places, (odds[0] - odds[1:]).tolist(), strict=True)
    return [Influence(*span, fall) for at, fall in falls if (span := spans[at]) is not None]


METHOD = (
    "Each known word is taken out of the text, one at a time, and the network reads again: a word's number is how far "
    "the answer's log-odds fall without it (occlusion). Words act together: the numbers need not sum to the log-odds."
)


@dataclass(frozen=True)
class Account:
    """Why a text got its answer.

    Attributes:
        text: as it was given.
        label: the answer that is explained; None for a text that cannot be judged.
        probability: of that answer.
        status: of the text.
        log_odds: ln(p / (1 - p)) of the answer.
        base: its log-odds when all the words looked at are taken out.
        influences: the words, in the order of the text.
        rest: what the words' numbers leave unexplained: log_odds - base - their sum.
        reading: the probability of the last label after each token, as the network reads on.
    """

    text: str
    label: str | None
    probability: float
    status: str
    log_odds: float
    base: float
    influences: list[Influence]
    rest: float
    reading: list[float]

    def to_dict(self) -> dict[str, object]:
        """Everything, with the method, as JSON can hold it; places are code points."""
        return {**asdict(self), "method": METHOD}


def account(bundle: Bundle, text: str, *, label: str | None = None, limit: int = LIMIT) -> Account:
    """The whole account of one answer; arguments and errors as in `explain`."""
    influences = explain(bundle, text, label=label, limit=limit)
    (answer,) = bundle.predict([text])
    if answer.label is None:
        return Account(text, None, answer.confidence, answer.status, 0.0, 0.0, [], 0.0, [])
    task = bundle.task
    assert isinstance(task, Sentiment)
    (ids,) = bundle.encode([text])
    bare = ids.copy()
    bare[_known(task, text, ids)[-limit:] if limit else []] = task.tokenizer.unknown_id
    said = label or answer.label
    p = np.clip(bundle.score_ids([ids, bare])[:, bundle.labels.index(said)], _EPS, 1 - _EPS)
    whole, base = (np.log(p) - np.log1p(-p)).tolist()
    rest = whole - base - sum(found.contribution for found in influences)
    reading = bundle.trace(text) if len(ids) <= READ else []
    return Account(text, said, float(p[0]), answer.status, whole, base, influences, rest, reading)


def strongest(influences: list[Influence], count: int = 5) -> list[Influence]:
    """The `count` with the largest contribution for or against, largest first; ties in the order of the text."""
    return sorted(influences, key=lambda found: -abs(found.contribution))[:count]


def _known(task: Sentiment, text: str, ids: np.ndarray) -> list[int]:
    """Places in `ids` of the known words that the network reads."""
    longest = len(ids) if task.step else task.network.input_shape[0] or len(ids)
    unknown = task.tokenizer.unknown_id
    first = max(len(ids) - longest, int(task.tokenizer.start_id is not None))
    return [
        at for at in range(first, len(ids)) if ids[at] != unknown and (not task.step or task.spoken[ids[at]])
    ]


def _without(ids: np.ndarray, places: list[int], unknown: int) -> np.ndarray:
    """(len(places), len(ids)): the ids again and again, each time with another one unknown."""
    rows = np.tile(ids, (len(places), 1))
    rows[np.arange(len(places)), places] = unknown
    return rows
