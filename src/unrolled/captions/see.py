"""A small encoder that learns to see what a large one sees, on `views` of pictures alone: Hinton et al. (2015).

A residual network (He et al. 2016) of three stages; its last map, rectified, is what a captioner reads. From it one
linear layer, needed for learning only, guesses the large one's z. The loss is the share of z that stays unexplained
region by region, and of the mean z as far as captions need it; both are the same picture, cut and mirrored alike
(Beyer et al., "A good teacher is patient and consistent", 2022). Views grow while it learns (Tan and Le 2021) and are
largest in use, where nothing is cut off (Touvron et al., "Fixing the train-test resolution discrepancy", 2019).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from .. import bundle as bundles
from .. import train
from ..datasets import Examples
from ..encoder import FILE, Encoder
from ..exports._graph import Graph
from . import Described
from .plan import Seeing
from .views import PIXELS, Gaze, words_from

FIRST, BLOCKS, REGIONS = 32, (32, 64, 64, 160, 160), 512
"""Channels of the first map, a fourth of the picture's sides, of each block, which halves them where it widens, and of
the last map."""
SIZES = (80, 96, 112)
"""Sides of a view in the thirds of learning."""


class Conv(nn.Sequential):
    """A convolution with batch normalization."""

    def __init__(self, into: int, out: int, side: int, stride: int = 1) -> None:
        pad = 0 if side == stride else side // 2
        super().__init__(nn.Conv2d(into, out, side, stride, pad, bias=False), nn.BatchNorm2d(out))

    def write(self, graph: Graph, x: str) -> str:
        """Both as one convolution of ONNX, its weights in 16 bits."""
        conv, norm = self
        scale = (norm.weight / (norm.running_var + norm.eps).sqrt()).detach()
        weights = (conv.weight.detach() * scale[:, None, None, None]).numpy()
        bias = (norm.bias - norm.running_mean * scale).detach().numpy()
        half = graph.cast(graph.constant(weights, np.float16), "FLOAT")
        return str(graph("Conv", x, half, bias, pads=[conv.padding[0]] * 4, strides=[*conv.stride]))


class Block(nn.Module):
    """relu(s(x) + b(relu(a(x)))); s is x itself where sizes allow."""

    def __init__(self, into: int, out: int, stride: int) -> None:
        super().__init__()
        self.a, self.b = Conv(into, out, 3, stride), Conv(out, out, 3)
        self.s = None if into == out and stride == 1 else Conv(into, out, stride, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(B, into, H, W) to (B, out, H / stride, W / stride)."""
        return ((x if self.s is None else self.s(x)) + self.b(self.a(x).relu())).relu()

    def write(self, graph: Graph, x: str) -> str:
        """The same in ONNX."""
        beside = x if self.s is None else self.s.write(graph, x)
        return str(graph("Relu", graph("Add", beside, self.b.write(graph, graph("Relu", self.a.write(graph, x))))))


class Eye(nn.Module):
    """The small encoder, and what guesses z from its map.

    Args:
        directions: P of z.
    """

    def __init__(self, directions: int) -> None:
        super().__init__()
        self.first, self.last = Conv(3, FIRST, 4, 4), Conv(BLOCKS[-1], REGIONS, 1)
        self.blocks = nn.ModuleList(Block(a, b, 1 if a == b else 2) for a, b in pairwise((FIRST, *BLOCKS)))
        self.guess = nn.Conv2d(REGIONS, directions, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """RGB from 0 to 255, (B, 3, H, W), to the map (B, REGIONS, H / 16, W / 16)."""
        x = self.first((pixels - 127.5) / 64).relu()
        for block in self.blocks:
            x = block(x)
        return self.last(x).relu()

    def logits(self, pixels: Tensor) -> Tensor:
        """The guess of z, (B, P, H / 16, W / 16)."""
        return self.guess(self(pixels))

    def write(self) -> bytes:
        """The ONNX file: `pixels` (N, 3, PIXELS, PIXELS) to `regions`."""
        graph = Graph()
        x = graph("Relu", self.first.write(graph, graph("Div", graph("Sub", "pixels", 127.5), 64.0)))
        for block in self.blocks:
            x = block.write(graph, x)
        x, side = graph("Relu", self.last.write(graph, x)), PIXELS // 16
        inputs: Any = {"pixels": ("FLOAT", ["N", 3, PIXELS, PIXELS])}
        return graph.model(inputs, {"regions": x}, "A small image encoder.", ["N", REGIONS, side, side])


@dataclass(frozen=True)
class Looks(train.Arrays):
    """Views of N pictures by number, that of picture i in copy k being k N + i.

    Training batches are mirrored as a coin falls, picture and map alike.
    """

    views: list[np.ndarray]

    @classmethod
    def of(cls, views: list[np.ndarray]) -> Looks:
        """All views."""
        numbers = np.arange(sum(map(len, views)))
        return cls(numbers, numbers, views)

    def batches(self, size: int, order: np.ndarray | None = None, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Pixels (B, 3, PIXELS, PIXELS) and z (B, P, h, w) as the large encoder saw it."""
        numbers = self.inputs if order is None else order
        for at in range(start * size, len(numbers), size):
            rows = [
                self.views[k][i] for k, i in (divmod(n, len(self.views[0])) for n in numbers[at : at + size].tolist())
            ]
            pair = [
                torch.from_numpy(np.stack([row[name] for row in rows])).permute(0, 3, 1, 2) for name in ("pixels", "z")
            ]
            if order is not None:
                turned = (torch.rand(len(rows)) < 0.5)[:, None, None, None]
                pair = [torch.where(turned, x.flip(3), x) for x in pair]
            yield pair[0].float(), pair[1].float()


class Watching(train.Trainer):
    """A Trainer whose views grow."""

    def step(self, inputs: Tensor, targets: Tensor) -> tuple[float, int]:
        size = SIZES[min(int(self.share(0) * len(SIZES)), len(SIZES) - 1)]
        return super().step(interpolate(inputs, size=(size, size), mode="bilinear", antialias=True), targets)


def unexplained(words: Tensor, guess: Tensor, seen: Tensor) -> Tensor:
    """The mean square of what is wrong with z, region by region, and with the mean z times `words`."""
    if guess.shape != seen.shape:
        seen = interpolate(seen, size=guess.shape[2:], mode="bilinear", antialias=True)
    wrong = guess - seen
    return wrong.square().mean() + (wrong.mean((2, 3)) @ words).square().mean()


def make(
    training: Examples, validation: Examples, teacher: Encoder, plan: Seeing, folder: Path, say: Callable[[str], None],
    on_epoch: Callable[[train.Row], None] | None = None,
) -> Path:  # fmt: skip
    """Train a small encoder; what an interrupted run left in `folder` goes on. Returns the ONNX file.

    Args:
        training: pictures, and what was said of them.
        validation: others, on which the loss of every epoch is taken; nothing is learned from them.
        teacher: the large encoder.
        plan: settings.
        folder: where views, checkpoints and `encoder.onnx` go.
        say: told what is done.
        on_epoch: called with a row of figures for each epoch, a pass over all views.

    Raises:
        DataError: a picture that cannot be read.
        MissingExtraError: onnx is not installed.
    """
    described, others = Described.of(training), Described.of(validation)
    gaze = Gaze.of(described.pictures, teacher)
    seen = gaze.views(described.pictures, folder / "views", plan.copies, plan.seed, say)
    held = gaze.views(others.pictures, folder / "held", 1, plan.seed, say)
    words = torch.from_numpy(words_from(seen[0]["z"].mean((1, 2), dtype=np.float32), described.said))
    torch.manual_seed(plan.seed)
    eye, loss = Eye(len(words)).to(memory_format=torch.channels_last), partial(unexplained, words)
    trainer = Watching(eye, loss, plan.config(), folder=folder / "learning", on_epoch=on_epoch)
    trainer.resume()
    trainer.fit(Looks.of(seen), Looks.of(held))
    eye.load_state_dict({name: torch.from_numpy(value) for name, value in trainer.best.items()})
    bundles.write_atomically(folder / FILE, eye.write())
    return folder / FILE
