"""One step at a time, without torch: a recurrent network that reads a stream.

    rnn = Stepper.from_state_dict(torch.nn.LSTM(64, 128).state_dict())   # or any mapping of arrays
    state = rnn.step(x)                  # x (64,) or (B, 64); zeros before the first step
    state = rnn.step(x, state)
    state.output                         # (128,) or (B, 128)

The weights are packed for the engine once. A step gives the bits that the sequence calls (`lstm`, `gru`, `elman`) give.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from ..errors import ShapeError, UsageError
from . import abi, gated, reference
from .library import engine

Array = np.ndarray
F32 = np.dtype(np.float32)
GATES = {4: "lstm", 3: "gru", 1: "elman"}
NUMBERS = {"tanh": 0, "relu": 1, "lstm": 2, "gru": 3}
NAMES = ("w_ih", "w_hh", "b_ih", "b_hh")


class State:
    """What a network remembers between two steps. A step makes a new one and leaves the old one as it was."""

    __slots__ = ("_array", "_rows", "_shape", "_takes")

    def __init__(self, array: Any, rows: int, shape: tuple[int, ...], takes: tuple[int, ...]) -> None:
        self._array, self._rows, self._shape, self._takes = array, rows, shape, takes

    def _states(self) -> Array:
        return np.frombuffer(self._array, F32).reshape(self._shape)

    @property
    def h(self) -> Array:
        """Hidden states (layers, B, H), or (layers, H) of a single stream: torch's h_n. A view."""
        return self._states()[0]

    @property
    def c(self) -> Array | None:
        """Cell states in the shape of `h`, torch's c_n; None but for the LSTM. A view."""
        return self._states()[1] if self._shape[0] == 2 else None

    @property
    def output(self) -> Array:
        """The last layer's hidden state (B, H) or (H,): the network's output of this step. A view."""
        return self._states()[0, -1]


class Stepper:
    """Stacked layers of an LSTM, a GRU or Elman's network, forward in time, one step a call.

    Args:
        layers: of each layer w_ih (G H, D), w_hh (G H, H) and, if there are biases, b_ih and b_hh (G H,): torch's
            weights. G says which cell it is: 4 an LSTM, 3 a GRU, 1 Elman's.
        nonlinearity: of Elman's network, "tanh" or "relu".

    Raises:
        ShapeError: weights that do not fit each other.
        UsageError: no layer, or an unknown nonlinearity.
    """

    def __init__(self, *layers: tuple[Any, ...], nonlinearity: str = "tanh") -> None:
        if not layers:
            raise UsageError("A Stepper needs at least one layer: (w_ih, w_hh) or (w_ih, w_hh, b_ih, b_hh).")
        if nonlinearity not in abi.ACTIVATIONS:
            raise UsageError(f"nonlinearity is '{nonlinearity}'; it must be 'tanh' or 'relu'.")
        self.layers = [tuple(np.ascontiguousarray(array, F32) for array in layer) for layer in layers]
        self.nonlinearity = nonlinearity
        self.input_size, self.hidden_size = self.layers[0][0].shape[-1], self.layers[0][1].shape[-1]
        self.cell = GATES.get(len(self.layers[0][1]) // self.hidden_size, "")
        self._check()
        self._entry: Any = None
        if library := engine():
            self._pack(library)

    @classmethod
    def from_state_dict(
        cls, weights: Mapping[str, Any], *, prefix: str = "", nonlinearity: str = "tanh"
    ) -> Stepper:
        """From torch's names (`weight_ih_l0`, ...) to tensors or arrays; `prefix` goes before each, as in "rnn.".

        Raises:
            UsageError: the names are those of no forward recurrent layer.
        """
        if any(f"{prefix}weight_{name}" in weights for name in ("ih_l0_reverse", "hr_l0")):
            raise UsageError(
                "A layer that reads backwards, or projects, cannot read a stream; use a plain one."
            )
        layers: list[tuple[Any, ...]] = []
        while f"{prefix}weight_ih_l{len(layers)}" in weights:
            names = (
                f"{prefix}{name}_l{len(layers)}" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            )
            layers.append(tuple(np.asarray(weights[name]) for name in names if name in weights))
        if not layers:
            raise UsageError(
                f"There is no '{prefix}weight_ih_l0' among the weights: {', '.join(weights) or 'none'}. "
                "Give the prefix that the recurrent layer has there."
            )
        return cls(*layers, nonlinearity=nonlinearity)

    def start(self, *batch: int) -> State:
        """The state before the first step, zeros: `start()` of a single stream, `start(B)` of B of them."""
        states = len(gated.STATES.get(self.cell, "h"))
        shape = (states, len(self.layers), *batch, self.hidden_size)
        array = (ctypes.c_float * int(np.prod(shape)))()
        return State(array, int(np.prod(batch)), shape, (*batch, self.input_size))

    def state(self, h: Any, c: Any = None) -> State:
        """A state from `h` and, for an LSTM, `c`: (layers, B, H), or (layers, H) of a single stream; copied.

        Raises:
            ShapeError: another shape.
        """
        given = [np.asarray(part, F32) for part in (h, c) if part is not None]
        made = self.start(*given[0].shape[1:-1])
        to = made._states()
        if len(to) != len(given) or any(part.shape != to.shape[1:] for part in given):
            raise ShapeError(
                f"The states are {', '.join(str(part.shape) for part in given)}; expected {len(to)} of "
                f"({len(self.layers)}, B, {self.hidden_size}): layers, batch, hidden size."
            )
        to[:] = given
        return made

    def step(self, x: Any, state: State | None = None) -> State:
        """Read one step.

        Args:
            x: (D,), or (B, D) for B streams side by side.
            state: what the step before gave; zeros by default.

        Returns:
            The state after it; its `output` is the network's.

        Raises:
            ShapeError: x fits neither the network nor the state.
        """
        x = np.asarray(x, F32)
        if state is None:
            state = self.start(*x.shape[:-1])
        if x.shape != state._takes:
            raise ShapeError(f"x is {x.shape}; expected {state._takes}, as the state and the weights say.")
        before = state._array
        after = before.__class__()
        if self._entry is None:
            self._readable(x, state, after)
        elif self._entry(self._call, state._rows, x.tobytes(), before, after):
            self._pack(engine())  # the instruction set is another than when they were packed
            if self._entry(self._call, state._rows, x.tobytes(), before, after):
                raise MemoryError("The engine found too little memory for this step; use fewer streams.")
        return State(after, state._rows, state._shape, state._takes)

    def __reduce__(self) -> Any:
        return partial(Stepper, nonlinearity=self.nonlinearity), tuple(self.layers)

    def _check(self) -> None:
        if not self.cell:
            raise ShapeError(
                f"w_hh is {self.layers[0][1].shape}; expected (G H, H) with G 4 for an LSTM, 3 for a GRU, "
                "1 for Elman's."
            )
        hidden, size = self.hidden_size, self.input_size
        rows = next(gates for gates, cell in GATES.items() if cell == self.cell) * hidden
        for layer in self.layers:
            if not 2 <= len(layer) <= 4:
                raise ShapeError(
                    f"A layer has {len(layer)} arrays; expected {', '.join(NAMES)}; biases may lack."
                )
            expected = ((rows, size), (rows, hidden), (rows,), (rows,))
            for name, array, wanted in zip(NAMES, layer, expected, strict=False):
                if array.shape != wanted:
                    raise ShapeError(
                        f"{name} is {array.shape}; expected {wanted} for {self.cell} with H={hidden}."
                    )
            size = hidden

    def _pack(self, library: Any) -> None:
        """Fill the descriptor. It and what it points to live as long as this object."""
        columns = -(-len(self.layers[0][1]) // 32) * 32
        floats = sum(
            columns * (layer[0].shape[1] + self.hidden_size) + 4 * self.hidden_size for layer in self.layers
        )
        room = np.zeros(floats + 16, F32)  # of which the engine gets a part that begins on a cache line
        at = -room.__array_interface__["data"][0] % 64
        arrays = [array for layer in self.layers for array in (*layer, None, None)[:4]]
        pointers = [None if array is None else array.__array_interface__["data"][0] for array in arrays]
        weights = (ctypes.c_void_p * len(pointers))(*pointers)
        call = abi.Stepper(
            size=ctypes.sizeof(abi.Stepper), D=self.input_size, H=self.hidden_size, layers=len(self.layers),
            cell=NUMBERS[self.nonlinearity if self.cell == "elman" else self.cell],
            weights=ctypes.addressof(weights), packed=room.__array_interface__["data"][0] + at,
        )  # fmt: skip
        abi.call(library.unrolled_step_pack, call)
        entry = library["unrolled_step"]  # with argument types of its own
        entry.argtypes = [ctypes.c_void_p, ctypes.c_int64, *[ctypes.c_void_p] * 3]
        self._room, self._call, self._entry = room, ctypes.byref(call), entry

    def _readable(self, x: Array, state: State, after: Any) -> None:
        """The same from the readable NumPy."""
        rows = (state._rows, self.hidden_size)
        x = x.reshape(1, state._rows, -1)
        to = np.frombuffer(after, F32).reshape(state._shape[0], -1, *rows)
        before = state._states().reshape(to.shape)
        for index, layer in enumerate(self.layers):
            if self.cell == "elman":
                z = reference.product(x, layer[0]) + sum(layer[2:])
                _, h = reference.scan(z, layer[1], before[0, index], None, self.nonlinearity)
                to[0, index] = h
            else:
                weights = gated.Weights(*layer, *[None] * (4 - len(layer)), *before[:, index])
                _, *last = gated.run(self.cell, x, weights, False)
                to[:, index] = last[: len(to)]
            x = to[0, index][None]
