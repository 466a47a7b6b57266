"""What a GRU adds to the linear maps: it reads the same scaled windows in patches and answers all H steps at once.

Segments, windows with their own level taken out and a direct answer are what separates recurrent networks that can
forecast from those that cannot (Lin et al., "SegRNN", 2023). It is trained on what the maps leave over, so that a
network that learns nothing changes nothing; how much of its answer is added is chosen on validation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .. import layers, train
from ..config import RunConfig
from ..data import windows as win
from ..network import GRU, Dense, Network
from ..runtime import Runtime
from ..tasks.forecast import scale
from . import search

Array = np.ndarray
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
MOST_WINDOWS = 40_000


class Correction(NamedTuple):
    """A trained network, its weights, the share of its answer to add, the validation's answers with it and their error,
    and how it was trained.
    """

    network: Network
    weights: dict[str, Array]
    share: float
    answers: Array
    error: float
    config: RunConfig


def architecture(horizon: int, look: int, season: int, units: int) -> Network:
    """A GRU over patches of one season (24 where that is none) of the last `look` steps, and a dense layer."""
    patch = min(season if 4 <= season <= 64 else 24, look)
    return Network((GRU(units), Dense(horizon)), (look // patch, patch))


def learn(
    training: search.Training,
    found: search.Found,
    units: int,
    config: RunConfig,
    say: Callable[[str], None],
) -> Correction:
    """Train the network on the training windows and choose its share on the validation.

    Args:
        training: the series.
        found: the maps.
        units: of the GRU.
        config: of its training.
        say: called with a line for each epoch, and for what comes of it.
    """
    import torch

    look = max(choice.look for choice in found.choices)
    network = architecture(training.horizon, look, training.season, units)
    weights = network.initial(config.seed)
    weights["1.weight"] *= 0.1  # it begins near the maps alone
    parts = [w for w in training.training(look) if len(w)]
    windows = win.join(parts)
    stride = -(-len(windows) // MOST_WINDOWS)
    windows = windows.take(np.arange(0, len(windows), stride))
    fitted = search.fitted(training, found, windows)
    examples = [
        _examples(training, found, network, *pair)
        for pair in ((windows, fitted), (found.judged, found.answers))
    ]
    torch.manual_seed(config.seed)
    absolute = training.measure != "mse"

    def loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        off = targets[:, 1] * (logits - targets[:, 0]).abs()
        return (off if absolute else off**2).mean()

    def on_epoch(row: train.Row) -> None:
        say(f"epoch {row['epoch']:.0f}: {row['loss']:.4f}, validation {row['val_loss']:.4f}")

    trainer = train.Trainer(layers.build(network, weights), loss, config, on_epoch=on_epoch)
    trainer.fit(*(train.Arrays(x, y) for x, y, _ in examples))
    correction = examples[1][2] * Runtime(network, trainer.best)(examples[1][0])
    errors = {s: training.error(found.judged, found.points(found.answers + s * correction)) for s in SHARES}
    share = min(errors, key=lambda s: errors[s])
    say(f"with {share:.0%} of the network's correction: {errors[share]:.4f}, without {found.error:.4f}")
    return Correction(network, trainer.best, share, found.answers + share * correction, errors[share], config)


def _examples(
    training: search.Training, found: search.Found, network: Network, windows: win.Windows, answers: Array
) -> tuple[Array, Array, Array]:
    """Patches (N, T, P), what the maps leave over beside its weight (N, 2, H), and the windows' sizes (N, 1)."""
    steps, patch = (int(n or 1) for n in network.input_shape)
    w = scale(windows.tail(steps * patch), training.scales, log=found.log)
    left = (w.level + w.size * w.targets - answers) / w.size
    known = np.isfinite(left)
    units = np.array([search.spread(values[:, 0], found.log) for values in training.series])
    weight = known * (w.size / units[windows.series][:, None])
    x = w.features[:, : steps * patch].reshape(-1, steps, patch)
    targets = np.stack([np.where(known, left, 0), weight], axis=1)
    return x.astype(np.float32), targets.astype(np.float32), w.size
