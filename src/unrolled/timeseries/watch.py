"""A GRU that watches the last steps for what precedes an event, trained beside the regression on one step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from .. import layers, train
from ..config import RunConfig
from ..network import GRU, Dense, Network
from ..tasks import events as ev

Array = np.ndarray
LEAST_STEPS, MOST_STEPS, MOST_WINDOWS = 8, 64, 40_000


def learn(
    events: ev.Events, parts: Sequence[tuple[Array, Array, int, int]], units: int, config: RunConfig
) -> tuple[ev.Events, dict[str, Array]]:
    """Train a GRU on windows of one horizon (8 to 64 steps); the epoch with the least loss on validation is kept.

    Args:
        events: a regression on the same features, of which their mean and size are taken.
        parts: of each series the values for training, all values, their first moment, where validation begins.
        units: of the GRU.
        config: of its training.
    """
    import torch

    steps = min(max(events.horizon, LEAST_STEPS), MOST_STEPS)
    network = Network((GRU(units), Dense(1)), (steps, len(events.arrays["mean"])))
    events = replace(events, network=network)
    training = _examples(events, [(values, first, 0) for values, _, first, _ in parts])
    held = _examples(events, [(values, first, at) for _, values, first, at in parts])
    weights = network.initial(config.seed)
    torch.manual_seed(config.seed)
    # As a function, not by its name: of rare events the share of right answers says nothing.
    trainer = train.Trainer(layers.build(network, weights), train.binary_crossentropy, config)
    trainer.fit(training, held)
    return events, trainer.best


def _examples(events: ev.Events, series: list[tuple[Array, int, int]]) -> train.Arrays:
    """Windows (N, W, F) and labels (N,) of the steps from `at` on at which something is asked, evenly thinned."""
    labels = [ev.labels(values[at:, 0], events.horizon) for values, _, at in series]
    stride = -(-sum(np.isfinite(y).sum() for y in labels) // MOST_WINDOWS) or 1
    xs, ys = [], []
    for (values, first, at), y in zip(series, labels, strict=True):
        asked = np.flatnonzero(np.isfinite(y))[::stride]
        xs.append(events.inputs(values, first)[at + asked])
        ys.append(y[asked].astype(np.float32))
    return train.Arrays(np.concatenate(xs), np.concatenate(ys))
