"""One step at a time gives, to the bit, what the sequence calls give."""

from __future__ import annotations

import copy
import pickle
import threading

import numpy as np
import pytest

from unrolled import Stepper, kernels
from unrolled.errors import ShapeError, UsageError
from unrolled.kernels import stepper

CELLS = {"lstm": 4, "gru": 3, "elman": 1}


def layer(rng, gates, inputs, hidden, *, bias=True):
    sizes = [(gates * hidden, inputs), (gates * hidden, hidden), *[(gates * hidden,)] * 2 * bias]
    return tuple(rng.standard_normal(size).astype(np.float32) / hidden**0.5 for size in sizes)


def sequence(cell, x, layers, h, c, nonlinearity="tanh"):
    """Output and last states from the calls over a whole sequence, layer by layer."""
    last = []
    for index, weights in enumerate(layers):
        if cell == "lstm":
            x, end = kernels.lstm(x, *weights, state=(h[index], c[index]))
        elif cell == "gru":
            x, end = kernels.gru(x, *weights, h_0=h[index])
        else:
            bias = weights[2] + weights[3] if len(weights) > 2 else None
            x, end = kernels.elman(x, *weights[:2], bias, h[index], nonlinearity=nonlinearity)
        last.append(end if cell == "lstm" else (end,))
    return x, [np.stack(part) for part in zip(*last, strict=True)]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    "size", [(1, 1, 1, 1), (3, 1, 16, 1), (5, 17, 33, 2), (2, 70, 48, 3), (1, 9, 600, 1)]
)
@pytest.mark.parametrize("cell", [*CELLS, "relu"])
def test_steps_are_the_sequence_to_the_bit(isa, rng, cell, size, bias):
    batch, inputs, hidden, count = size
    kind, nonlinearity = ("elman", "relu") if cell == "relu" else (cell, "tanh")
    layers = [layer(rng, CELLS[kind], hidden if i else inputs, hidden, bias=bias) for i in range(count)]
    x = rng.standard_normal((6, batch, inputs)).astype(np.float32)
    h, c = rng.standard_normal((2, count, batch, hidden)).astype(np.float32)
    output, last = sequence(kind, x, layers, h, c, nonlinearity)
    rnn = Stepper(*layers, nonlinearity=nonlinearity)
    assert rnn.cell == kind
    state = rnn.state(h, c if kind == "lstm" else None)
    for t in range(len(x)):
        state = rnn.step(x[t], state)
        np.testing.assert_array_equal(state.output, output[t])
    np.testing.assert_array_equal(state.h, last[0])
    if kind == "lstm":
        np.testing.assert_array_equal(state.c, last[1])
    else:
        assert state.c is None


def test_a_single_stream_is_a_batch_of_one_and_starts_from_zeros(rng):
    rnn = Stepper(layer(rng, 4, 5, 12))
    x = rng.standard_normal((3, 5)).astype(np.float32)
    one, many = None, rnn.start(1)
    for step in x:
        one, many = rnn.step(step, one), rnn.step(step[None], many)
    assert (one.output.shape, one.h.shape, many.h.shape) == ((12,), (1, 12), (1, 1, 12))
    np.testing.assert_array_equal(one.c, many.c[:, 0])
    output, _ = kernels.lstm(x[:, None], *rnn.layers[0])
    np.testing.assert_array_equal(one.output, output[-1, 0])


def test_a_state_stays_as_it_was_so_a_stream_can_be_read_on_twice(rng):
    rnn = Stepper(layer(rng, 3, 4, 20))
    first = rnn.step(np.ones(4))
    kept = first.h.copy()
    ends = [rnn.step(np.full(4, value), first).output for value in (1.0, -1.0, 1.0)]
    np.testing.assert_array_equal(first.h, kept)
    np.testing.assert_array_equal(ends[0], ends[2])
    assert np.abs(ends[0] - ends[1]).max() > 0.01


def test_any_type_and_any_strides_are_read(rng):
    rnn = Stepper(layer(rng, 1, 4, 7))
    x = rng.integers(-3, 3, (2, 8))
    plain = rnn.step(np.ascontiguousarray(x[:, ::2], np.float32)).output
    np.testing.assert_array_equal(rnn.step(x[:, ::2]).output, plain)
    np.testing.assert_array_equal(rnn.step(x[:, ::2].astype(np.float64)).output, plain)
    assert rnn.step(np.zeros((0, 4))).output.shape == (0, 7)


def test_the_instruction_set_may_change_under_it(rng):
    names = kernels.isas()
    if len(names) < 2:
        pytest.skip("this processor runs one instruction set")
    before = kernels.info().isa
    rnn, x = Stepper(layer(rng, 4, 6, 40)), rng.standard_normal((2, 6)).astype(np.float32)
    try:
        for name in [*names, before]:
            kernels.set_isa(name)
            np.testing.assert_array_equal(rnn.step(x).output, kernels.lstm(x[None], *rnn.layers[0])[0][0])
    finally:
        kernels.set_isa(before)


def test_threads_may_share_one_network(rng):
    rnn, x = Stepper(layer(rng, 4, 32, 64)), rng.standard_normal((200, 32)).astype(np.float32)
    found = {}

    def read(name, turned):
        state = None
        for step in x[::-1] if turned else x:
            state = rnn.step(step, state)
        found[name] = state.output

    workers = [threading.Thread(target=read, args=(i, i % 2)) for i in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for i in range(6):
        np.testing.assert_array_equal(found[i], found[i % 2])
    assert (found[0] != found[1]).any()


def test_the_readable_path_gives_the_same(rng, monkeypatch):
    for gates in CELLS.values():
        layers = [layer(rng, gates, 5, 9), layer(rng, gates, 9, 9)]
        fast, x = Stepper(*layers), rng.standard_normal((2, 3, 5))
        monkeypatch.setattr(stepper, "engine", lambda: None)
        monkeypatch.setattr(stepper.gated, "engine", lambda: None)
        slow = Stepper(*layers)
        one, other = None, None
        for step in x:
            one, other = fast.step(step, one), slow.step(step, other)
        np.testing.assert_allclose(one._states(), other._states(), rtol=1e-5, atol=1e-6)
        monkeypatch.undo()


def test_copies_give_the_same(rng):
    rnn, x = Stepper(layer(rng, 1, 3, 8), nonlinearity="relu"), rng.standard_normal(3)
    for other in (copy.deepcopy(rnn), pickle.loads(pickle.dumps(rnn))):
        np.testing.assert_array_equal(other.step(x).output, rnn.step(x).output)


@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN"])
def test_it_reads_the_weights_of_torch(name):
    torch = pytest.importorskip("torch")
    torch.manual_seed(1)
    module = torch.nn.Sequential(torch.nn.Tanh(), getattr(torch.nn, name)(6, 10, num_layers=2))
    rnn = Stepper.from_state_dict(module.state_dict(), prefix="1.")
    x = torch.randn(4, 3, 6)
    output, last = module[1](x)
    state = None
    for t in range(4):
        state = rnn.step(x[t].numpy(), state)
        np.testing.assert_allclose(state.output, output[t].detach().numpy(), atol=1e-6)
    np.testing.assert_allclose(state.h, (last[0] if name == "LSTM" else last).detach().numpy(), atol=1e-6)


def test_what_does_not_fit_is_said(rng):
    w = layer(rng, 4, 5, 6)
    rnn = Stepper(w)
    wrong = [
        (Stepper, UsageError, "A Stepper needs at least one layer"),
        (lambda: Stepper(w, nonlinearity="sin"), UsageError, "nonlinearity is 'sin'; it must be 'tanh' or 'relu'."),
        (lambda: Stepper((w[0], w[1][:12])), ShapeError, r"w_hh is \(12, 6\); expected \(G H, H\) with G 4"),
        (lambda: Stepper(w, w), ShapeError, r"w_ih is \(24, 5\); expected \(24, 6\) for lstm with H=6\."),
        (lambda: Stepper((*w, w[3])), ShapeError, "A layer has 5 arrays; expected w_ih, w_hh, b_ih, b_hh; biases may"),
        (lambda: rnn.step(np.zeros(6)), ShapeError, r"x is \(6,\); expected \(5,\), as the state and the weights say"),
        (lambda: rnn.step(np.zeros((2, 5)), rnn.start(3)), ShapeError, r"x is \(2, 5\); expected \(3, 5\)"),
        (lambda: rnn.state(np.zeros((1, 6))), ShapeError, r"are \(1, 6\); expected 2 of \(1, B, 6\): layers, batch"),
        (lambda: Stepper.from_state_dict({"a": w}), UsageError, "no 'weight_ih_l0' among the weights: a. Give the pre"),
        (
            lambda: Stepper.from_state_dict({"weight_ih_l0_reverse": w}), UsageError,
            "A layer that reads backwards, or projects, cannot read a stream; use a plain one.",
        ),
    ]  # fmt: skip
    for call, error, sentence in wrong:
        with pytest.raises(error, match=sentence):
            call()
