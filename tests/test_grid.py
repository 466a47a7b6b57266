"""Thousands of random layers against torch in float64: outputs, last states and every gradient.

The bar, per tensor: the largest difference is at most 1e-5 of the largest value, or three times what torch's own
float32 misses by on the same inputs. `UNROLLED_GRID=20000 pytest tests/test_grid.py` draws more of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra 'train')")

from torch import Tensor  # noqa: E402
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence  # noqa: E402

from unrolled import kernels, nn  # noqa: E402

pytestmark = pytest.mark.skipif(not kernels.available(), reason="gradients need the engine")

CHUNKS = 8
EACH = -(-int(os.environ.get("UNROLLED_GRID", "2000")) // CHUNKS)
Results = dict[str, Tensor]


class Config(NamedTuple):
    """One random layer and its input."""

    kind: str  # RNN, GRU, LSTM
    options: dict[str, object]
    T: int
    B: int
    D: int
    H: int
    lengths: Tensor | None
    view: str
    scale: float
    states: bool
    seed: int

    @property
    def count(self) -> int:
        """Layers times directions."""
        return int(self.options["num_layers"]) * (1 + bool(self.options["bidirectional"]))

    def layer(self, module, dtype: torch.dtype):
        """The layer of `module`, always with the same weights: `scale` times torch's default."""
        layer = getattr(module, self.kind)(self.D, self.H, **self.options).to(dtype)
        g = torch.Generator().manual_seed(self.seed)
        with torch.no_grad():
            for weight in layer.parameters():
                drawn = 2 * torch.rand(weight.shape, generator=g, dtype=torch.float32) - 1
                weight.copy_(drawn * (self.scale / self.H**0.5))
        return layer

    def arrays(self, dtype: torch.dtype) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """x (T, B, D), first states, and the gradients that reach output and last states."""
        g = torch.Generator().manual_seed(self.seed + 1)
        wide = self.H * (1 + bool(self.options["bidirectional"]))
        parts = 1 + (self.kind == "LSTM")
        sizes = [(self.T, self.B, self.D), *[(self.count, self.B, self.H)] * parts, (self.T, self.B, wide)]
        x, *states, d_output = (torch.randn(size, generator=g).to(dtype) for size in sizes)
        d_last = [torch.randn(state.shape, generator=g).to(dtype) for state in states]
        return x, [state.tanh() for state in states] if self.states else [], [d_output, *d_last]


def draw(seed: int) -> Config:
    """Sizes at which something begins or ends: one step, one row, none at all, vectors and panels less and more one."""
    rng = np.random.default_rng(seed)
    large = rng.random() < 0.03
    T = int(rng.choice([20, 33] if large else [0, 1, 1, 1, 2, 3, 4, 5, 7]))
    B = int(rng.choice([16, 37] if large else [0, 1, 1, 2, 3, 5, 8, 9, 17]))
    H = int(rng.choice([47, 64, 65, 96] if large else [1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 40]))
    D = int(rng.choice([1, 2, 3, 8, 13, 16, 17, 40]))
    kind = str(rng.choice(["RNN", "GRU", "LSTM"]))
    options: dict[str, object] = {
        "num_layers": int(rng.choice([1, 1, 1, 2, 3])), "bidirectional": bool(rng.random() < 0.4),
        "bias": bool(rng.random() < 0.8),
    }  # fmt: skip
    if kind == "RNN":
        options["nonlinearity"] = str(rng.choice(["tanh", "relu"]))
    lengths = torch.from_numpy(rng.integers(0, T + 1, B)) if rng.random() < 0.4 else None
    view = str(rng.choice(["plain", "batch first", "every second", "part of rows", "expanded"]))
    return Config(
        kind, options, T, B, D, H, lengths, view, rng.uniform(0.5, 3), bool(rng.random() < 0.7), seed
    )


def seen(x: Tensor, view: str) -> Tensor:
    """The numbers of x (T, B, D) lying in memory in another way, where gradients reach x all the same."""
    if view == "batch first":
        return x.transpose(0, 1).contiguous().transpose(0, 1)
    if view == "every second":
        return torch.stack([x, x + 1], -1).flatten(-2)[..., ::2]
    if view == "part of rows":
        return torch.cat([x + 1, x, x - 1], 1)[:, x.shape[1] : 2 * x.shape[1]]
    return x.expand(3, *x.shape)[1] if view == "expanded" else x


def answer(
    config: Config, output: Tensor, last: list[Tensor], given: Results, upstream: list[Tensor]
) -> Results:
    """What is compared."""
    gradients = torch.autograd.grad(
        [output, *last], list(given.values()), upstream, allow_unused=True, materialize_grads=True
    )
    states = {f"{name}_n": state for name, state in zip("hc", last, strict=False)}
    return {"output": output, **states} | {f"d_{n}": g for n, g in zip(given, gradients, strict=True)}


def inputs(config: Config, layer, dtype: torch.dtype):
    x, states, upstream = config.arrays(dtype)
    named = {"x": x, **dict(zip(("h_0", "c_0"), states, strict=False)), **dict(layer.named_parameters())}
    return {name: tensor.requires_grad_() for name, tensor in named.items()}, states, upstream


def by_engine(config: Config, change: Callable[..., None] | None = None) -> Results:
    """`unrolled.nn`; `change` may spoil the layer or the states before."""
    layer = config.layer(nn, torch.float32)
    given, states, upstream = inputs(config, layer, torch.float32)
    x = seen(given["x"], config.view)
    used = list(states)
    if change:
        x = change(layer, x, used)
    hx = None if not used else tuple(used) if config.kind == "LSTM" else used[0]
    output, last = layer(x, hx, lengths=config.lengths)
    return answer(config, output, list(last) if config.kind == "LSTM" else [last], given, upstream)


def by_torch(config: Config, dtype: torch.dtype) -> Results:
    """torch.nn, which gets the rows that have a step, packed if their lengths differ."""
    layer = config.layer(torch.nn, dtype)
    given, states, upstream = inputs(config, layer, dtype)
    x = given["x"]
    first = states or [x.new_zeros(config.count, config.B, config.H) for _ in upstream[1:]]
    lengths = torch.full((config.B,), config.T) if config.lengths is None else config.lengths
    alive = lengths.nonzero()[:, 0]
    output, last = x.new_zeros(upstream[0].shape), list(first)
    if len(alive):
        some = [state[:, alive].contiguous() for state in first]
        hx = tuple(some) if config.kind == "LSTM" else some[0]
        if config.lengths is None:
            output, ends = layer(x, hx)
        else:
            packed, ends = layer(pack_padded_sequence(x[:, alive], lengths[alive], enforce_sorted=False), hx)
            rows, _ = pad_packed_sequence(packed, total_length=config.T)
            output = output.index_copy(1, alive, rows)
        ends = ends if config.kind == "LSTM" else (ends,)
        last = [start.index_copy(1, alive, end) for start, end in zip(first, ends, strict=True)]
    if not output.requires_grad:
        output = output + 0 * given["weight_hh_l0"].sum()
    return answer(
        config,
        output,
        last if last[0].requires_grad else [s + 0 * output.sum() for s in last],
        given,
        upstream,
    )


def misses(config: Config, ours: Results) -> list[str]:
    """Tensors that are further from float64 than the bar allows; torch's float32 is asked only where that matters."""
    exact, single, found = by_torch(config, torch.float64), None, []
    for name, truth in exact.items():
        if ours[name].shape != truth.shape:
            found.append(f"{name}: shape {tuple(ours[name].shape)}")
            continue
        error, largest = (distance(t, truth) if truth.numel() else 0.0 for t in (ours[name], 0 * truth))
        if not error <= 1e-5 * largest:
            single = single or by_torch(config, torch.float32)
            if not error <= 3 * distance(single[name], truth):
                found.append(f"{name}: {error:.1e}, torch {distance(single[name], truth):.1e}")
    return found


def distance(one: Tensor, other: Tensor) -> float:
    return float((one.detach().double() - other.detach().double()).abs().max())


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_random_layers_are_torch_in_float64(chunk):
    red = {}
    for seed in range(chunk * EACH, (chunk + 1) * EACH):
        config = draw(seed)
        if found := misses(config, by_engine(config)):
            red[config] = found
    assert not red, "\n".join(f"{config}: {found}" for config, found in red.items())


def swap_gates(layer, x, states):
    with torch.no_grad():
        for weight in layer.parameters():
            rows = weight.unflatten(0, (-1, layer.hidden_size))
            rows[:2] = rows[:2].flip(0).clone()
    return x


def drop_a_bias(layer, x, states):
    with torch.no_grad():
        layer.bias_hh_l0.zero_()
    return x


def turn_round(layer, x, states):
    return x.flip(0)


def swap_states(layer, x, states):
    states.reverse()
    return x


def lose_a_state(layer, x, states):
    states[0] = states[0].flip(1)
    return x


FAULTS = {
    "swapped gates": (swap_gates, lambda c: c.kind != "RNN" and c.H > 1),
    "dropped bias": (drop_a_bias, lambda c: c.options["bias"] and c.options.get("nonlinearity") != "relu"),
    "wrong direction": (turn_round, lambda c: c.T > 1 and c.lengths is None),
    "h_0 and c_0 swapped": (swap_states, lambda c: c.kind == "LSTM" and c.states),
    "states of other rows": (
        lose_a_state,
        lambda c: c.states and c.B > 1 and c.options.get("nonlinearity") != "relu",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_turns_it_red(fault):
    change, concerns = FAULTS[fault]
    configs = [c for c in map(draw, range(250)) if c.T and c.B and concerns(c)]
    configs = [c for c in configs if c.lengths is None or int(c.lengths.min()) > 0][:20]
    assert len(configs) == 20
    for config in configs:
        assert misses(config, by_engine(config, change)), config


def test_the_grid_holds_what_it_says():
    drawn = [draw(seed) for seed in range(CHUNKS * EACH)]
    assert len(drawn) >= 2000
    for holds in (
        lambda c: c.T == 1, lambda c: c.B == 1, lambda c: c.B == 0, lambda c: c.T == 0, lambda c: c.H % 16,
        lambda c: c.lengths is not None and c.B and not c.lengths.all(), lambda c: c.options["bidirectional"],
        lambda c: c.states and c.kind == "LSTM", lambda c: c.options["num_layers"] == 3,
        lambda c: not c.options["bias"], lambda c: c.view == "every second", lambda c: c.scale > 2.5,
        lambda c: c.scale < 0.6,
    ):  # fmt: skip
        assert sum(map(bool, map(holds, drawn))) >= 40
