"""Long sequences go through the engine in blocks of steps: the same states to the bit, the same gradients but for
rounding, less memory with `recompute`, and Ctrl-C is heard in between."""

from __future__ import annotations

import signal
import threading

import pytest

torch = pytest.importorskip("torch")

from torch.nn.utils.rnn import PackedSequence, pack_sequence  # noqa: E402

from unrolled import kernels, nn  # noqa: E402
from unrolled.errors import UsageError  # noqa: E402
from unrolled.kernels import recurrent, recurrent_ops  # noqa: E402

pytestmark = pytest.mark.skipif(not kernels.available(), reason="the compiled engine is missing")

T, B, D, H = 11, 5, 4, 7
KINDS = [("RNN", {}), ("RNN", {"nonlinearity": "relu"}), ("LSTM", {}), ("GRU", {})]
kinds = pytest.mark.parametrize(("kind", "more"), KINDS, ids=["tanh", "relu", "lstm", "gru"])
LAYOUTS = ("dense", "lengths", "packed")


def flat(answer):
    if isinstance(answer, torch.Tensor):
        return [answer] if answer.is_floating_point() else []
    return [] if answer is None else [tensor for part in answer for tensor in flat(part)]


def problem(kind, more, layout, *, first=True):
    """A layer of two and both directions, and a call of it that answers outputs and gradients."""
    torch.manual_seed(2)
    layer = getattr(nn, kind)(D, H, 2, bidirectional=True, dropout=0.3, **more)
    states = tuple(torch.randn(4, B, H, requires_grad=True) for _ in range(2 if kind == "LSTM" else 1))
    lengths = torch.tensor([4, 11, 0, 5, 8])
    x = torch.randn(T, B, D, requires_grad=True)
    packed = pack_sequence([torch.randn(n, D) for n in (4, 11, 1, 5, 8)], enforce_sorted=False)
    if layout == "packed":
        x = packed.data.requires_grad_()
    leaves = [x, *layer.parameters(), *(states if first else [])]

    def run():
        torch.manual_seed(3)
        given = PackedSequence(x, *packed[1:]) if layout == "packed" else x
        hx = (states if kind == "LSTM" else states[0]) if first else None
        outputs = flat(layer(given, hx, lengths=lengths if layout == "lengths" else None))
        loss = sum((t * torch.arange(t.numel()).reshape(t.shape).cos()).sum() for t in outputs)
        return [t.detach() for t in outputs], torch.autograd.grad(loss, leaves)

    return layer, run


def assert_same(ours, theirs):
    for one, other in zip(ours[0], theirs[0], strict=True):
        assert torch.equal(one, other)
    for one, other in zip(ours[1], theirs[1], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@kinds
@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_blocks_give_what_one_call_gives(kind, more, layout, first, monkeypatch):
    layer, run = problem(kind, more, layout, first=first)
    whole, calls = run(), []
    monkeypatch.setattr(recurrent, "LONG", 1)
    at_once = recurrent._at_once
    monkeypatch.setattr(recurrent, "_at_once", lambda *given, **more: calls.append(1) or at_once(*given, **more))
    assert_same(run(), whole)
    assert len(calls) >= 4 * T  # of each direction of each layer, of a single step
    monkeypatch.undo()
    for steps in (1, 4, 100):
        layer.recompute = steps
        assert_same(run(), whole)


def test_recompute_keeps_no_gates():
    kept = []
    for steps in (0, 10):
        layer, x = nn.LSTM(D, 32, recompute=steps), torch.randn(400, 3, D)
        sizes = {}
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t, sizes=sizes: (
                sizes.setdefault(t.untyped_storage().data_ptr(), t.untyped_storage().nbytes()) and t
            ),
            lambda t: t,
        ):
            layer(x)[0].sum().backward()
        kept.append(sum(sizes.values()))
    assert kept[1] < kept[0] / 4


def test_recompute_has_second_derivatives():
    found = []
    for steps in (0, 3):
        torch.manual_seed(0)
        layer, x = nn.GRU(D, H, recompute=steps), torch.randn(T, B, D, requires_grad=True)
        (first,) = torch.autograd.grad(layer(x)[0].square().sum(), x, create_graph=True)
        found.append(torch.autograd.grad(first.square().sum(), x)[0])
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("given", [-1, 2.5])
def test_recompute_is_a_number_of_steps(given):
    with pytest.raises(
        UsageError, match=f"recompute is {given}; it must be a number of steps, or 0 to keep everything."
    ):
        nn.LSTM(D, H, recompute=given)


def test_lengths_are_checked_before_blocks():
    layer = nn.LSTM(D, H, recompute=2)
    with pytest.raises(UsageError, match="A length is outside 0 to 11"):
        recurrent.recurrent(
            recurrent.Plan("lstm"),
            torch.randn(T, 2, D),
            [],
            list(layer.parameters()),
            torch.tensor([3, 12]),
            recompute=2,
        )


@pytest.mark.parametrize("way", ["forward", "backward"])
def test_ctrl_c_is_heard_between_blocks(way, monkeypatch):
    """The signal comes after the third call of the engine; without blocks there would be one."""
    layer, x = nn.LSTM(D, H), torch.randn(200, B, D)
    monkeypatch.setattr(recurrent, "LONG", 1)
    before, calls, run = layer(x)[0].detach(), [], recurrent_ops._Pass.run

    def counted(self, direction, call):
        run(self, direction, call)
        calls.append(direction)
        if calls.count(way) == 3:
            sender = threading.Thread(target=signal.raise_signal, args=(signal.SIGINT,))
            sender.start()
            sender.join()

    monkeypatch.setattr(recurrent_ops._Pass, "run", counted)
    with pytest.raises(KeyboardInterrupt):
        layer(x)[0].sum().backward()
    assert calls.count(way) < 10
    monkeypatch.setattr(recurrent_ops._Pass, "run", run)
    assert torch.equal(layer(x)[0], before)
