"""torch's own layers and cells on the engine: the same results, for every way of calling them, and torch's own path
wherever the engine does not go."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable

import pytest

torch = pytest.importorskip("torch")

from torch.nn.utils.rnn import PackedSequence, pack_sequence  # noqa: E402

import unrolled  # noqa: E402
from patching import B, D, H, T, flat, kinds  # noqa: E402
from unrolled import kernels, patch  # noqa: E402

pytestmark = [
    pytest.mark.skipif(not kernels.available(), reason="the compiled engine is missing"),
    pytest.mark.usefixtures("unpatched"),
]


def first(kind: str, *shape: int) -> object:
    states = tuple(torch.randn(*shape, requires_grad=True) for _ in range(2))
    return states if kind.startswith("LSTM") else states[0]


def everything(module: torch.nn.Module, *given: object) -> list[torch.Tensor]:
    """Outputs, and the gradients of all that has one."""
    leaves = [t for t in (*module.parameters(), *flat(given)) if t.requires_grad]
    for leaf in leaves:
        leaf.grad = None
    torch.manual_seed(3)
    outputs = flat(module(*given))
    sum((t * torch.arange(t.numel()).reshape(t.shape).cos()).sum() for t in outputs).backward()
    return [t.detach().clone() for t in (*outputs, *(leaf.grad for leaf in leaves))]


def assert_same(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> None:
    for one, other in zip(ours, theirs, strict=True):
        assert one.stride() == other.stride()
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def assert_patched(run: Callable[[], list[torch.Tensor]], *operators: str) -> None:
    """`run` gives the same with the patch, and all its calls were the engine's."""
    theirs = run()
    with unrolled.torch_patched():
        ours = run()
        report = unrolled.patch_report()
    assert_same(ours, theirs)
    assert set(report.native) == set(operators), str(report)
    assert not report.fallback, str(report)


def operator(kind: str, more: dict[str, str], of: str) -> str:
    return f"{'rnn_' + more.get('nonlinearity', 'tanh') if kind == 'RNN' else kind.lower()}{of}"


@kinds
def test_layers_are_torchs(kind, more):
    for layers, both, first_axis, bias in itertools.product((1, 2), (False, True), (False, True), (False, True)):
        module = getattr(torch.nn, kind)(
            D, H, layers, bidirectional=both, batch_first=first_axis, bias=bias, dropout=0.4 * (layers > 1), **more
        )
        x = torch.randn((B, T, D) if first_axis else (T, B, D), requires_grad=True)
        hx = first(kind, layers * (1 + both), B, H)
        assert_patched(lambda m=module, x=x, hx=hx: everything(m, x, hx), operator(kind, more, ".input"))


@kinds
def test_packed_sequences_are_torchs(kind, more):
    for layers, both, in_order in itertools.product((1, 2), (False, True), (False, True)):
        module = getattr(torch.nn, kind)(D, H, layers, bidirectional=both, dropout=0.4 * (layers > 1), **more)
        lengths = [6, 4, 4, 1] if in_order else [4, 1, 6, 4]
        packed = pack_sequence([torch.randn(n, D) for n in lengths], enforce_sorted=in_order)
        x = PackedSequence(packed.data.requires_grad_(), *packed[1:])
        hx = first(kind, layers * (1 + both), B, H)
        assert_patched(lambda m=module, x=x, hx=hx: everything(m, x, hx), operator(kind, more, ".data"))
        assert_patched(lambda m=module, x=x: everything(m, x), operator(kind, more, ".data"))


@kinds
def test_single_sequences_and_strided_inputs_are_torchs(kind, more):
    module = getattr(torch.nn, kind)(D, H, **more)
    wide = torch.randn(2 * T, B, 3 * D)
    for x in (wide[0, :, :D], wide[::2, :, ::3], wide[:T, :1, D : 2 * D].expand(T, B, D)):
        assert_patched(lambda x=x: everything(module, x), operator(kind, more, ".input"))


@kinds
def test_cells_are_torchs(kind, more):
    for bias, batch in itertools.product((False, True), (None, 1, B)):
        cell = getattr(torch.nn, f"{kind}Cell")(D, H, bias=bias, **more)
        rows = [] if batch is None else [batch]
        x, hx = torch.randn(*rows, D, requires_grad=True), first(kind, *rows, H)
        assert_patched(lambda c=cell, x=x, hx=hx: everything(c, x, hx), operator(kind, more, "_cell"))
        assert_patched(lambda c=cell, x=x: everything(c, x), operator(kind, more, "_cell"))


@kinds
@pytest.mark.parametrize("without", [torch.no_grad, torch.inference_mode])
def test_inference_is_torchs(kind, more, without):
    module, x = getattr(torch.nn, kind)(D, H, 2, **more), torch.randn(T, B, D)

    def run() -> list[torch.Tensor]:
        with without():
            return flat(module(x))

    assert_patched(run, operator(kind, more, ".input"))


@pytest.mark.parametrize("kind", ["RNN", "GRU"])  # torch's LSTM refuses it
def test_outputs_may_be_changed_in_place(kind):
    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = getattr(torch.nn, kind)(D, H, bidirectional=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.rnn(x)[0].mul_(3).relu_()

    module, x = Model(), torch.randn(T, B, D)
    assert_patched(lambda: everything(module, x), f"{'rnn_tanh' if kind == 'RNN' else 'gru'}.input")


@kinds
def test_second_derivatives_are_torchs(kind, more):
    module = getattr(torch.nn, kind)(D, H, 2, dropout=0.4, bidirectional=True, **more)
    packed = pack_sequence([torch.randn(n, D) for n in (5, 3, 3)])
    data, cell = packed.data.requires_grad_(), getattr(torch.nn, f"{kind}Cell")(D, H, **more)

    def run() -> list[torch.Tensor]:
        torch.manual_seed(5)
        inner = flat(module(PackedSequence(data, packed.batch_sizes)))
        found = []
        for outputs, weights in ((inner, module.parameters()), (flat(cell(data)), cell.parameters())):
            leaves = [data, *weights]
            gradients = torch.autograd.grad(sum((t * t).sum() for t in outputs), leaves, create_graph=True)
            found += torch.autograd.grad(sum((g * g).sum() for g in gradients), leaves)
        return found

    assert_patched(run, operator(kind, more, ".data"), operator(kind, more, "_cell"))


def test_the_patch_comes_and_goes():
    module, x = torch.nn.GRU(D, H), torch.randn(T, B, D)
    assert not unrolled.torch_is_patched()
    unrolled.patch_torch()
    unrolled.patch_torch()
    with unrolled.torch_patched():
        module(x)
    assert unrolled.torch_is_patched()
    assert unrolled.patch_report().native == {"gru.input": 1}
    unrolled.unpatch_torch()
    unrolled.unpatch_torch()
    module(x)
    assert not unrolled.torch_is_patched()
    assert unrolled.patch_report().native == {"gru.input": 1}


@pytest.mark.parametrize("version", ["2.3.1", "9.0.0+cpu"])
def test_an_unknown_torch_is_left_alone_and_said_once(version, monkeypatch, caplog):
    monkeypatch.setattr(torch, "__version__", version)
    monkeypatch.setattr(patch, "_warned", False)
    with caplog.at_level(logging.WARNING, "unrolled"):
        unrolled.patch_torch()
        unrolled.patch_torch()
    assert not unrolled.torch_is_patched()
    assert [record.getMessage() for record in caplog.records] == [
        f"torch is not patched: unrolled knows torch 2.4 to 2.13, and this is {version.partition('+')[0]}. "
        "Its layers compute as they always do."
    ]
