"""Proof of the LSTM and the GRU: torch in float64 is the truth, on every instruction set of this machine.

The bar, per tensor (outputs, last states, every gradient): the largest difference is at most 1e-5 of the largest
value, or three times what torch's own float32 misses by on the same inputs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from unrolled import kernels  # noqa: E402
from unrolled.errors import ShapeError, UsageError  # noqa: E402
from unrolled.kernels import gated  # noqa: E402
from unrolled.kernels.recurrent import Plan, recurrent  # noqa: E402

CELLS = ("lstm", "gru")
SIZES = [  # T, B, D, H
    (1, 1, 1, 1),
    (1, 5, 3, 7),
    (7, 1, 4, 16),
    (13, 17, 8, 31),
    (40, 9, 16, 64),
    (6, 2, 70, 130),
    (30, 33, 3, 17),
    (2, 3, 19, 288),
]
needs_engine = pytest.mark.skipif(not kernels.available(), reason="gradients need the engine")


class Problem(NamedTuple):
    """A layer in one direction, in float64, and the gradients that reach its outputs."""

    cell: str
    x: torch.Tensor
    weights: list[torch.Tensor]
    states: list[torch.Tensor]
    lengths: torch.Tensor
    d_output: torch.Tensor
    d_last: list[torch.Tensor]
    reverse: bool = False


def problem(
    cell: str, size: tuple[int, ...], *, scale: float = 1.0, seed: int = 0, reverse: bool = False
) -> Problem:
    """Random weights at `scale` times torch's default, distinct first states, ragged lengths with a zero."""
    steps, batch, inputs, hidden = size
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=g, dtype=torch.float64)

    def uniform(*shape: int) -> torch.Tensor:
        return scale * (2 * torch.rand(shape, generator=g, dtype=torch.float64) - 1) / hidden**0.5

    lengths = torch.randint(0, steps + 1, (batch,), generator=g)
    lengths[0] = steps
    if batch > 2:
        lengths[1] = 0
    rows, count = gated.GATES[cell] * hidden, len(gated.STATES[cell])
    return Problem(
        cell, normal(steps, batch, inputs),
        [uniform(rows, inputs), uniform(rows, hidden), uniform(rows), uniform(rows)],
        [normal(batch, hidden).tanh() for _ in range(count)], lengths,
        normal(steps, batch, hidden), [normal(batch, hidden) for _ in range(count)], reverse,
    )  # fmt: skip


def names(cell: str) -> list[str]:
    states = gated.STATES[cell]
    weights = ("w_ih", "w_hh", "b_ih", "b_hh")
    return [
        "output",
        *(f"{s}_n" for s in states),
        "d_x",
        *(f"d_{w}" for w in weights),
        *(f"d_{s}_0" for s in states),
    ]


def gradients(p: Problem, output, last, given) -> list[torch.Tensor]:
    """Outputs and the gradients of what was given, as float64."""
    dtype = output.dtype
    loss = (output * p.d_output.to(dtype)).sum()
    loss = loss + sum((a * b.to(dtype)).sum() for a, b in zip(last, p.d_last, strict=True))
    return [t.detach().double() for t in (output, *last, *torch.autograd.grad(loss, given))]


def by_torch(p: Problem, dtype: torch.dtype) -> list[torch.Tensor]:
    """By torch.nn.LSTM or GRU, each row on its own over its own length."""
    steps, _, inputs = p.x.shape
    layer = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[p.cell](inputs, p.weights[1].shape[1]).to(dtype)
    with torch.no_grad():
        for parameter, value in zip(layer.parameters(), p.weights, strict=True):
            parameter.copy_(value)
    x, *states = (t.to(dtype).clone().requires_grad_() for t in (p.x, *p.states))
    rows, ends = [], []
    for b, length in enumerate(p.lengths.tolist()):
        end, seen = [state[b] for state in states], x.new_zeros(0, p.weights[1].shape[1])
        if length:
            read = x[:length, b].flip(0) if p.reverse else x[:length, b]
            first = [state[None] for state in end]
            seen, end = layer(read, tuple(first) if p.cell == "lstm" else first[0])
            seen, end = (
                seen.flip(0) if p.reverse else seen,
                [e[0] for e in end] if p.cell == "lstm" else [end[0]],
            )
        rows.append(torch.cat([seen, seen.new_zeros(steps - length, seen.shape[1])]))
        ends.append(end)
    last = [torch.stack(column) for column in zip(*ends, strict=True)]
    return gradients(p, torch.stack(rows, 1), last, [x, *layer.parameters(), *states])


def layer(cell, x, weights, states=(), lengths=None, reverse=False) -> list[torch.Tensor]:
    """One layer on the engine: outputs and last states (B, H)."""
    plan = Plan(cell, biases=len(weights) - 2, reverse=reverse)
    output, *last = recurrent(plan, x, [state[None] for state in states], weights, lengths)
    return [output, *(state[0] for state in last)]


def by_engine(p: Problem) -> list[torch.Tensor]:
    given = [t.float().clone().requires_grad_() for t in (p.x, *p.weights, *p.states)]
    x, *weights = given[:5]
    output, *last = layer(p.cell, x, weights, given[5:], p.lengths, p.reverse)
    return gradients(p, output, last, given)


def on_arrays(p: Problem, rows: slice | np.ndarray = slice(None)) -> list[np.ndarray]:
    """Outputs from NumPy arrays, without torch."""
    x, *weights = (t.float().numpy() for t in (p.x, *p.weights))
    states = [t.float().numpy()[rows] for t in p.states]
    run, lengths = getattr(kernels, p.cell), p.lengths.numpy()[rows]
    given = tuple(states) if p.cell == "lstm" else states[0]
    output, last = run(x[:, rows], *weights, given, lengths=lengths, reverse=p.reverse)
    return [output, *(last if p.cell == "lstm" else (last,))]


def misses(ours: list[torch.Tensor], p: Problem) -> list[str]:
    """Names of the tensors that are further from the truth than the bar allows."""
    truth, theirs = by_torch(p, torch.float64), by_torch(p, torch.float32)
    found = []
    for name, a, b, c in zip(names(p.cell), ours, truth, theirs, strict=True):
        bar = max(1e-5 * float(b.abs().max()), 3 * float((c - b).abs().max()))
        if not float((a - b).abs().max()) <= bar:
            found.append(name)
    return found


@needs_engine
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("cell", CELLS)
def test_it_is_torch_in_float64(isa, cell, size, reverse):
    p = problem(cell, size, seed=sum(size), reverse=reverse)
    assert misses(by_engine(p), p) == []


@needs_engine
@pytest.mark.parametrize("cell", CELLS)
def test_gradients_of_weights_add_up_over_many_steps(cell):
    p = problem(cell, (70, 16, 5, 256), seed=1)
    assert misses(by_engine(p), p) == []


@needs_engine
@pytest.mark.parametrize("cell", CELLS)
def test_random_sizes_and_scales(cell):
    rng = np.random.default_rng(5)
    for seed in range(24):
        size = tuple(int(n) for n in rng.integers(1, (20, 20, 40, 80)))
        p = problem(cell, size, scale=rng.uniform(0.5, 3), seed=seed, reverse=bool(seed % 2))
        assert misses(by_engine(p), p) == [], (size, seed)


def swapped(p: Problem) -> Problem:
    hidden = p.weights[1].shape[1]
    order = [1, 0, *range(2, gated.GATES[p.cell])]
    turned = [torch.cat([w[g * hidden : (g + 1) * hidden] for g in order]) for w in p.weights]
    return p._replace(weights=turned)


FAULTS = {
    "swapped gates": (swapped, "output"),
    "dropped bias": (lambda p: p._replace(weights=[*p.weights[:3], 0 * p.weights[3]]), "output"),
    "wrong direction": (lambda p: p._replace(reverse=not p.reverse), "output"),
    "no lengths": (lambda p: p._replace(lengths=torch.full_like(p.lengths, len(p.x))), "h_n"),
    "no first state": (lambda p: p._replace(states=[0 * s for s in p.states]), "h_n"),
    "turned first states": (lambda p: p._replace(states=[s.flip(0) for s in p.states]), "d_w_hh"),
    "a weight off by 1e-4": (
        lambda p: p._replace(weights=[p.weights[0], 1.0001 * p.weights[1], *p.weights[2:]]), "d_w_hh",
    ),
    "a lost gradient of the last state": (
        lambda p: p._replace(d_last=[*p.d_last[:-1], 0 * p.d_last[-1]]), "d_x",
    ),
}  # fmt: skip


@needs_engine
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("cell", CELLS)
def test_the_bar_sees_a_planted_fault(cell, fault):
    p = problem(cell, (13, 17, 8, 31), seed=4)
    change, seen_in = FAULTS[fault]
    assert seen_in in misses(by_engine(change(p)), p)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_arrays_give_what_tensors_give(isa, cell, reverse):
    p = problem(cell, (9, 12, 6, 21), reverse=reverse)
    for ours, truth in zip(on_arrays(p), by_torch(p, torch.float64), strict=False):
        np.testing.assert_allclose(ours, truth.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("cell", CELLS)
def test_the_readable_path_gives_the_same(monkeypatch, cell):
    p = problem(cell, (9, 12, 6, 21), reverse=True)
    fast = on_arrays(p)
    monkeypatch.setattr(gated, "engine", lambda: None)
    for one, other in zip(on_arrays(p), fast, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [(11, 29, 6, 24), (7, 40, 33, 65), (4, 9, 5, 192)])
@pytest.mark.parametrize("cell", CELLS)
def test_a_row_is_the_same_to_the_bit_in_any_company(isa, cell, size):
    p = problem(cell, size, seed=2)
    output, *last = on_arrays(p)
    rng = np.random.default_rng(0)
    for count in (1, 2, 3, 8, size[1] - 1):
        rows = rng.choice(size[1], count, replace=False)
        some, *ends = on_arrays(p, rows)
        np.testing.assert_array_equal(some, output[:, rows])
        for one, other in zip(ends, last, strict=True):
            np.testing.assert_array_equal(one, other[rows])


@needs_engine
@pytest.mark.parametrize("size", [(11, 29, 6, 24), (30, 2, 5, 70), (9, 1, 8, 256), (200, 40, 5, 40)])
@pytest.mark.parametrize("cell", CELLS)
def test_threads_change_no_bit(isa, cell, size):
    p = problem(cell, size, seed=3)
    try:
        kernels.set_threads(1)
        alone = by_engine(p)
        for threads in (2, 3):
            kernels.set_threads(threads)
            for name, one, other in zip(names(cell), alone, by_engine(p), strict=True):
                assert torch.equal(one, other), name
    finally:
        kernels.set_threads(None)


@needs_engine
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("cell", CELLS)
def test_what_is_not_finite_goes_through_as_in_torch(isa, cell, value):
    p = problem(cell, (6, 5, 3, 20), seed=1)
    p.x[2, 0, 1] = value
    count = 1 + len(p.states)
    for one, other in zip(by_engine(p)[:count], by_torch(p, torch.float32)[:count], strict=True):
        assert torch.equal(one.isnan(), other.isnan())
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5, equal_nan=True)


@pytest.mark.parametrize("cell", CELLS)
def test_large_inputs_saturate(isa, cell):
    p = problem(cell, (3, 4, 2, 9))
    p = p._replace(x=p.x * 1e4)
    for one, other in zip(on_arrays(p), by_torch(p, torch.float64), strict=False):
        np.testing.assert_allclose(one, other.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("cell", CELLS)
def test_batch_first_views_are_read_in_place(isa, cell):
    p = problem(cell, (8, 6, 5, 11))
    wide = torch.zeros(8, 6, 10, dtype=torch.float64)
    wide[..., ::2] = p.x
    plain = on_arrays(p)
    for view in (p.x.transpose(0, 1).contiguous().transpose(0, 1), wide[..., ::2]):
        for one, other in zip(on_arrays(p._replace(x=view)), plain, strict=True):
            np.testing.assert_array_equal(one, other)


@needs_engine
@pytest.mark.parametrize("size", [(4, 0, 3, 5), (0, 3, 3, 5)])
@pytest.mark.parametrize("cell", CELLS)
def test_an_empty_input_is_no_trouble(isa, cell, size):
    p = problem(cell, (4, 3, 3, 5))
    x = torch.zeros(size[:3], requires_grad=True)
    weights = [w.float().requires_grad_() for w in p.weights]
    h_0 = torch.ones(size[1], 5, requires_grad=True)
    states = [h_0, torch.ones(size[1], 5)] if cell == "lstm" else [h_0]
    output, h_n, *_ = layer(cell, x, weights, states)
    assert (output.shape, h_n.shape) == ((size[0], size[1], 5), (size[1], 5))
    (output.sum() + 2 * h_n.sum()).backward()
    assert not any(w.grad.any() for w in weights)
    assert torch.equal(h_0.grad, torch.full_like(h_0, 2.0))


@needs_engine
@pytest.mark.parametrize("cell", CELLS)
def test_only_what_is_asked_for_gets_a_gradient(cell):
    p = problem(cell, (5, 3, 4, 6))
    x, w_ih, w_hh, *_ = (t.float() for t in (p.x, *p.weights))
    w_hh.requires_grad_()
    output, *_ = layer(cell, x, [w_ih, w_hh])
    output.sum().backward()
    assert w_hh.grad.abs().sum() > 0
    assert x.grad is None
    assert w_ih.grad is None


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch.compile does it
@needs_engine
@pytest.mark.parametrize("cell", CELLS)
def test_torch_compile_takes_it_whole(cell):
    p = problem(cell, (5, 3, 4, 6))
    given = [t.float().requires_grad_() for t in (p.x, *p.weights)]

    def run(x, *weights):
        return layer(cell, x, list(weights))[0] * 2

    ours, plain = torch.compile(run, fullgraph=True, backend="aot_eager")(*given), run(*given)
    torch.testing.assert_close(ours, plain)
    for one, other in zip(*(torch.autograd.grad(t.sum(), given) for t in (ours, plain)), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(
    ("change", "error", "sentence"),
    [
        ({"x": torch.zeros(5, 4)}, ShapeError, "The input has 2 axes; expected x (T, B, D)."),
        (
            {"w_ih": torch.zeros(24, 5)},
            ShapeError,
            "w_ih is (24, 5); expected (24, 4) for 4 gates, x (5, 3, 4)",
        ),
        ({"h_0": torch.zeros(2, 6)}, ShapeError, "h_0 is (2, 6); expected (3, 6) for 4 gates"),
        ({"lengths": torch.tensor([1, 6, 2])}, UsageError, "A length is outside 0 to 5, the number of steps"),
    ],
    ids=["axes", "weight", "state", "length"],
)
def test_what_does_not_fit_is_said(change, error, sentence):
    p = problem("lstm", (5, 3, 4, 6))
    given = {"x": p.x, "w_ih": p.weights[0], "h_0": p.states[0], "lengths": p.lengths} | change
    x, w_ih, w_hh, h_0, c_0 = (
        t.float().numpy() for t in (given["x"], given["w_ih"], p.weights[1], given["h_0"], p.states[1])
    )
    with pytest.raises(error, match=sentence.replace("(", r"\(").replace(")", r"\)")):
        kernels.lstm(x, w_ih, w_hh, state=(h_0, c_0), lengths=given["lengths"].numpy())
