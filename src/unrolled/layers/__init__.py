"""How a cell meets time, in torch: what executes a `network.Network` during training.

A shelf: the file `simple_rnn.py` executes the layer that `network` calls "simple_rnn". `build` turns a network
and its weights into a `Stack` whose state_dict has the network's own names, so that weights pass between disk,
torch and the runtime unchanged.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from .. import network as net
from .. import shelf


class Rows(NamedTuple):
    """Vectors that have not been looked up yet: rows `tokens` (B, T) of `table` (V, D).

    A recurrent layer multiplies the table once instead of every looked-up vector; any other layer asks for
    `vectors()`.
    """

    tokens: Tensor
    table: Tensor

    def vectors(self) -> Tensor:
        """The looked-up vectors, (B, T, D)."""
        return nn.functional.embedding(self.tokens, self.table)


class Executed(nn.Module, ABC):
    """One layer in torch. Its parameters carry the names of `network.Layer.weight_shapes`; batch comes first."""

    @abstractmethod
    def __init__(self, layer: Any, shape: net.Shape) -> None:
        """Allocate the parameters of `layer` for an input of `shape` (without the batch)."""
        super().__init__()

    @abstractmethod
    def logits(self, x: Tensor | Rows, lengths: Tensor | None = None) -> Tensor | Rows:
        """The output before a final activation, which losses are computed from.

        `lengths` (B,), int64, are the steps of each row; None: all of them. Steps past a row's end give zeros.
        """

    def forward(self, x: Tensor | Rows, lengths: Tensor | None = None) -> Tensor | Rows:
        """The output, (B, ...)."""
        return self.logits(x, lengths)


class Ragged(NamedTuple):
    """A batch whose rows have lengths of their own: `x` (B, T) ids or (B, T, D) vectors, `lengths` (B,) int64.

    What stands past a row's end is never read, and no recurrent layer computes it.
    """

    x: Tensor
    lengths: Tensor


class Stack(nn.Sequential):
    """The layers of a network, one after the other; state_dict names are "0.weight", "1.weight_hh", ..."""

    carried: dict[str, Tensor]  # see train.Trainer

    def __init__(self, network: net.Network) -> None:
        shapes = network.shapes()
        kinds = [shelf.find("layers", layer.kind, Executed) for layer in network.layers]
        super().__init__(
            *(
                kind(*given)
                for kind, given in zip(kinds, zip(network.layers, shapes, strict=False), strict=True)
            )
        )

    def logits(self, x: Tensor | Ragged) -> Tensor:
        """The outputs before the last layer's activation."""
        hidden, lengths = self._before_last(x)
        return vectors(self[-1].logits(hidden, lengths))

    def forward(self, x: Tensor | Ragged) -> Tensor:
        """Token ids (B, T) or vectors (B, T, D), or a Ragged of them, to the network's outputs."""
        hidden, lengths = self._before_last(x)
        return vectors(self[-1](hidden, lengths))

    def _before_last(self, x: Tensor | Ragged) -> tuple[Tensor | Rows, Tensor | None]:
        hidden, lengths = x if isinstance(x, Ragged) else (x, None)
        for module in list(self)[:-1]:
            hidden = module(hidden, lengths)
        return hidden, lengths


def vectors(x: Tensor | Rows) -> Tensor:
    """`x` itself, or its rows looked up."""
    return x.vectors() if isinstance(x, Rows) else x


def has_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 itself: torch computes it everywhere, but else many times slower."""
    return any(getattr(torch.cpu, f"_is_{name}_supported", bool)() for name in ("avx512_bf16", "amx_tile"))


def products(half: bool) -> torch.autocast:
    """The context of products in bfloat16 where `half` is asked for and the processor has it, else in float32."""
    return torch.autocast("cpu", torch.bfloat16, enabled=half and has_bfloat16())


def build(network: net.Network, weights: Mapping[str, np.ndarray]) -> Stack:
    """A torch module that computes `network`, with a copy of `weights`.

    Raises:
        BundleError: the weights are not this network's.
    """
    network.check(dict(weights))
    stack = Stack(network)
    stack.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in weights.items()})
    return stack


def weights_of(stack: nn.Module) -> dict[str, np.ndarray]:
    """Copies of a module's weights, by the network's names."""
    return {name: value.detach().cpu().numpy().copy() for name, value in stack.state_dict().items()}
