"""A picture in, a sentence out: a decoder with attention learns to describe drawings, from scratch.

Notation: a picture is a row of R = 3 cells, its regions. v_r is what the network makes of region r, h_t its state after
word t, and a_t = sum_r w_r v_r, w = softmax(q_t . k_r), what it looks at before it chooses the next word.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..drawing import GREEN, INK, QUIET, Drawing
from . import Lesson, Narrator, option

Array = np.ndarray
Pair = tuple[str, str]
CELLS, SIZE, PAPER = 3, 9, 0.95  # cells in a row, pixels of a cell's side, and the grey of the paper
COLORS = {
    "red": (220, 40, 40), "green": (40, 180, 60), "blue": (50, 70, 230),
    "yellow": (235, 215, 40), "purple": (150, 50, 170), "grey": (130, 130, 130),
}  # fmt: skip
SHAPES = ("square", "triangle", "cross", "ring")
PAIRS = [(color, shape) for color in COLORS for shape in SHAPES]
NEW = [("red", "triangle"), ("green", "ring"), ("blue", "cross")]  # never drawn for training
KNOWN = [pair for pair in PAIRS if pair not in NEW]


def thing(pair: Pair, rng: np.random.Generator) -> Array:
    """One cell (9, 9, 3), 0 to 1: a thing a little displaced, larger or smaller, paler or darker."""
    color, shape = pair
    y, x = (np.indices((SIZE, SIZE)) - (SIZE - 1) / 2) + rng.uniform(-0.4, 0.4, (2, 1, 1))
    size = rng.uniform(3.3, 3.9)
    far = np.maximum(abs(y), abs(x))
    inside = {
        "square": far < 0.9 * size,
        "triangle": (abs(x) < (y + size) / 1.8) & (y < 0.9 * size),
        "cross": (np.minimum(abs(y), abs(x)) < 0.3 * size) & (far < size),
        "ring": (y**2 + x**2 < size**2) & (y**2 + x**2 > (0.5 * size) ** 2),
    }[shape]
    cell = np.full((SIZE, SIZE, 3), PAPER)
    cell[inside] = np.array(COLORS[color]) / 255 * rng.uniform(0.85, 1.1)
    return cell


@dataclass(frozen=True)
class Picture:
    """A row of cells, of which some hold a thing.

    Attributes:
        pixels: (cells, 9, 9, 3), 0 to 1.
        where: cells that hold a thing, from left to right.
        pairs: colour and shape of each.
    """

    pixels: Array
    where: list[int]
    pairs: list[Pair]

    @classmethod
    def draw(cls, rng: np.random.Generator, new: bool) -> Picture:
        """One to three things, no colour and no shape twice, with KNOWN pairs; with `new` one of them has a NEW one."""
        where = sorted(rng.choice(CELLS, int(rng.integers(1, CELLS + 1)), replace=False).tolist())
        pairs: list[Pair] = []
        while not pairs or sum(pair in NEW for pair in pairs) != new:
            colors, shapes = (rng.permutation(names)[: len(where)].tolist() for names in ([*COLORS], SHAPES))
            pairs = [*zip(colors, shapes)]
        pixels = np.full((CELLS, SIZE, SIZE, 3), PAPER)
        for cell, pair in zip(where, pairs):
            pixels[cell] = thing(pair, rng)
        return cls(np.clip(pixels + 0.03 * rng.standard_normal(pixels.shape), 0, 1), where, pairs)

    def sentence(self) -> list[str]:
        """What one says of it: "a red ring and a blue square"."""
        return " and ".join(f"a {color} {shape}" for color, shape in self.pairs).split()

    def regions(self) -> Array:
        """Each cell as a row of numbers, (3, 246) float32: how much darker than paper its pixels are, and its place."""
        return np.concatenate([PAPER - self.pixels.reshape(CELLS, -1), 2 * np.eye(CELLS)], 1).astype(np.float32)


@dataclass
class CaptionLesson(Lesson):
    """Drawings described: where attention looks, and sentences about things never seen in training."""

    title = "A picture in, a sentence out: attention describes drawings of things it has never seen"
    minutes = "under a minute"
    needs = ("train",)

    units: int = option(64, "Of the LSTM.", least=16, most=512)
    pictures: int = option(4000, "Drawn to learn from.", least=200)
    epochs: int = option(8, "Passes over them.", least=1)

    def run(self, say: Narrator) -> dict[str, Any]:
        from ..decoding import Decoder

        rng = np.random.default_rng(self.seed)
        say(
            f"Of {len(PAIRS)} pairs of a colour and a shape {len(NEW)} are never drawn for training, a red triangle "
            "among them. The network sees red things, and triangles, and has to put the words together itself."
        )
        say.step("1. Pictures and sentences")
        seen = [Picture.draw(rng, new=False) for _ in range(self.pictures)]
        lengths = [len(one.sentence()) for one in seen]
        for one in seen[:3]:
            say(f'cells {one.where}: "{" ".join(one.sentence())}"')
        say.claim(
            "one input, outputs of varying lengths: a picture has as many words as it needs",
            f"{len(seen):,} pictures of {CELLS} x {seen[0].regions().shape[1]} numbers, sentences of {min(lengths)} to "
            f"{max(lengths)} words",
            min(lengths) == 3 and max(lengths) == 11 and not any(pair in NEW for one in seen for pair in one.pairs),
        )
        say.step("2. Learn the next word")
        task, weights = self.learn(say, seen)
        decoder = Decoder(task.network, weights)
        say.step("3. Pictures of known things, drawn anew")
        known = self.right(task, decoder, [Picture.draw(rng, new=False) for _ in range(300)])
        say.claim("it describes what it has learned", f"{known:.1%} of 300 are right, every word", known > 0.9)
        say.step("4. Things never seen in training")
        test = [Picture.draw(rng, new=True) for _ in range(300)]
        new = self.right(task, decoder, test)
        say.claim(
            "colour and shape are put together anew: it names things that it has never seen",
            f"{new:.1%} of 300 sentences are right, every word; none of their pairs was in training",
            new > 0.8,
        )
        say.step("5. Where it looks")
        share = self.looks(say, task, decoder, test)
        say.claim(
            "before it names a thing it looks at the cell of that thing",
            f"{share:.1%} of the attention lies there; a third would if it looked nowhere in particular",
            share > 0.6,
        )
        return {"known": known, "new": new, "looks": share}

    def learn(self, say: Narrator, seen: list[Picture]) -> tuple[Any, dict[str, Array]]:
        """The vocabulary and the trained weights."""
        import torch

        from .. import layers, train
        from ..captions.learn import Captions, padded
        from ..config import RunConfig
        from ..tasks.captioning import Captioning

        torch.manual_seed(self.seed)
        regions, said = np.stack([one.regions() for one in seen]), [one.sentence() for one in seen]
        sizes = {"units": self.units, "embedding": 32, "attention": 64, "heads": 1, "dropout": 0.5}
        shape = regions.shape[1:]
        task = Captioning.of_captions(said, "", shape, least=1, picture_dropout=0.0, **sizes)
        stack = layers.build(task.network, task.network.initial(self.seed))
        config = RunConfig(
            "captioning", epochs=self.epochs, batch_size=32, learning_rate=5e-3, optimizer="adam", clip_norm=2.0,
            seed=self.seed, schedule="cosine",
        )  # fmt: skip
        trainer = train.Trainer(stack, train.categorical_crossentropy, config)
        rows = trainer.fit(
            Captions(np.arange(len(said)), padded(task, [[one] for one in said]), lambda numbers: regions[numbers])
        )
        say.table(["epoch", "loss, nats a word"], [(int(row["epoch"]), f"{row['loss']:.3f}") for row in rows])
        before, after = np.log(len(task.words)), rows[-1]["loss"]
        say.claim("it learns the next word", f"{before:.2f} nats by chance, {after:.3f} now", after < 0.1 * before)
        return task, layers.weights_of(stack)

    def right(self, task: Any, decoder: Any, pictures: list[Picture]) -> float:
        """The share of pictures whose sentence is right, word by word."""
        found = decoder.sentences(np.stack([one.regions() for one in pictures]))
        return float(np.mean([task.spoken(best.ids) == one.sentence() for (best, *_), one in zip(found, pictures)]))

    def looks(self, say: Narrator, task: Any, decoder: Any, pictures: list[Picture]) -> float:
        """The share of attention, before the words for colour and shape, that lies on the thing's cell."""
        shares = []
        for one in pictures:
            ((best, *_),) = decoder.sentences(one.regions()[None])
            weights = decoder.attention(one.regions(), best)[:, 0]  # (T, R)
            if task.spoken(best.ids) == one.sentence():
                shares += [weights[4 * k + i, cell] for k, cell in enumerate(one.where) for i in (1, 2)]
                if len(one.where) == CELLS and len(shares) > 5:
                    shown = one, task.spoken(best.ids), weights
        say.picture("caption-attention", draw(*shown))
        return float(np.mean(shares))


def draw(picture: Picture, words: list[str], weights: Array) -> Drawing:
    """The picture, and below it for each word how much attention went to each cell."""
    sheet = Drawing(760, 200 + 26 * len(words), "Where attention looks before each word")
    pixel = 13
    for cell, y, x in np.ndindex(CELLS, SIZE, SIZE):
        red, green, blue = (255 * picture.pixels[cell, y, x]).astype(int).tolist()
        at = 190 + cell * 190 + x * pixel, 40 + y * pixel
        sheet.box(*at, pixel, pixel, fill=f"#{red:02x}{green:02x}{blue:02x}")
    for t, word in enumerate(words):
        top = 180 + 26 * t
        sheet.text((100, top + 12), word, size=15, color=INK, bold=True)
        for cell, share in enumerate(weights[t].tolist()):
            sheet.box(190 + cell * 190, top, max(1.0, 117 * share), 16, fill=GREEN)
            sheet.text((340 + cell * 190, top + 12), f"{share:.2f}", size=12, color=QUIET)
    return sheet
