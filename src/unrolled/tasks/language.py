"""Language modelling: symbols read so far in, the probability of every next symbol out.

A network of an embedding, LSTMs and a dense layer reads a text of any length, its state carried along; beside it
stands a counting model of the same text (`ngram.NGram`). Their probabilities can be mixed, with shares that were
fitted on held-out text. Where a text was too small for a network, counting answers alone.

Notation: V symbols, N tokens, D embedding, H units.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from ..data.symbols import Symbols
from ..errors import BundleError
from ..network import LSTM, Dense, Dropout, Embedding, Network
from ..ngram import NGram
from . import Task

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Language(Task):
    """What a trained language model does.

    Attributes:
        symbols: the V symbols.
        order: the longest n-grams that the counting model counts.
        counted: whether counting answers alone, the network never having been trained.
        share: of the network's probability in a mixture with counts of the training text.
        network: token ids (T,) to scores (T, V).
        arrays: "tokens" (N,): the text that is counted, or the end of a long one.
    """

    name: ClassVar[str] = "language"
    answers: ClassVar[str] = (
        'It continues texts: unrolled generate "Once" --model RUN; unrolled score FILE --model RUN'
    )
    symbols: Symbols
    order: int
    counted: bool
    share: float
    network: Network
    arrays: Mapping[str, Array] = field(repr=False, default_factory=dict)

    @cached_property
    def counts(self) -> NGram:
        """The counting model, counted when it is first asked."""
        return NGram(self.arrays["tokens"], len(self.symbols), self.order)

    def settings(self) -> dict[str, Any]:
        """Everything but the text and the layers."""
        return {k: getattr(self, k) for k in _PLAIN} | {"symbols": self.symbols.to_dict()}

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any], network: Network) -> Language:
        """The language model that `settings` described."""
        try:
            plain = {k: kind(settings[k]) for k, kind in _PLAIN.items()}
            symbols = Symbols.from_dict(settings["symbols"])
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(
                f"The language model's settings are damaged ({error!r}). Train again."
            ) from error
        if network.shapes()[-1][-1] != len(symbols):
            raise BundleError(
                f"The network answers {network.shapes()[-1][-1]} symbols, but {len(symbols)} are listed. Train again."
            )
        return cls(symbols=symbols, network=network, **plain)

    def with_arrays(self, arrays: Mapping[str, Array]) -> Language:
        """The same language model with the text that it counts."""
        tokens = arrays.get("tokens")
        if tokens is None or tokens.ndim != 1 or (len(tokens) and int(tokens.max()) >= len(self.symbols)):
            raise BundleError("The language model's array 'tokens' is missing or damaged. Train again.")
        return replace(self, arrays=arrays)


_PLAIN: dict[str, Any] = {"order": int, "counted": bool, "share": float}


def layers_of(size: int, width: int, units: int, *, words: bool, dropout: float = 0.0) -> Network:
    """An embedding (V, D), one LSTM of H units of which `dropout` is dropped in training, and the scores of V symbols.

    Over words the LSTM's output returns to D numbers first, so that the last layer can share its matrix with the
    embedding (Press and Wolf, "Using the output embedding to improve language models", 2017).
    """
    narrow = (Dense(width),) if words else ()
    return Network((
        Embedding(size, width), Dropout(dropout / 4), LSTM(units, return_sequences=True), Dropout(dropout), *narrow,
        Dense(size),
    ))  # fmt: skip


def smallest_type(size: int) -> np.dtype[Any]:
    """The smallest unsigned type that holds ids below `size`."""
    return np.min_scalar_type(max(size - 1, 1))
