"""Pictures of what evaluation and training found, as PNG, SVG or PDF by the file's ending. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UsageError, need

_BLUE, _ORANGE, _GREY = "#2563a8", "#d9730d", "#8a8a8a"


def confusion_matrix(path: Path, confusion: np.ndarray, labels: Sequence[str]) -> Path:
    """Counts (K, K), row the true class, and each as a share of its row; returns `path`."""
    counts = np.asarray(confusion)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = 2.2 + 1.1 * len(labels)
    with _figure(path, size + 0.8, size) as (figure, axes):
        shown = axes.imshow(share, vmin=0, vmax=1, cmap="Blues")
        for (i, j), count in np.ndenumerate(counts):
            colour = "white" if share[i, j] > 0.5 else "black"
            axes.text(j, i, f"{count:,}\n{share[i, j]:.1%}", ha="center", va="center", color=colour)
        axes.set_xticks(range(len(labels)), labels)
        axes.set_yticks(range(len(labels)), labels, rotation=90, va="center")
        axes.set(xlabel="predicted", ylabel="true", title=f"Confusion matrix, n = {counts.sum():,}")
        figure.colorbar(shown, ax=axes, label="share of the true class", shrink=0.85)
    return path


def reliability(path: Path, bins: tuple[np.ndarray, np.ndarray, np.ndarray]) -> Path:
    """Share right against stated confidence, one point a bin of `metrics.reliability`; returns `path`."""
    confidence, right, count = bins
    error = float(np.sum(count * np.abs(confidence - right)) / count.sum())
    with _figure(path, 5.2, 5.0) as (_, axes):
        low = min(confidence.min(), right.min(), 0.5)
        axes.plot([low, 1], [low, 1], color=_GREY, linestyle="--", label="as sure as right")
        axes.plot(confidence, right, color=_BLUE, marker="o", label="this model")
        axes.set(xlabel="mean confidence of the bin", ylabel="share right", aspect="equal")
        axes.set_title(f"Reliability, n = {int(count.sum()):,}, calibration error {error:.3f}")
        axes.legend(frameon=False)
        axes.grid(alpha=0.3)
    return path


def history(path: Path, rows: Sequence[Mapping[str, float]]) -> Path:
    """Loss and accuracy per epoch, in training and in validation; returns `path`.

    Args:
        path: where to write.
        rows: one mapping per epoch with "epoch", "loss", "accuracy" and, if there was validation, "val_loss" and
            "val_accuracy".

    Raises:
        UsageError: there is no epoch to show.
    """
    if not rows:
        raise UsageError("The history is empty; there is no epoch to show.")
    epochs = [int(row["epoch"]) for row in rows]
    with _figure(path, 9.0, 3.8, columns=2) as (_, pair):
        for axes, name in zip(pair, ("loss", "accuracy"), strict=True):
            for key, colour, label in ((name, _BLUE, "training"), (f"val_{name}", _ORANGE, "validation")):
                if key in rows[0]:
                    axes.plot(epochs, [row[key] for row in rows], color=colour, marker="o", label=label)
            axes.set(xlabel="epoch", title=name)
            axes.set_xticks(epochs if len(epochs) <= 12 else epochs[:: -(-len(epochs) // 10)])
            axes.legend(frameon=False)
            axes.grid(alpha=0.3)
    return path


def forecast(
    path: Path,
    past: np.ndarray,
    point: np.ndarray,
    quantiles: np.ndarray,
    levels: Sequence[float],
    times: Sequence[str],
) -> Path:
    """What came before (T,), the forecast (H,) and a band for each pair of quantiles (H, Q); returns `path`."""
    shown = np.asarray(past)[-4 * len(point) :]
    ahead = np.arange(len(shown), len(shown) + len(point))
    with _figure(path, 9.0, 4.0) as (_, axes):
        axes.plot(np.arange(len(shown)), shown, color=_GREY, label="known")
        for low in range(len(levels) // 2):
            pair = quantiles[:, low], quantiles[:, len(levels) - 1 - low]
            name = f"{levels[len(levels) - 1 - low] - levels[low]:.0%} of what comes"
            axes.fill_between(ahead, *pair, color=_BLUE, alpha=0.15 + 0.1 * low, linewidth=0, label=name)
        axes.plot(ahead, point, color=_ORANGE, label="forecast")
        axes.set_xticks([ahead[0], ahead[-1]], [times[0], times[-1]])
        axes.legend(frameon=False, fontsize="small")
        axes.grid(alpha=0.3)
    return path


@contextmanager
def _figure(path: Path, width: float, height: float, columns: int = 1) -> Iterator[tuple[Any, Any]]:
    """A figure that is drawn without a screen and saved when the block ends well.

    Raises:
        MissingExtraError: matplotlib is not installed.
        UsageError: the file's ending names no picture.
    """
    need("matplotlib", "plot", "Drawing")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if path.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise UsageError(f"'{path.name}' names no kind of picture; end it in .png, .svg or .pdf.")
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    yield figure, figure.subplots(1, columns)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
