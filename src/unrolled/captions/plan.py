"""How a captioner and a small encoder are trained: every setting, each an option of the command line."""

from __future__ import annotations

from dataclasses import dataclass

from ..config import Options, RunConfig, option


@dataclass
class Plan(Options):
    """How a captioner is trained."""

    epochs: int = option(7, "Passes over the captions.", least=1)
    reward_epochs: int = option(5, "Passes of training on what its own sentences score; 0: none.", least=0)
    batch_size: int = option(16, "Pictures an update; twice as many on its own sentences.", least=1)
    learning_rate: float = option(1.5e-3, "Step size of Adam.", least=0)
    reward_rate: float = option(2e-4, "Step size on its own sentences.", least=0)
    samples: int = option(5, "Own sentences a picture.", least=2)
    temperature: float = option(0.5, "Own sentences are drawn from softmax(scores / temperature).", least=0.01)
    label_smoothing: float = option(0.0, "Share of each word's target spread over all words.", least=0, most=1)
    dropout: float = option(0.3, "Of word vectors and outputs; a quarter of it on its own sentences.", least=0)
    picture_dropout: float = option(0.2, "Of features; half of it on its own sentences.", least=0)
    mirror: bool = option(False, "See pictures mirrored too; not where captions tell left from right.")
    cell: str = option("lstm", "lstm or gru.")
    units: int = option(384, "Of the cell.", least=1)
    embedding: int = option(256, "Numbers of a word's vector.", least=1)
    attention: int = option(256, "Numbers of a region's vector.", least=1)
    heads: int = option(4, "Of attention; 0: pooled features alone.", least=0)
    least: int = option(5, "How often a word must occur in the captions.", least=1)
    max_length: int = option(18, "Words of a sentence at most.", least=1)
    full: bool = option(False, "Products in float32 also where the processor does them in bfloat16.")
    seed: int = option(0, "Of first weights, order and draws.", least=0)

    def decoder(self) -> dict[str, object]:
        """Settings of `network.CaptionDecoder`."""
        names = ("cell", "units", "embedding", "attention", "heads", "dropout", "picture_dropout")
        return {name: getattr(self, name) for name in names}

    def config(self, *, reward: bool = False) -> RunConfig:
        """Settings of a phase."""
        epochs, rate = (self.reward_epochs, self.reward_rate) if reward else (self.epochs, self.learning_rate)
        return RunConfig(
            task="captioning", epochs=epochs, batch_size=self.batch_size * (1 + reward), learning_rate=rate,
            optimizer="adam", validation_split=0.0, clip_norm=0.5 if reward else 2.0, seed=self.seed, schedule="cosine",
        )  # fmt: skip


@dataclass
class Seeing(Options):
    """How a small encoder is trained."""

    minutes: float = option(30.0, "Of learning; looking at the views comes before.", least=0.01)
    copies: int = option(6, "Views of a picture: the whole, and random cuts.", least=1)
    seed: int = option(0, "Of first weights, cuts and order.", least=0)

    def config(self) -> RunConfig:
        """Settings of the learning."""
        return RunConfig(
            task="captioning", minutes=self.minutes, batch_size=48, learning_rate=2e-3, optimizer="adam",
            validation_split=0.0, clip_norm=1.0, seed=self.seed, schedule="cosine",
        )  # fmt: skip
