"""What a large encoder sees in pictures, whole and in random cuts: what the small encoder of `see` learns from."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..data import images
from ..encoder import Encoder
from ..errors import need
from ..linear import Moments
from ..metrics.captions import Words

PIXELS = 128
"""Sides of a view as the small encoder gets it."""
DIRECTIONS, MEASURED, WORDS = 256, 1000, 800
"""Of z; pictures that they are found on; frequent words that are asked for."""
LEAST, ROUND = 0.3, 4 / 3
"""Of a cut: its area as a share of the picture's at least, and its width over its height at most."""


@dataclass(frozen=True)
class Gaze:
    """A large encoder's features f as z = s L^-1/4 V' (f - mean).

    V are its P main directions and L the variances along them, so weighed between raw and white that neither the
    loudest nor the faintest decide alone; s makes the mean variance of z one.

    Attributes:
        teacher: the encoder.
        mean: of its features, (C,).
        map: from f - mean to z, (C, P).
    """

    teacher: Encoder
    mean: np.ndarray
    map: np.ndarray

    @classmethod
    def of(cls, pictures: Sequence[images.Picture], teacher: Encoder) -> Gaze:
        """Measured on the first pictures."""
        rows = np.concatenate([teacher.read(one) for one in pictures[:MEASURED]]).astype(np.float32)
        rows -= (mean := rows.mean(0))
        variances, directions = np.linalg.eigh((rows.T @ rows).astype(np.float64) / len(rows))
        main = np.maximum(variances[-DIRECTIONS:], 1e-9)
        map_ = directions[:, -DIRECTIONS:] * main**-0.25 / np.sqrt(np.sqrt(main).mean())
        return cls(teacher, mean, map_.astype(np.float32))

    def views(
        self, pictures: Sequence[images.Picture], folder: Path, copies: int, seed: int, say: Callable[[str], None]
    ) -> list[np.ndarray]:
        """Each picture `copies` times, first as a whole; what lies in `folder` is not made again.

        Returns:
            Of each copy the rows (N,) with `pixels` (PIXELS, PIXELS, 3) uint8, and `z` (h, w, P) float16.

        Raises:
            DataError: a picture that cannot be read.
        """
        folder.mkdir(parents=True, exist_ok=True)
        for k in range(copies):
            if not (path := folder / f"{k}.npy").exists():
                self._look(pictures, path, np.random.default_rng([seed, k]) if k else None)
            say(f"view {k + 1} of {copies}: {len(pictures):,} pictures")
        return [np.load(folder / f"{k}.npy", mmap_mode="r") for k in range(copies)]

    def _look(self, pictures: Sequence[images.Picture], path: Path, rng: np.random.Generator | None) -> None:
        image, teacher, part = need("PIL.Image", "caption", "Reading pictures"), self.teacher, path.with_suffix(".part")
        kind = [("pixels", "u1", (PIXELS, PIXELS, 3)), ("z", "f2", (*teacher.grid, self.map.shape[1]))]
        rows = np.lib.format.open_memmap(part, "w+", np.dtype(kind), (len(pictures),))
        for picture, pixels, z in zip(pictures, rows["pixels"], rows["z"], strict=True):
            whole = image.fromarray(images.decode(picture.read(), teacher.size, str(picture)))
            box = (0, 0, *teacher.size) if rng is None else _cut(teacher.size, rng)
            small, large = (
                whole.resize(size, image.Resampling.BILINEAR, box=box) for size in ((PIXELS, PIXELS), teacher.size)
            )
            pixels[:] = small
            z[:] = ((teacher.encode(np.asarray(large)).astype(np.float32) - self.mean) @ self.map).reshape(z.shape)
        rows.flush()
        os.replace(part, path)


def _cut(size: tuple[int, int], rng: np.random.Generator) -> tuple[float, float, float, float]:
    """A rectangle of the picture, its area and the logarithm of its form drawn evenly."""
    area, form = rng.uniform(LEAST, 1), ROUND ** rng.uniform(-0.5, 0.5)
    sides = np.minimum(1, [np.sqrt(area) * form, np.sqrt(area) / form])
    left, top, right, bottom = np.concatenate([begin := rng.uniform(0, 1 - sides), begin + sides]) * [*size, *size]
    return left, top, min(right, size[0]), min(bottom, size[1])


def words_from(z: np.ndarray, said: Sequence[Sequence[Words]]) -> np.ndarray:
    """The ridge map (P, WORDS) from the mean z (N, P) of pictures to the words that people used, its variance one.

    Each word's share of a picture's captions is divided by the root of its deviation, so that rare words count too.
    """
    counts = Counter(word for one in said for caption in one for word in {*caption})
    place = {word: i for i, (word, _) in enumerate(counts.most_common(WORDS))}
    used = np.zeros((len(z), len(place)), np.float32)
    for row, one in zip(used, said, strict=True):
        for caption in one:
            row[[place[word] for word in {*caption} & place.keys()]] += 1 / len(one)
    used -= used.mean(0)
    found = Moments.of(z - z.mean(0), used / np.sqrt(used.std(0) + 1e-3)).solve(0.03)
    return (found / np.sqrt((z @ found).var(0).mean())).astype(np.float32)
