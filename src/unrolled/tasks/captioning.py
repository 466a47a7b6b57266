"""Captions: a picture in, a sentence out. The words of the training captions, and the encoder they belong to."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from ..errors import BundleError, DataError
from ..network import END, MARKS, UNKNOWN, CaptionDecoder, Network
from . import Task

_JOINED = re.compile(r" (?=(?:'s|'re|'ve|'ll|'d|'m|n't)\b)")


@dataclass(frozen=True)
class Captioning(Task):
    """What a trained captioner does.

    Attributes:
        words: the vocabulary, marks first.
        encoder: hash (SHA-256) of the ONNX file whose features it understands.
        network: one `CaptionDecoder`, reading (R, D) features.
        num_beams: of beam search, unless asked otherwise; chosen on validation pictures, as are the next two.
        length_penalty: see `decoding.Sentence.score`.
        max_length: words of a sentence at most.
    """

    name: ClassVar[str] = "captioning"
    answers: ClassVar[str] = "It says what is in pictures: unrolled caption PICTURE --model RUN"
    labels: ClassVar[tuple[str, ...]] = ()  # type: ignore[misc]
    words: tuple[str, ...]
    encoder: str
    network: Network
    num_beams: int = 3
    length_penalty: float = 0.7
    max_length: int = 20
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict, compare=False)

    @classmethod
    def of_captions(
        cls, captions: Iterable[Sequence[str]], encoder: str, shape: tuple[int, ...], *, least: int = 5, **sizes: Any
    ) -> Captioning:  # fmt: skip
        """The vocabulary of the training captions, and an untrained decoder.

        Args:
            captions: each as its words.
            encoder: hash of the encoder.
            shape: (R, D) of its features.
            least: how often a word must occur to get a place.
            sizes: settings of `CaptionDecoder`.

        Raises:
            DataError: no word occurs so often.
        """
        counts = Counter(word for caption in captions for word in caption)
        known = sorted((word for word, n in counts.items() if n >= least), key=lambda word: (-counts[word], word))
        if not known:
            raise DataError(
                f"No word of the captions occurs {least} times. Give more captions, or fewer times: --least 1."
            )
        words = (*MARKS, *known)
        return cls(words, encoder, Network((CaptionDecoder(len(words), **sizes),), shape))

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {word: i for i, word in enumerate(self.words)}

    def numbers(self, caption: Sequence[str]) -> list[int]:
        """Words as ids, END last; at most `max_length` words."""
        return [self._ids.get(word, UNKNOWN) for word in caption[: self.max_length]] + [END]

    def spoken(self, ids: Iterable[int]) -> list[str]:
        """Ids up to the first END as words."""
        found = []
        for i in ids:
            if i == END:
                break
            found.append(self.words[i])
        return found

    def text(self, ids: Iterable[int]) -> str:
        """Ids as a sentence that people read."""
        return _JOINED.sub("", " ".join(self.spoken(ids)))

    def settings(self) -> dict[str, Any]:
        """Everything but the layers."""
        names = ("encoder", "num_beams", "length_penalty", "max_length")
        return {"words": list(self.words), **{name: getattr(self, name) for name in names}}

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any], network: Network) -> Captioning:
        kinds = {"words": list, "encoder": str, "num_beams": int, "length_penalty": float, "max_length": int}
        for name, kind in kinds.items():
            if not isinstance(settings.get(name), kind):
                raise BundleError(f"task.json: '{name}' is {settings.get(name)!r}, but {kind.__name__} was expected.")
        words, layer = tuple(map(str, settings["words"])), network.layers[0]
        if len(network.layers) > 1 or not isinstance(layer, CaptionDecoder) or layer.words != len(words):
            raise BundleError(f"task.json: {len(words)} words do not belong to the layers {network.to_list()}.")
        return cls(words, network=network, **{name: settings[name] for name in [*kinds][1:]})
