"""torch's RNN, LSTM and GRU on the engine: the same signatures, weights and results, and `lengths=` besides.

    layer = unrolled.nn.LSTM(64, 128, num_layers=2, bidirectional=True)
    output, (h_n, c_n) = layer(x, lengths=lengths)

What the engine does not take (`kernels.supports` says why: another device or dtype, or no engine; here also a
projection and a GRU's reset before its product) is computed by torch's own function, or where torch has none, as with
`lengths`, by the readable cell, step by step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from .cells import Cell, Weights
from .cells._time import network_over_time
from .cells.elman import Elman
from .cells.gru import GRU as GRUCell
from .cells.lstm import LSTM as LSTMCell
from .errors import ShapeError, UsageError
from .kernels.recurrent import Plan, lengths_of, recurrent
from .kernels.recurrent_checks import foreign, misfit, transformed

__all__ = ["GRU", "LSTM", "RNN"]


class _Recurrent(nn.RNNBase):
    """What the three have in common; `mode` is torch's name of the recurrence.

    Args:
        given: torch's arguments, and torch's options.
        recompute: a number of steps; while training, only the outputs and the states at every so many steps are kept,
            and the backward pass computes the gates in between anew: a long sequence trains in a fraction of the memory
            (docs/engine.md has the measure). 0: everything is kept.
    """

    reset_after = True
    recompute = 0

    def __init__(self, *given: Any, recompute: int = 0, **options: Any) -> None:
        if not isinstance(recompute, int) or recompute < 0:
            raise UsageError(
                f"recompute is {recompute!r}; it must be a number of steps, or 0 to keep everything."
            )
        super().__init__(*given, **options)
        self.recompute = recompute

    def forward(
        self, input: Tensor | PackedSequence, hx: Any = None, *, lengths: Tensor | None = None
    ) -> tuple[Any, Any]:
        """Read sequences to their end.

        Args:
            input: (T, B, D), or (B, T, D) with `batch_first`, or (T, D); or a PackedSequence.
            hx: first states (num_layers * directions, B, H), for an LSTM a pair of them; zeros by default.
            lengths: how many steps each row has: (B,) integers from 0 to T, or a boolean mask in the layout of the
                input, true on the steps that exist; on any device. Past a row's end its output is zero, and its
                last state is the one at its end: with length zero, its first state.

        Returns:
            output in the layout of the input, and the last states, as torch returns them.

        Raises:
            ShapeError: shapes that do not fit each other.
            UsageError: lengths that cannot be followed.
        """
        if isinstance(input, PackedSequence):
            return self._packed(input, hx, lengths)
        if input.dim() not in (2, 3):
            raise ShapeError(f"The input has {input.dim()} axes; expected 3, or 2 for a single sequence.")
        time = 1 if self.batch_first and input.dim() == 3 else 0
        single = input.dim() == 2
        x = input.unsqueeze(1) if single else input.transpose(0, time)
        if lengths is not None:
            lengths = _counted(lengths, tuple(input.shape[:-1]), time).reshape(-1)
        states = self._first(hx, 1 if single else 0, x.shape[1])
        output, last = self._run(x, states, lengths)
        output = output.squeeze(1) if single else output.transpose(0, time)
        return output, self._answer([state.squeeze(1) for state in last] if single else last)

    def _packed(self, packed: PackedSequence, hx: Any, lengths: Tensor | None) -> tuple[Any, Any]:
        """The sequences in the order in which they are packed, longest first."""
        if lengths is not None:
            raise UsageError("A PackedSequence brings its own lengths; leave out `lengths`.")
        data, sizes, order, back = packed
        states = self._first(hx, 0, int(sizes[0]))
        if order is not None:
            states = [state.index_select(1, order) for state in states]
        output, last = self._run(data, states, None, sizes)
        if back is not None:
            last = [state.index_select(1, back) for state in last]
        return PackedSequence(output, sizes, order, back), self._answer(last)

    def _first(self, hx: Any, missing: int, batch: int) -> list[Tensor]:
        """First states (num_layers * directions, B, H) with `missing` axes put in; empty where none are given."""
        if hx is None:
            return []
        states = [state.unsqueeze(1) if missing else state for state in (hx if self.mode == "LSTM" else [hx])]
        layers = self.num_layers * (1 + self.bidirectional)
        for name, state in zip(("h_0", "c_0"), states, strict=False):
            size = self.proj_size if self.proj_size and name == "h_0" else self.hidden_size
            if tuple(state.shape) != (layers, batch, size):
                raise ShapeError(
                    f"{name} is {tuple(state.shape)}; expected {(layers, batch, size)}: layers times directions, "
                    "batch, hidden size."
                )
        return states

    def _answer(self, last: Sequence[Tensor]) -> Any:
        return tuple(last) if self.mode == "LSTM" else last[0]

    def _run(
        self, x: Tensor, states: list[Tensor], lengths: Tensor | None, sizes: Tensor | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """All layers on x (T, B, D), or (N, D) packed with batch sizes."""
        if x.shape[-1] != self.input_size:
            raise ShapeError(f"The input's last axis has {x.shape[-1]} numbers; expected {self.input_size}.")
        directions, drop = 1 + self.bidirectional, self.dropout if self.training else 0.0
        plan = Plan(self.mode.lower(), self.num_layers, directions, 2 * self.bias)
        weights = [[getattr(self, name) for name in names] for names in self._all_weights]
        flat = [weight for names in weights for weight in names]
        ends = lengths if sizes is None else lengths_of(sizes, len(x))
        if not self._obstacle(plan, x, states, flat) and (sizes is None or ends is not None):
            output, *last = recurrent(plan, x, states, flat, ends, drop, recompute=self.recompute)
            return output, last
        if lengths is None and self.reset_after:
            output, *last = self._torch(x, sizes, states, flat)
            return output, last
        if self.proj_size:
            raise UsageError("A layer with proj_size takes no `lengths`; pack the sequences instead.")
        if sizes is not None:
            x, ends = pad_packed_sequence(PackedSequence(x, sizes))
        cells = [Weights(*names) for names in weights]
        output, last = network_over_time(
            self._cell(), x, cells, states, ends, directions=directions, drop=drop
        )
        return (output if sizes is None else pack_padded_sequence(output, ends).data), last

    def _cell(self) -> Cell:
        if self.mode == "LSTM":
            return LSTMCell()
        return GRUCell(self.reset_after) if self.mode == "GRU" else Elman(self.nonlinearity)

    def _obstacle(self, plan: Plan, x: Tensor, states: list[Tensor], weights: list[Tensor]) -> str:
        """Why the engine does not compute this call; empty where it does."""
        if not self.reset_after:
            return "A GRU that resets before its product."
        rows = tuple(states[0].shape[:-1]) if states else ()
        reason = foreign(x, *states, *weights, subclasses=True) or misfit(
            plan, self.input_size, rows, states, weights
        )
        return reason or ("" if torch.compiler.is_compiling() else transformed())

    def _torch(self, x: Tensor, sizes: Tensor | None, states: list[Tensor], weights: list[Tensor]) -> Any:
        """What torch's own function gives on x (T, B, D) or on packed data with its batch sizes."""
        if not states:
            rows = (len(self._all_weights), x.shape[1] if sizes is None else int(sizes[0]))
            states = [x.new_zeros(*rows, self.proj_size or self.hidden_size)]
            states += [x.new_zeros(*rows, self.hidden_size)] * (self.mode == "LSTM")
        given = [x] if sizes is None else [x, sizes]
        options = [self.bias, self.num_layers, self.dropout, self.training, self.bidirectional]
        hx = states if self.mode == "LSTM" else states[0]
        return getattr(torch, self.mode.lower())(*given, hx, weights, *options, *[False] * (sizes is None))


class RNN(_Recurrent):
    """torch.nn.RNN on the engine: Elman's network, with `nonlinearity` "tanh" or "relu"."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        **options: Any,
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise UsageError(f"nonlinearity is '{nonlinearity}'; it must be 'tanh' or 'relu'.")
        self.nonlinearity = nonlinearity
        super().__init__(f"RNN_{nonlinearity.upper()}", input_size, hidden_size, num_layers, **options)


class LSTM(_Recurrent):
    """torch.nn.LSTM on the engine."""

    def __init__(self, *sizes: Any, **options: Any) -> None:
        super().__init__("LSTM", *sizes, **options)


class GRU(_Recurrent):
    """torch.nn.GRU on the engine.

    Args:
        sizes: torch's arguments.
        reset_after: with False the reset gate multiplies the state before its product, as in the paper, and the
            readable cell computes it: `cells/gru.py`.
        options: torch's, and `recompute`.
    """

    def __init__(self, *sizes: Any, reset_after: bool = True, **options: Any) -> None:
        super().__init__("GRU", *sizes, **options)
        self.reset_after = reset_after


def _counted(lengths: Tensor, shape: tuple[int, ...], time: int) -> Tensor:
    """Lengths (B,), int64, on the CPU, from integers or from a mask over the first axes of the input, `shape`."""
    steps = shape[time]
    traced = (
        torch.compiler.is_compiling()
    )  # then values are not known yet; the engine refuses bad lengths itself
    if lengths.dtype == torch.bool:
        if tuple(lengths.shape) != shape:
            raise ShapeError(f"The mask is {tuple(lengths.shape)}; expected {shape}, as the input.")
        counts = lengths.sum(time).to("cpu", torch.int64)
        expected = torch.arange(steps).reshape([-1 if axis == time else 1 for axis in range(len(shape))])
        if not traced and not torch.equal(lengths.to("cpu"), expected < counts.unsqueeze(time)):
            raise UsageError("A row of the mask has a hole: steps that exist must come first in each row.")
        return counts
    batch = shape[:time] + shape[time + 1 :]
    if lengths.dtype.is_floating_point or tuple(lengths.shape) != batch:
        raise ShapeError(
            f"lengths is {tuple(lengths.shape)}, {lengths.dtype}; expected integers {batch}, one for each row."
        )
    counts = lengths.to("cpu", torch.int64)
    if not traced and counts.numel() and not 0 <= int(counts.min()) <= int(counts.max()) <= steps:
        raise UsageError(f"A length is outside 0 to {steps}, the number of steps of the input.")
    return counts
