"""How a captioner is trained: first on what people said of the pictures, then on what its own sentences are worth.

Both phases go through `train.Trainer`. In the second the examples of a batch are sentences that the network draws
itself, and each word's loss is weighed by how much better its sentence scores than the other ones drawn for the same
picture: Rennie et al., "Self-critical sequence training" (2017), with the mean of the others as the baseline (Luo,
"A better variant of self-critical sequence training", 2020). The score is CIDEr-D on the training captions, END
counted as a word, or sentences learn to stop anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, nll_loss
from torch.optim.swa_utils import AveragedModel

from .. import layers, train
from .. import network as net
from ..layers.caption_decoder import CaptionDecoder, Sentences
from ..metrics.captions import Cider, Words
from ..network import END, MARKS
from ..tasks.captioning import Captioning
from .plan import Plan

Features = Callable[[np.ndarray], np.ndarray]
Judge = Callable[[dict[str, np.ndarray]], float]
AVERAGE = 0.998
"""Share of the running mean of all weights that an update leaves; the mean is what is scored and kept."""


@dataclass(frozen=True)
class Captions(train.Arrays):
    """What people said: `inputs` (N,) numbers of pictures, `targets` (N, k, T) ids with END, PAD past it."""

    features: Features

    def batches(self, size: int, order: np.ndarray | None = None, start: int = 0) -> Iterator[tuple[Sentences, Tensor]]:
        """Batches of `size` pictures with all their captions; targets (M,), sentence by sentence."""
        order = np.arange(len(self)) if order is None else order
        for at in range(start * size, len(order), size):
            rows = order[at : at + size]
            yield self.batch(rows, torch.from_numpy(self.features(self.inputs[rows])).float())

    def batch(self, rows: np.ndarray, regions: Tensor) -> tuple[Sentences, Tensor]:
        """The pictures `rows` with features (P, R, D)."""
        return _pairs(regions, torch.from_numpy(self.targets[rows]).long().flatten(0, 1))


def _pairs(regions: Tensor, said: Tensor) -> tuple[Sentences, Tensor]:
    """Sentences (N, T) as what the network reads, and what it should say (M,)."""
    lengths = (said > 0).sum(1)
    said = said[:, : int(lengths.max())]
    before = torch.cat([torch.full((len(said), 1), END), said[:, :-1]], 1)
    return Sentences(regions, before, lengths), said[said > 0]


@dataclass(frozen=True)
class OwnSentences(Captions):
    """What the network says itself, each word with the advantage of its sentence: targets (M, 2)."""

    network: CaptionDecoder
    task: Captioning
    reward: Cider
    samples: int
    temperature: float

    def batch(self, rows: np.ndarray, regions: Tensor) -> tuple[Sentences, Tensor]:
        """`samples` sentences a picture."""
        self.network.eval()
        said = self.network.draw(regions, self.samples, self.task.max_length, self.temperature)
        self.network.train()
        words = [[*self.task.spoken(ids), MARKS[END]] for ids in said.tolist()]
        scores = self.reward.each(words, np.repeat(rows, self.samples).tolist())
        advantage = advantages(scores.reshape(-1, self.samples)).reshape(-1)
        sentences, ids = _pairs(regions, said)
        each = torch.from_numpy(advantage).float().repeat_interleave(sentences.lengths)
        return sentences, torch.stack([ids.float(), each], 1)


def advantages(scores: np.ndarray) -> np.ndarray:
    """Of scores (P, k) each less the mean of the k - 1 others of its picture."""
    return scores - (scores.sum(1, keepdims=True) - scores) / (scores.shape[1] - 1)


def weighed(logits: Tensor, targets: Tensor, temperature: float = 1.0) -> Tensor:
    """- advantage * log p(word), mean over words, p = softmax(scores / temperature): (M, V), targets (M, 2)."""
    losses = nll_loss((logits / temperature).log_softmax(-1), targets[:, 0].long(), reduction="none")
    return (targets[:, 1] * losses).mean()


class Averaging(train.Trainer):
    """A Trainer that keeps the running mean of the weights, and has it judged after each epoch.

    Args:
        judge: weights by name to the score that validation gives them.
        given: as of `train.Trainer`.
    """

    def __init__(self, judge: Judge, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self.judge, self.average = judge, AveragedModel(self.stack, avg_fn=_averaged)

    def step(self, inputs: Tensor, targets: Tensor) -> tuple[float, int]:
        found = super().step(inputs, targets)
        self.average.update_parameters(self.stack)
        return found

    def weights(self) -> dict[str, np.ndarray]:
        return layers.weights_of(self.average.module)

    def _finish_epoch(self, row: train.Row) -> None:
        row["val_score"] = self.judge(self.weights())
        super()._finish_epoch(row)

    def _tensors(self) -> dict[str, np.ndarray]:
        average = self.average.state_dict()
        return super()._tensors() | {f"average/{name}": value.numpy() for name, value in average.items()}

    def _restore(self, tensors: dict[str, np.ndarray]) -> None:
        super()._restore(tensors)
        names = [name for name in tensors if name.startswith("average/")]
        self.average.load_state_dict({name[8:]: torch.from_numpy(tensors[name].copy()) for name in names})


def _averaged(mean: Tensor, new: Tensor, count: Tensor) -> Tensor:
    # A short memory at first, so that the first weights are soon forgotten.
    return mean.lerp(new, 1 - min(AVERAGE, (1 + float(count)) / (10 + float(count))))


@dataclass
class Learner:
    """Both phases; what an interrupted run left in `folder` goes on.

    Attributes:
        task: the vocabulary and the untrained decoder.
        said: the captions of each training picture, as words.
        features: picture numbers (n,) to features (n, R, D).
        judge: weights to their score on the validation pictures; the epoch with the highest is kept.
        plan: settings.
        folder: where checkpoints go.
        on_batch: see `train.Trainer`.
        on_epoch: see `train.Trainer`.
    """

    task: Captioning
    said: Sequence[Sequence[Words]]
    features: Features
    judge: Judge
    plan: Plan
    folder: Path
    on_batch: Callable[[train.Progress, int], None] | None = None
    on_epoch: Callable[[train.Row], None] | None = None

    def fit(self) -> tuple[dict[str, np.ndarray], list[train.Row]]:
        """The weights, and a row of figures for each epoch of both phases; `val_score` is what `judge` said."""
        torch.manual_seed(self.plan.seed)
        captions = Captions(np.arange(len(self.said)), padded(self.task, self.said), self.features)
        stack = self._stack(self.task.network, self.task.network.initial(self.plan.seed))
        first = self._phase("words", stack, self._smoothed, captions)
        if not self.plan.reward_epochs:
            return first.best, first.progress.history
        second = self._phase("reward", *self._own_sentences(first.best, captions))
        return second.best, first.progress.history + second.progress.history

    def _own_sentences(self, weights: dict[str, np.ndarray], captions: Captions) -> Any:
        (layer,) = self.task.network.layers
        assert isinstance(layer, net.CaptionDecoder)
        calmer = replace(layer, dropout=self.plan.dropout / 4, picture_dropout=self.plan.picture_dropout / 2)
        stack = self._stack(replace(self.task.network, layers=(calmer,)), weights)
        reward = Cider([[[*words, MARKS[END]] for words in one] for one in self.said])
        drawn = self.plan.samples, self.plan.temperature
        own = OwnSentences(captions.inputs, captions.targets, self.features, stack[0], self.task, reward, *drawn)
        return stack, partial(weighed, temperature=self.plan.temperature), own

    def _stack(self, network: net.Network, weights: dict[str, np.ndarray]) -> layers.Stack:
        stack = layers.build(network, weights)
        stack[0].half = not self.plan.full
        return stack

    def _phase(self, name: str, stack: layers.Stack, loss: train.Loss, examples: Captions) -> Averaging:
        config = self.plan.config(reward=name == "reward")
        told = {"on_batch": self.on_batch, "on_epoch": self.on_epoch}
        trainer = Averaging(self.judge, stack, loss, config, folder=self.folder / name, **told)
        trainer.resume()
        trainer.fit(examples)
        return trainer

    def _smoothed(self, logits: Tensor, targets: Tensor) -> Tensor:
        return cross_entropy(logits, targets, label_smoothing=self.plan.label_smoothing)


def padded(task: Captioning, said: Sequence[Sequence[Words]]) -> np.ndarray:
    """Captions as ids (N, k, T), END last and PAD past it; of pictures with fewer than k captions rows of PAD."""
    found = np.zeros((len(said), max(map(len, said)), task.max_length + 1), np.int32)
    for i, captions in enumerate(said):
        for j, words in enumerate(captions):
            ids = task.numbers(words)
            found[i, j, : len(ids)] = ids
    return found
