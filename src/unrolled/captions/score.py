"""How good captions are: the figures of the field, beside those of one constant caption and of a person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..datasets import Examples
from ..metrics import captions as metrics
from ..metrics.captions import Words
from . import Caption, Captioner, Described

BATCH = 64


def figures(
    captions: Sequence[Words], references: Sequence[Sequence[Words]], *, meteor: bool = False
) -> dict[str, float]:
    """`bleu1` to `bleu4`, `rouge_l`, `cider` and `distinct` (share of captions that differ), all x 100; and `n`.

    `meteor` is among them where it is wanted and its program is there: it takes seconds.
    """
    bleu = metrics.bleu(captions, references)
    found = {f"bleu{n}": value for n, value in enumerate(bleu, start=1)}
    found |= {"rouge_l": metrics.rouge_l(captions, references), "cider": metrics.cider(captions, references)}
    if meteor and (value := metrics.meteor(captions, references)) is not None:
        found["meteor"] = value
    found["distinct"] = len({tuple(words) for words in captions}) / len(captions)
    return {name: 100 * value for name, value in found.items()} | {"n": len(captions)}


@dataclass(frozen=True)
class Scores:
    """Captions of pictures, compared with what people said.

    Attributes:
        described: the pictures that could be read, with their references.
        captions: the model's, of each.
        each: CIDEr-D of each caption, x 100, (N,).
        skipped: what was wrong with the pictures that were left out.
    """

    described: Described
    captions: list[Caption]
    each: np.ndarray
    skipped: list[str]

    @cached_property
    def model(self) -> dict[str, float]:
        """The model's figures."""
        return figures([one.words for one in self.captions], self.described.said, meteor=True)

    @cached_property
    def constant(self) -> dict[str, float]:
        """The caption that the model gives most often, given for every picture."""
        words, _ = Counter(one.words for one in self.captions).most_common(1)[0]
        return figures([words] * len(self.captions), self.described.said, meteor=True)

    @cached_property
    def human(self) -> dict[str, float]:
        """The first caption of each picture against its others; empty where no picture has others."""
        pairs = [(said[0], said[1:]) for said in self.described.said if len(said) > 1]
        said, others = [one for one, _ in pairs], [rest for _, rest in pairs]
        return figures(said, others, meteor=True) if pairs else {}


def evaluate(
    captioner: Captioner, examples: Examples, *, on_picture: Callable[[int], None] | None = None, **options: Any
) -> Scores:
    """Let a captioner describe every picture; those that cannot be read are left out and named.

    Args:
        captioner: whom to ask.
        examples: captions with pictures.
        on_picture: called with how many are encoded.
        options: of `Captioner.of_features`.
    """
    described, skipped = Described.of(examples), list[str]()
    keys = captioner.encoder.keep(described.pictures, skip=skipped.append, on_picture=on_picture)
    rows = [i for i, key in enumerate(keys) if key is not None]
    described, found = described.take(rows), []
    good = [key for key in keys if key is not None]
    for at in range(0, len(good), BATCH):
        features = captioner.encoder.rows(good[at : at + BATCH])
        found += [best for best, *_ in captioner.of_features(features, **options)]
    each = 100 * metrics.Cider(described.said).each([one.words for one in found])
    return Scores(described, found, each, skipped)
