"""Language models on published texts, beside counting and what others published."""

from __future__ import annotations

import gzip
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ..config import option
from ..errors import DataError, UsageError
from ..language import LanguageModel
from . import Bench, Say

PUBLISHED = {
    "tinyshakespeare": "nanoGPT 1.4697 on an A100, 1.88 on a CPU (windows of 256); minGRU 1.548 (nats a character)",
    "wikitext-2": "Kneser-Ney 224; AWD-LSTM 65.8, with dynamic evaluation 44.3, days of GPU (perplexity a word)",
}
LEVELS = {"tinyshakespeare": "char", "wikitext-2": "word"}
WINDOW = 256


@dataclass
class LanguageBench(Bench):
    """Everything is chosen on held-out text of the training part; each test is read after that."""

    title: ClassVar[str] = "Shakespeare by characters and WikiText-2 by words, beside counting"
    minutes: ClassVar[str] = "15 minutes of training for each text, and some to score"
    needs: ClassVar[tuple[str, ...]] = ("train",)

    only: str = option("tinyshakespeare,wikitext-2", "Texts to measure, with commas between.")
    budget: float = option(15.0, "Minutes of training for each text.", least=0)
    steps: int = option(0, "Updates, instead of minutes.", least=0)
    units: int = option(0, "Of the LSTM; 0: the budget decides.", least=0)
    dropout: float | None = option(None, "See unrolled train language.", least=0, most=0.9)
    data: str = option("", "Folder that holds text/; by default $UNROLLED_DATA.")
    runs: str = option("", "Folder for the trained models; those in it are scored, not trained again.")
    generated: bool = option(False, "Small generated texts, to see how it looks.")

    def run(self, say: Say) -> dict[str, Any]:
        """Train on each text of `only` and score its test, without adapting and with."""
        found: dict[str, Any] = {}
        with tempfile.TemporaryDirectory() as place:
            for name in (part.strip() for part in self.only.split(",")):
                if name not in LEVELS:
                    raise UsageError(f"There is no text '{name}'. Known: {', '.join(LEVELS)}.")
                found[name] = self.measure(name, Path(self.runs or place) / name, say)
        return found

    def measure(self, name: str, folder: Path, say: Say) -> dict[str, Any]:
        """The figures of one text, by method; what adapts stands apart."""
        training, validation, test = generated() if self.generated else texts(self._folder, name)
        model = LanguageModel(
            LEVELS[name], minutes=self.budget, steps=self.steps, units=self.units, dropout=self.dropout
        )
        held = [validation] if validation else None
        model.fit([training], validation=held, folder=folder, resume=True)
        assert model.bundle
        config, size = model.bundle.config, sum(model.task.network.parameter_counts())
        spent = f"{config.steps:,} updates" if config.steps else f"{config.minutes:g} minutes"
        say(f"{name}: {size:,} parameters, {spent} of training, {len(model.task.symbols):,} symbols")
        scores = [*model.score(test)]
        if LEVELS[name] == "char":
            scores += model.score(test, window=WINDOW)
        scores += model.score(test, adaptive=True)
        for score in scores:
            kind = "adaptive" if score.adaptive else "static"
            say(f"  {kind:8}  {score.method:24}  {score.nats:.4f} nats  perplexity {score.perplexity:.2f}")
        say(f"  published: {PUBLISHED[name]}")
        return {
            kind: {s.method: s.figures() for s in scores if s.adaptive == adaptive}
            for kind, adaptive in (("static", False), ("adaptive", True))
        } | {"parameters": size, "training": spent}

    @property
    def _folder(self) -> Path:
        return Path(self.data or os.environ.get("UNROLLED_DATA", "data"))


def texts(folder: Path, name: str) -> tuple[str, str, str]:
    """Training, validation and test; of Shakespeare the first 90% and the last 10%, and no validation of its own."""
    path = folder / "text" / ("tinyshakespeare.txt" if name == "tinyshakespeare" else name)
    if not path.exists():
        raise DataError(
            f"There is no {path}. Name the folder of the data with --data, or try generated texts (--generated)."
        )
    if path.is_dir():
        training = gzip.decompress((path / "train.txt.gz").read_bytes()).decode("utf-8")
        valid, test = ((path / f"{part}.txt").read_text(encoding="utf-8") for part in ("valid", "test"))
        return training, valid, test
    whole = path.read_text(encoding="utf-8")
    cut = int(0.9 * len(whole))
    return whole[:cut], "", whole[cut:]


def generated() -> tuple[str, str, str]:
    """Lines of a small grammar."""
    rng = np.random.default_rng(0)
    who, what = ("cat", "dog", "hen", "old cow"), ("sat on", "ran to", "saw")
    lines = [f"the {rng.choice(who)} {rng.choice(what)} the {rng.choice(who)} .\n" for _ in range(1000)]
    return "".join(lines[:900]), "", "".join(lines[900:])
