"""The lesson's way to write a network, in Keras's words: Sequential, compile, fit, evaluate, predict.

It is no second implementation: the layers are `network`'s, `fit` is `train`'s loop, `predict` is the runtime that
every shipped model uses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from . import network as net
from .config import RunConfig
from .errors import ShapeError, UsageError
from .runtime import Runtime

Array = np.ndarray
METRICS = ("accuracy", "acc")


@dataclass
class History:
    """What `fit` returns.

    Attributes:
        history: "loss", "accuracy", "val_loss", "val_accuracy", "seconds": one value per epoch.
        best_epoch: the epoch (from 1) with the highest validation accuracy; the last without validation.
        best_weights: the weights after that epoch.
    """

    history: dict[str, list[float]] = field(default_factory=dict)
    best_epoch: int = 0
    best_weights: dict[str, Array] = field(default_factory=dict)


class Sequential:
    """A list of layers that can be trained.

    Args:
        layers: for example `[Embedding(10000, 64), SimpleRNN(32), Dense(1, activation="sigmoid")]`.
        seed: of the initial weights and of the order of examples.
    """

    def __init__(self, layers: Sequence[net.Layer] = (), *, seed: int = 0) -> None:
        self.layers = list(layers)
        self.seed = seed
        self.weights: dict[str, Array] = {}
        self._input_shape: net.Shape | None = None
        self._compiled: tuple[RunConfig, str] | None = None

    def add(self, layer: net.Layer) -> None:
        """Put one more layer at the end."""
        self.layers.append(layer)
        self.weights = {}

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Fix the shape of the input, batch first as in Keras, `(None, 500)`, and draw the initial weights."""
        self._input_shape = tuple(input_shape[1:])
        if not self.weights:
            self.weights = self.network.initial(self.seed)

    @property
    def network(self) -> net.Network:
        """The layers as the package's own description. Raises ShapeError where they do not fit together."""
        return net.Network(
            tuple(self.layers), self._input_shape if self._input_shape is not None else (None,)
        )

    def compile(
        self, optimizer: str = "rmsprop", loss: str = "binary_crossentropy", metrics: Sequence[str] = ()
    ) -> None:
        """Choose how to train.

        Args:
            optimizer: "rmsprop" or "adam".
            loss: "binary_crossentropy" or "sparse_categorical_crossentropy".
            metrics: "accuracy" or "acc", which are always computed anyway.
        """
        for metric in metrics:
            if metric not in METRICS:
                raise UsageError(f"There is no metric '{metric}' here. Known: {', '.join(METRICS)}.")
        self._compiled = (RunConfig(optimizer=optimizer, seed=self.seed), loss)

    def fit(
        self,
        x: Array,
        y: Any,
        batch_size: int = 32,
        epochs: int = 1,
        verbose: int = 1,
        validation_split: float = 0.0,
        validation_data: tuple[Array, Any] | None = None,
        on_epoch: Callable[[dict[str, float]], None] | None = None,
    ) -> History:  # mirrors keras.Model.fit
        """Train, shuffling the examples anew in each epoch.

        Args:
            x: token ids (N, T) or vectors (N, T, D).
            y: targets (N,).
            batch_size: examples per update.
            epochs: passes over the examples.
            verbose: 1 prints a row per epoch, 0 nothing.
            validation_split: the last share of the examples, before shuffling, is kept for validation.
            validation_data: examples to validate on instead.
            on_epoch: called with each epoch's figures.
        """
        from . import layers as torch_layers
        from .train import Arrays, Trainer

        config, loss = self._settings()
        examples = Arrays(*self._examples(x, y))
        held_out = Arrays(*self._examples(*validation_data)) if validation_data else None
        if validation_split:
            at = int(len(examples) * (1 - validation_split))
            held_out = Arrays(examples.inputs[at:], examples.targets[at:])
            examples = Arrays(examples.inputs[:at], examples.targets[:at])
        history = History()

        def report(row: dict[str, float]) -> None:
            for name, value in row.items():
                history.history.setdefault(name, []).append(value)
            if verbose:
                print(_line(row, epochs))
            if on_epoch:
                on_epoch(row)

        config = replace(config, batch_size=batch_size, epochs=epochs)
        stack = torch_layers.build(self.network, self.weights)
        trainer = Trainer(stack, loss, config, on_epoch=report)
        trainer.fit(examples, held_out)
        self.weights = torch_layers.weights_of(stack)
        history.best_epoch, history.best_weights = trainer.progress.best_epoch + 1, trainer.best
        return history

    def predict(self, x: Array, batch_size: int = 256) -> Array:
        """The outputs (N, O) for token ids (N, T) or vectors (N, T, D), without torch."""
        x = self._inputs(x)
        runtime = Runtime(self.network, self.weights)
        return np.concatenate([runtime(x[i : i + batch_size]) for i in range(0, len(x), batch_size)])

    def evaluate(self, x: Array, y: Any, batch_size: int = 256, verbose: int = 1) -> list[float]:
        """[loss, accuracy], as in Keras."""
        _, loss_name = self._settings()
        x, targets = self._examples(x, y)
        p = self.predict(x, batch_size).astype(np.float64)
        if loss_name == "binary_crossentropy":
            right, p_true = (p[:, 0] > 0.5) == targets, np.where(targets == 1, p[:, 0], 1 - p[:, 0])
        else:
            right, p_true = p.argmax(-1) == targets, p[np.arange(len(p)), targets.astype(int)]
        loss = -float(np.log(np.maximum(p_true, 1e-7)).mean())
        if verbose:
            print(f"loss {loss:.4f}  accuracy {right.mean():.4f}")
        return [loss, float(right.mean())]

    def summary(self, print_fn: Callable[[str], None] = print) -> None:
        """Print each layer's output shape and number of parameters."""
        network = self.network
        rows = [("Layer", "Output shape", "Parameters")]
        for layer, shape, count in zip(
            self.layers, network.shapes()[1:], network.parameter_counts(), strict=True
        ):
            rows.append((layer.kind, str((None, *shape)), f"{count:,}"))
        rows.append(("Total", "", f"{sum(network.parameter_counts()):,}"))
        for name, shape_text, count_text in rows:
            print_fn(f"{name:<14}{shape_text:<20}{count_text:>12}")

    def get_weights(self) -> list[Array]:
        """The weights in the order of the layers, in this package's layout (`network.weight_shapes`)."""
        return [self.weights[name] for name in self.network.weight_shapes()]

    def set_weights(self, weights: Sequence[Array]) -> None:
        """Replace the weights. Raises BundleError where a shape or type is wrong."""
        given = dict(zip(self.network.weight_shapes(), weights, strict=True))
        self.network.check(given)
        self.weights = given

    def _settings(self) -> tuple[RunConfig, str]:
        if self._compiled is None:
            raise UsageError(
                'The network is not compiled. Call compile(optimizer="rmsprop", loss=...) first.'
            )
        return self._compiled

    def _inputs(self, x: Array) -> Array:
        x = np.asarray(x)
        if x.dtype == object:
            raise ShapeError(
                "The inputs have different lengths. Bring them to one with sequence.pad_sequences first."
            )
        x = x.astype(np.float32 if x.dtype.kind == "f" else np.int32, copy=False)
        if self._input_shape is None or not self.weights:
            self.build((None, *x.shape[1:]))
        return x

    def _examples(self, x: Array, y: Any) -> tuple[Array, Array]:
        return self._inputs(x), np.asarray(y).reshape(len(x)).astype(np.int64)


def _line(row: dict[str, float], epochs: int) -> str:
    figures = "  ".join(f"{k} {v:.4f}" for k, v in row.items() if k not in ("epoch", "seconds"))
    return f"Epoch {int(row['epoch'])}/{epochs}  {row['seconds']:.1f} s  {figures}"
