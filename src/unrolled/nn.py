"""torch's RNN, LSTM and GRU on the engine: the same signatures, weights and results, and `lengths=` besides.

    layer = unrolled.nn.LSTM(64, 128, num_layers=2, bidirectional=True)
    output, (h_n, c_n) = layer(x, lengths=lengths)

What the engine does not take (`kernels.supports` says why: another device or dtype, or no engine; here also a
projection) is computed by torch's own function, or with `lengths` by the readable cell, step by step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from . import kernels
from .cells import Cell, Weights
from .cells._time import over_time
from .cells.elman import Elman
from .cells.gru import GRU as GRUCell
from .cells.lstm import LSTM as LSTMCell
from .errors import ShapeError, UsageError

__all__ = ["GRU", "LSTM", "RNN"]

States = Sequence[Tensor]
_CELLS = {"RNN_TANH": "elman", "RNN_RELU": "elman", "LSTM": "lstm", "GRU": "gru"}


class _Recurrent(nn.RNNBase):
    """What the three have in common; `mode` is torch's name of the recurrence."""

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
        if not self._supported(data):
            output, *last = self._torch(data, sizes, states)
        else:
            x, counts = pad_packed_sequence(PackedSequence(data, sizes))
            padded, last = self._run(x, states, counts)
            output = pack_padded_sequence(padded, counts).data
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

    def _answer(self, last: States) -> Any:
        return tuple(last) if self.mode == "LSTM" else last[0]

    def _supported(self, x: Tensor) -> bool:
        """Whether the engine computes this call."""
        return not self.proj_size and bool(
            kernels.supports(_CELLS[self.mode], dtype=x.dtype, device=x.device.type)
        )

    def _run(self, x: Tensor, states: States, lengths: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        """All layers on x (T, B, D)."""
        if x.shape[-1] != self.input_size:
            raise ShapeError(f"The input's last axis has {x.shape[-1]} numbers; expected {self.input_size}.")
        if not self._supported(x) and lengths is None:
            output, *last = self._torch(x, None, states)
            return output, last
        if self.proj_size:
            raise UsageError("A layer with proj_size takes no `lengths`; pack the sequences instead.")
        last = []
        for layer in range(self.num_layers):
            outputs = []
            for direction in range(1 + self.bidirectional):
                index = layer * (1 + self.bidirectional) + direction
                weights = Weights(*(getattr(self, name) for name in self._all_weights[index]))
                first = [state[index] for state in states]
                output, final = self._layer(x, weights, first, lengths, bool(direction))
                outputs.append(output)
                last.append(final)
            x = torch.cat(outputs, -1) if self.bidirectional else outputs[0]
            if self.dropout and layer < self.num_layers - 1:
                x = dropout(x, self.dropout, self.training)
        return x, [torch.stack(state) for state in zip(*last, strict=True)]

    def _layer(
        self, x: Tensor, weights: Weights, first: States, lengths: Tensor | None, reverse: bool
    ) -> tuple[Tensor, States]:
        """One layer in one direction, from x (T, B, D) to its output and its last states."""
        cell = _CELLS[self.mode]
        if not self._supported(x):
            return over_time(_cell(self.mode), x, weights, first, lengths, reverse)
        from .kernels import gated_ops, torch_ops

        if cell == "lstm":
            return gated_ops.lstm(x, *weights, tuple(first) or None, lengths=lengths, reverse=reverse)
        if cell == "gru":
            output, h_n = gated_ops.gru(x, *weights, *first, lengths=lengths, reverse=reverse)
            return output, (h_n,)
        w_ih, w_hh, b_ih, b_hh = weights
        bias = None if b_ih is None or b_hh is None else b_ih + b_hh
        output, h_n = torch_ops.elman(
            x, w_ih, w_hh, bias, *first, lengths=lengths, nonlinearity=self.nonlinearity, reverse=reverse
        )
        return output, (h_n,)

    def _torch(self, x: Tensor, sizes: Tensor | None, states: States) -> tuple[Tensor, ...]:
        """What torch's own function gives on x (T, B, D) or on packed data with its batch sizes."""
        if not states:
            batch = x.shape[1] if sizes is None else int(sizes[0])
            layers = self.num_layers * (1 + self.bidirectional)
            states = [x.new_zeros(layers, batch, self.proj_size or self.hidden_size)]
            if self.mode == "LSTM":
                states.append(x.new_zeros(layers, batch, self.hidden_size))
        given = [x] if sizes is None else [x, sizes]
        options = [self.bias, self.num_layers, self.dropout, self.training, self.bidirectional]
        function = getattr(torch, self.mode.lower())
        hx = states if self.mode == "LSTM" else states[0]
        weights = [getattr(self, name) for names in self._all_weights for name in names]
        return function(*given, hx, weights, *options, *[False] * (sizes is None))


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
    """torch.nn.GRU on the engine."""

    def __init__(self, *sizes: Any, **options: Any) -> None:
        super().__init__("GRU", *sizes, **options)


def _counted(lengths: Tensor, shape: tuple[int, ...], time: int) -> Tensor:
    """Lengths (B,), int64, on the CPU, from integers or from a mask over the first axes of the input, `shape`."""
    steps = shape[time]
    if lengths.dtype == torch.bool:
        if tuple(lengths.shape) != shape:
            raise ShapeError(f"The mask is {tuple(lengths.shape)}; expected {shape}, as the input.")
        counts = lengths.sum(time).to("cpu", torch.int64)
        expected = torch.arange(steps).reshape([-1 if axis == time else 1 for axis in range(len(shape))])
        if not torch.equal(lengths.to("cpu"), expected < counts.unsqueeze(time)):
            raise UsageError("A row of the mask has a hole: steps that exist must come first in each row.")
        return counts
    batch = shape[:time] + shape[time + 1 :]
    if lengths.dtype.is_floating_point or tuple(lengths.shape) != batch:
        raise ShapeError(
            f"lengths is {tuple(lengths.shape)}, {lengths.dtype}; expected integers {batch}, one for each row."
        )
    counts = lengths.to("cpu", torch.int64)
    if counts.numel() and not 0 <= int(counts.min()) <= int(counts.max()) <= steps:
        raise UsageError(f"A length is outside 0 to {steps}, the number of steps of the input.")
    return counts


def _cell(mode: str) -> Cell:
    if mode == "LSTM":
        return LSTMCell()
    return GRUCell() if mode == "GRU" else Elman(mode.removeprefix("RNN_").lower())
