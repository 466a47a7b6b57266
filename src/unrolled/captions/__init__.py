"""Sentences about pictures: a trained decoder and the encoder whose features it understands.

    captioner = Captioner.load("runs/captions")
    captioner.caption(["photo.jpg"])[0][0].text

`make` trains one (that needs torch), `score` says how good one is.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from .. import bundle as bundles
from .. import encoder as encoders
from ..data.fetch import cache_folder
from ..data.images import Picture
from ..datasets import Examples
from ..decoding import Decoder, Sentence
from ..encoder import Encoder
from ..errors import UsageError
from ..metrics.captions import Words, tokens
from ..tasks.captioning import Captioning


@dataclass(frozen=True)
class Caption:
    """What is said of a picture.

    Attributes:
        text: the sentence.
        words: its words.
        confidence: mean probability per word, see `decoding.Sentence`.
        sentence: as word ids.
    """

    text: str
    words: tuple[str, ...]
    confidence: float
    sentence: Sentence


class Captioner:
    """Says what is in pictures.

    Args:
        bundle: of the task "captioning".
        encoder: the one that the bundle was trained with.
    """

    def __init__(self, bundle: bundles.Bundle, encoder: Encoder) -> None:
        self.bundle, self.encoder = bundle, encoder
        self.task = task_of(bundle)

    @classmethod
    def load(
        cls, name: str | Path, encoder: str | Path | None = None, *, cache: Path | bool | None = None
    ) -> Captioner:
        """A trained captioner by the folder of its run.

        Its encoder is looked for in the bundle, then in the cache, where training left a copy, then in `encoder`.

        Args:
            name: of the model, or its folder.
            encoder: an ONNX file, or a folder that holds `encoder.onnx`.
            cache: see `Encoder`.

        Raises:
            UsageError: a model of another task.
            DataError: its encoder is nowhere, or `encoder` is another one; names both.
        """
        bundle = bundles.Bundle.load(name)
        wanted = task_of(bundle).encoder
        places = [encoder] if encoder is not None else [bundles.find(name), remembered(wanted)]
        return cls(bundle, Encoder(encoders.find(wanted, *places), cache=cache))

    @cached_property
    def decoder(self) -> Decoder:
        """The decoder on NumPy and the engine."""
        return Decoder(self.task.network, self.bundle.weights)

    def caption(self, pictures: Iterable[str | Path | Picture], **options: Any) -> list[list[Caption]]:
        """Sentences about each picture, best first.

        Args:
            pictures: paths, or pictures.
            options: `num_beams`, `max_length`, `length_penalty` and `number` of `Decoder.sentences`; what is left out
                is as training chose it. With `temperature`, `number` sentences are drawn by `Decoder.sample`, with
                the seeds `seed`, `seed` + 1 and so on.

        Raises:
            DataError: a picture that cannot be read.
        """
        given = [one if isinstance(one, Picture) else Picture(Path(one)) for one in pictures]
        return self.of_features(np.stack([self.encoder.read(one) for one in given]), **options) if given else []

    def of_features(
        self, features: np.ndarray, *, temperature: float = 0.0, top_p: float = 1.0, seed: int = 0, **options: Any
    ) -> list[list[Caption]]:
        """Sentences about pictures whose features (P, R, D) are known; with a temperature they are drawn."""
        names = ("num_beams", "max_length", "length_penalty")
        chosen = {name: getattr(self.task, name) for name in names} | {
            k: v for k, v in options.items() if v is not None
        }
        if temperature:
            how: dict[str, Any] = {"max_length": chosen["max_length"], "temperature": temperature, "top_p": top_p}
            drawn = [self.decoder.sample(features, seed=seed + i, **how) for i in range(chosen.get("number", 1))]
            return [[self._caption(one) for one in found] for found in zip(*drawn, strict=True)]
        chosen["num_beams"] = max(chosen["num_beams"], chosen.get("number", 1))
        return [[self._caption(one) for one in found] for found in self.decoder.sentences(features, **chosen)]

    def _caption(self, sentence: Sentence) -> Caption:
        words = tuple(self.task.spoken(sentence.ids))
        return Caption(self.task.text(sentence.ids), words, sentence.confidence, sentence)


@dataclass(frozen=True)
class Described:
    """Pictures with all that was said of each: `pictures` (N,) and `said`, of each its captions as words."""

    pictures: list[Picture]
    said: list[list[Words]]

    @classmethod
    def of(cls, examples: Examples) -> Described:
        """Captions row by row, gathered by picture, in the order in which pictures first occur."""
        if examples.pictures is None:
            raise UsageError("These examples have no pictures. Give captions: a table with pictures, or flickr8k.")
        found: dict[Picture, list[Words]] = {}
        for picture, caption in zip(examples.pictures, examples.texts, strict=True):
            found.setdefault(picture, []).append(tokens(caption))
        return cls([*found], [*found.values()])

    def take(self, rows: Sequence[int]) -> Described:
        """Some of the pictures."""
        return Described([self.pictures[i] for i in rows], [self.said[i] for i in rows])


def task_of(bundle: bundles.Bundle) -> Captioning:
    """The bundle's task. Raises UsageError where it is another than captioning."""
    if not isinstance(bundle.task, Captioning):
        raise UsageError(f"'{bundle.name}' is a {bundle.task.name} model; a captioning model was expected.")
    return bundle.task


def remembered(wanted: str) -> Path:
    """Where the copy of an encoder lies that training left in the cache."""
    return cache_folder() / "encoders" / f"{wanted}.onnx"


def remember(encoder: Encoder) -> None:
    """Leave a copy of an encoder in the cache, so that its captioners find it; no more than a convenience."""
    path = remembered(encoder.hash)
    if path.exists():
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        shutil.copyfile(encoder.path, part)
        part.replace(path)
    except OSError:
        return
