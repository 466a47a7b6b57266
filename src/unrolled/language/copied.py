"""Does a sample say anything new? How much of it stands in the training text, symbol for symbol."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Array = np.ndarray
GRAM = 8


@dataclass(frozen=True)
class Copied:
    """What of a text stands in the training text.

    Attributes:
        symbols: N of the text.
        longest: of the longest run of symbols that stands there too, in symbols.
        begins: where in the text that run begins.
        share: of the text's runs of GRAM symbols that stand there, 0 to 1.
    """

    symbols: int
    longest: int
    begins: int
    share: float

    def __str__(self) -> str:
        return (
            f"longest run copied from the training text: {self.longest} of {self.symbols} symbols; "
            f"{self.share:.1%} of its runs of {GRAM} symbols stand there"
        )


def copied(tokens: Array, training: Array) -> Copied:
    """Compare `tokens` (N,) with the text `training`.

    From each place on, the places of the training text where its symbol stands are followed as long as both agree.
    """
    tokens, training = np.asarray(tokens, np.int64), np.asarray(training, np.int64)
    order = np.argsort(training, kind="stable")
    ends = np.searchsorted(
        training[order], np.arange(int(max(tokens.max(initial=0), training.max(initial=0))) + 2)
    )
    lengths = np.zeros(len(tokens), np.int64)
    for i in range(len(tokens)):
        places = order[ends[tokens[i]] : ends[tokens[i] + 1]]
        n = 0
        while len(places):
            n += 1
            if i + n == len(tokens):
                break
            places = places[places + n < len(training)]
            places = places[training[places + n] == tokens[i + n]]
        lengths[i] = n
    runs = max(len(tokens) - GRAM + 1, 0)
    best = int(lengths.argmax()) if len(lengths) else 0
    share = float((lengths[:runs] >= GRAM).mean()) if runs else 0.0
    return Copied(len(tokens), int(lengths[best]) if len(lengths) else 0, best, share)
