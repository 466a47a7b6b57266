"""How good captions are: BLEU, ROUGE-L and CIDEr, and the words that they count.

The figures are those of the COCO caption evaluation (Chen et al. 2015), whose tokenizer is a Java program; `tokens`
gives the same words for captions in English. A caption is a list of words, its references a list of such lists.
Every figure lies in 0 to 1, CIDEr in 0 to 10; people quote all of them times 100.
"""

from __future__ import annotations

import math
import re
import shutil
from collections import Counter
from collections.abc import Sequence

import numpy as np

from ..errors import UsageError

Words = Sequence[str]
Gram = tuple[str, ...]

_TOKEN = re.compile(
    r"""
    (?:[a-z]\.){2,} | \b(?-i:[A-Z])\.       # u.s., and initials
    | (?:dr|jr|mr|mrs|ms|sr|st|vs)\.        # titles
    | \w+(?:\.\w+)*\.(?:com|net|org)\b      # names of sites
    | o'clock | 'n'
    | can(?=not\b) | (?:\w(?!n't\b))*\w(?=n't\b) | n't\b
    | '(?:d|ll|m|re|s|ve)\b
    | \w+(?:[-/]\w+)*
    | [()\[\]{}&#=+%$@*]
    """,
    re.VERBOSE | re.IGNORECASE,
)
_BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}


def tokens(caption: str) -> list[str]:
    """The words of a caption in lower case, without punctuation, split as the Penn Treebank splits them."""
    return [_BRACKETS.get(word, word).lower() for word in _TOKEN.findall(caption)]


def bleu(captions: Sequence[Words], references: Sequence[Sequence[Words]], order: int = 4) -> list[float]:
    """BLEU-1 to BLEU-`order` of a whole set: exp(min(0, 1 - r/c)) (p_1 ... p_n)^(1/n) (Papineni et al. 2002).

    p_n is the share of n-grams that a reference holds, each counted at most as often as there; c counts the words
    of all captions and r those of the references closest to each in length, the shorter where two are as close.

    Raises:
        UsageError: no captions, or another number of reference lists, or one without references.
    """
    _check(captions, references)
    found, whole, length, closest = [0] * order, [0] * order, 0, 0
    for caption, refs in zip(captions, references, strict=True):
        length += len(caption)
        closest += min((abs(len(ref) - len(caption)), len(ref)) for ref in refs)[1]
        for n in range(1, order + 1):
            most: Counter[Gram] = Counter()
            for ref in refs:
                most |= _grams(ref, n)
            found[n - 1] += (_grams(caption, n) & most).total()
            whole[n - 1] += max(0, len(caption) - n + 1)
    # The tiny numbers are the reference program's: a set without any 4-gram in common scores almost, not quite, 0.
    precision = [(f + 1e-15) / (w + 1e-9) for f, w in zip(found, whole, strict=True)]
    brevity = math.exp(min(0.0, 1 - closest / max(length, 1e-9)))
    return [brevity * math.prod(precision[:n]) ** (1 / n) for n in range(1, order + 1)]


def rouge_l(captions: Sequence[Words], references: Sequence[Sequence[Words]]) -> float:
    """Mean of F = (1 + b²) P R / (R + b² P), b = 1.2 (Lin 2004).

    P and R are the longest common subsequence over the caption's and over the reference's length, each the best
    over the references. Raises UsageError as `bleu` does.
    """
    _check(captions, references)
    return sum(map(_rouge, captions, references)) / len(captions)


def cider(captions: Sequence[Words], references: Sequence[Sequence[Words]], sigma: float = 6.0) -> float:
    """Mean over captions of CIDEr-D (Vedantam et al. 2015, section 4), 0 to 10. See `Cider`."""
    return float(Cider(references, sigma).each(captions).mean())


class Cider:
    """CIDEr-D against one set of pictures, whose references say how rare each n-gram is.

    10 / 4 Σ_n mean over references of Σ_w min(g_w, r_w) r_w / (|g| |r|) exp(-(l_g - l_r)² / 2 σ²): g and r are
    counts of n-grams times ln(pictures / pictures whose references hold them). So a figure belongs to its set of
    pictures. Raises UsageError where a picture has no reference.

    Args:
        references: of each picture, in order.
        sigma: how fast a difference in length counts.
    """

    def __init__(self, references: Sequence[Sequence[Words]], sigma: float = 6.0) -> None:
        _check(references, references)
        self.sigma = sigma
        self._holds: Counter[Gram] = Counter()
        counted = [[_all_grams(ref) for ref in refs] for refs in references]
        for refs in counted:
            self._holds.update({gram for ref in refs for gram in ref})
        self._pictures = math.log(len(references))
        self._references = [[self._vectors(ref) for ref in refs] for refs in counted]

    def each(self, captions: Sequence[Words], pictures: Sequence[int] | None = None) -> np.ndarray:
        """The score (N,) of each caption, for picture number i or for `pictures[i]`."""
        which = range(len(self._references)) if pictures is None else pictures
        if len(captions) != len(which):
            raise UsageError(f"There are {len(captions)} captions for {len(which)} pictures; give one for each.")
        return np.array([self._score(words, self._references[i]) for words, i in zip(captions, which, strict=True)])

    def _vectors(self, counts: Counter[Gram]) -> tuple[list[dict[Gram, float]], list[float], int]:
        vectors: list[dict[Gram, float]] = [{} for _ in range(4)]
        for gram, count in counts.items():
            rarity = self._pictures - math.log(max(1.0, self._holds[gram]))
            vectors[len(gram) - 1][gram] = count * rarity
        norms = [math.sqrt(sum(x * x for x in vector.values())) for vector in vectors]
        # The reference program measures length in pairs of words, and so does this one.
        return vectors, norms, sum(count for gram, count in counts.items() if len(gram) == 2)

    def _score(self, words: Words, references: list[tuple[list[dict[Gram, float]], list[float], int]]) -> float:
        mine, norms, length = self._vectors(_all_grams(words))
        total = 0.0
        for theirs, their_norms, their_length in references:
            near = math.exp(-((length - their_length) ** 2) / (2 * self.sigma**2))
            for n in range(4):
                shared = sum(min(x, theirs[n].get(g, 0.0)) * theirs[n].get(g, 0.0) for g, x in mine[n].items())
                total += near * shared / (norms[n] * their_norms[n] or 1.0)
        return 10 * total / 4 / len(references)


def meteor(captions: Sequence[Words], references: Sequence[Sequence[Words]]) -> float | None:
    """METEOR 1.5 of a whole set (Denkowski and Lavie 2014), by its authors' program.

    That is Java, with tables of synonyms: None where there is no Java, or no package pycocoevalcap, which holds it.

    Raises:
        UsageError: see `bleu`.
    """
    _check(captions, references)
    try:
        from pycocoevalcap.meteor.meteor import Meteor
    except ModuleNotFoundError:
        return None
    if shutil.which("java") is None:
        return None
    program = Meteor()
    told = {i: [" ".join(words)] for i, words in enumerate(captions)}
    score, _ = program.compute_score({i: [" ".join(ref) for ref in refs] for i, refs in enumerate(references)}, told)
    program.meteor_p.communicate()
    return float(score)


def _check(captions: Sequence[object], references: Sequence[Sequence[Words]]) -> None:
    if not captions or len(captions) != len(references):
        raise UsageError(
            f"There are {len(captions)} captions and {len(references)} lists of references; give one list for each "
            "caption, and at least one caption."
        )
    for i, refs in enumerate(references):
        if not refs:
            raise UsageError(f"Picture {i} has no reference caption; give at least one.")


def _grams(words: Words, n: int) -> Counter[Gram]:
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def _all_grams(words: Words) -> Counter[Gram]:
    return sum((_grams(words, n) for n in range(2, 5)), _grams(words, 1))


def _rouge(caption: Words, references: Sequence[Words]) -> float:
    common = [_longest_common(caption, ref) for ref in references]
    precision = max(common) / max(1, len(caption))
    recall = max(c / max(1, len(ref)) for c, ref in zip(common, references, strict=True))
    if not precision or not recall:
        return 0.0
    return (1 + 1.2**2) * precision * recall / (recall + 1.2**2 * precision)


def _longest_common(a: Words, b: Words) -> int:
    """Length of the longest common subsequence, by the usual table, one row at a time."""
    row = [0] * (len(b) + 1)
    for word in a:
        above = 0
        for j, other in enumerate(b, 1):
            above, row[j] = row[j], above + 1 if word == other else max(row[j], row[j - 1])
    return row[-1]
