"""What the patch leaves to torch: the result is torch's, the reason is counted, and said once."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

torch = pytest.importorskip("torch")

from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: E402
from torch.autograd import forward_ad  # noqa: E402
from torch.nn.utils.rnn import PackedSequence  # noqa: E402

import unrolled  # noqa: E402
from patching import B, D, H, T, flat, kinds  # noqa: E402
from unrolled import kernels  # noqa: E402
from unrolled.layers import has_bfloat16  # noqa: E402

pytestmark = [
    pytest.mark.skipif(not kernels.available(), reason="the compiled engine is missing"),
    pytest.mark.usefixtures("unpatched"),
    pytest.mark.filterwarnings("ignore"),  # torch's warnings of its own tracing are no matter here
]


def assert_torchs(run: Callable[[], object], reason: str) -> None:
    """`run` gives the same with the patch, and the engine computed nothing of it."""
    torch.manual_seed(0)
    theirs = flat(run())
    with unrolled.torch_patched():
        torch.manual_seed(0)
        ours = flat(run())
        report = unrolled.patch_report()
    assert len(theirs) > 0
    for one, other in zip(ours, theirs, strict=True):
        assert torch.equal(one, other)
    assert not report.native, str(report)
    assert {why for _, why in report.fallback} == {reason}, str(report)


def layer(kind: str, more: dict[str, str], **options: object) -> torch.nn.Module:
    torch.manual_seed(1)
    return getattr(torch.nn, kind)(D, H, **more, **options)


def differentiated(module: torch.nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    outputs = flat(module(x))
    return [*outputs, *torch.autograd.grad(sum(t.float().sum() for t in outputs), list(module.parameters()))]


@kinds
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_dtypes(kind, more, dtype):
    module, x = layer(kind, more, num_layers=2).to(dtype), torch.randn(T, B, D).to(dtype)
    reason = f"The engine computes in float32, not in {str(dtype).removeprefix('torch.')}."
    assert_torchs(lambda: differentiated(module, x), reason)


@kinds
def test_autocast(kind, more):
    if kind == "LSTM" and not has_bfloat16():
        pytest.skip("torch's own LSTM has no bfloat16 on this processor")
    module, x = layer(kind, more), torch.randn(T, B, D)

    def run():
        with torch.autocast("cpu", torch.bfloat16):
            return differentiated(module, x)

    assert_torchs(run, "torch.autocast chooses the precision.")


def test_projections():
    module, x = layer("LSTM", {}, proj_size=3), torch.randn(T, B, D)
    assert_torchs(lambda: differentiated(module, x), "Weights of another number (a projection).")


@kinds
def test_vmap(kind, more):
    """torch has no rule for batched layers, and says so; beside them a layer is computed."""
    module, x = layer(kind, more), torch.randn(T, B, D)
    said = []
    for _ in range(2):
        with torch.no_grad(), pytest.raises(RuntimeError, match="Batching rule not implemented") as error:
            torch.func.vmap(module)(x.expand(3, T, B, D))
        said.append(str(error.value))
        unrolled.patch_torch()
    assert said[0] == said[1]
    beside = torch.func.vmap(lambda y: module(x)[0] * y)(torch.ones(3))
    assert unrolled.patch_report().native
    unrolled.unpatch_torch()
    torch.testing.assert_close(beside, module(x)[0].expand(3, -1, -1, -1))


@kinds
def test_gradients_of_torch_func(kind, more):
    module, x = layer(kind, more), torch.randn(T, B, D)
    weights = {name: p.detach() for name, p in module.named_parameters()}
    of = torch.func.grad(lambda w: torch.func.functional_call(module, w, x)[0].square().sum())
    with unrolled.torch_patched():
        ours = of(weights)
    for name, gradient in of(weights).items():
        torch.testing.assert_close(ours[name], gradient)


@kinds
def test_forward_mode(kind, more):
    module, x, tangent = layer(kind, more), torch.randn(T, B, D), torch.randn(T, B, D)

    def run():
        with forward_ad.dual_level(), torch.no_grad():
            return forward_ad.unpack_dual(module(forward_ad.make_dual(x, tangent))[0]).tangent

    if kind != "LSTM":  # torch has no forward derivative of the LSTM's kernel
        assert_torchs(run, "Forward-mode differentiation.")


@kinds
def test_a_trace_of_torch_jit_holds_torchs_operator(kind, more):
    module, x, other = layer(kind, more), torch.randn(T, B, D), torch.randn(T + 3, B, D)
    with unrolled.torch_patched():
        traced = torch.jit.trace(module, x)
        ours = flat(traced(other))
        assert not unrolled.patch_report().fallback
    assert "aten::" + ("rnn_" + more.get("nonlinearity", "tanh") if kind == "RNN" else kind.lower()) in str(
        traced.inlined_graph
    )
    for one, wanted in zip(ours, flat(module(other)), strict=True):
        torch.testing.assert_close(one, wanted)


def scripted(x: torch.Tensor, h: torch.Tensor, weights: list[torch.Tensor]) -> torch.Tensor:
    return torch.gru(x, h, weights, True, 1, 0.0, False, False, False)[0]


def test_scripts_of_torch_jit_are_computed_by_the_engine():
    run = torch.jit.script(scripted)
    given = (torch.randn(T, B, D), torch.randn(1, B, H), [p.detach() for p in layer("GRU", {}).parameters()])
    wanted = run(*given)
    with unrolled.torch_patched():
        torch.testing.assert_close(run(*given), wanted)
        assert unrolled.patch_report().native == {"gru.input": 1}


def nodes(graph: torch.fx.GraphModule) -> list[tuple[str, str]]:
    return [(node.op, str(node.target)) for node in graph.graph.nodes]


@kinds
def test_compile_and_export_see_what_they_see_without_the_patch(kind, more):
    module, x = layer(kind, more, num_layers=2), torch.randn(T, B, D)
    seen: list[list[tuple[str, str]]] = []

    def backend(graph: torch.fx.GraphModule, given: object) -> Callable[..., object]:
        seen.append(nodes(graph))
        return graph.forward

    def run():
        torch._dynamo.reset()
        seen.append(nodes(torch.export.export(module, (x,)).graph_module))
        return differentiated(torch.compile(module, backend=backend), x)

    theirs, count = run(), len(seen)
    with unrolled.torch_patched():
        ours = run()
    assert seen[:count] == seen[count:]
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@kinds
def test_a_compiled_layer_is_torchs(kind, more):
    module, x = layer(kind, more), torch.randn(T, B, D)

    def run():
        torch._dynamo.reset()
        return differentiated(torch.compile(module, backend="aot_eager"), x)

    theirs = run()
    with unrolled.torch_patched():
        ours = run()
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@kinds
def test_fake_tensors_have_shapes(kind, more):
    with unrolled.torch_patched(), FakeTensorMode():
        module = layer(kind, more, bidirectional=True)
        output, last = module(torch.randn(T, B, D))
        assert not unrolled.patch_report().native
    assert output.shape == (T, B, 2 * H)
    assert flat(last)[0].shape == (2, B, H)


def test_a_lazy_negation_is_no_plain_tensor():
    module, x = layer("GRU", {}), torch.randn(T, B, D)
    assert torch._neg_view(x).is_neg()
    assert_torchs(lambda: module(torch._neg_view(x)), "A tensor that is no plain one on the CPU.")


@pytest.mark.parametrize("change", [{"x": (T, B, D + 1)}, {"hx": (1, B, H + 1)}, {"x": (0, B, D)}], ids=str)
def test_what_does_not_fit_is_refused_in_torchs_words(change):
    module = layer("GRU", {})
    shapes = {"x": (T, B, D), "hx": (1, B, H)} | change
    words = []
    for _ in range(2):
        with pytest.raises(RuntimeError) as error:
            module(torch.zeros(shapes["x"]), torch.zeros(shapes["hx"]))
        words.append(str(error.value))
        unrolled.patch_torch()
    assert words[0] == words[1]


@pytest.mark.parametrize("sizes", [[2, 3], [3, 3], [3, 0, 2]], ids=str)
def test_batch_sizes_that_are_none_are_refused_by_torch(sizes):
    """They grow; they are more rows than there are; a step has none."""
    module, given = layer("GRU", {}), PackedSequence(torch.randn(5, D), torch.tensor(sizes))
    words = []
    for _ in range(2):
        try:
            words.append(str(flat(module(given))[0].shape))
        except RuntimeError as error:
            words.append(str(error))
        unrolled.patch_torch()
    assert words[0] == words[1]
    assert not unrolled.patch_report().native


def test_a_reason_is_logged_once(caplog):
    module, x = layer("GRU", {}).double(), torch.randn(T, B, D, dtype=torch.float64)
    with caplog.at_level(logging.INFO, "unrolled"), unrolled.torch_patched():
        module(x)
        module(x)
        report = unrolled.patch_report()
    why = "The engine computes in float32, not in float64."
    assert [r.getMessage() for r in caplog.records] == [f"torch's own kernel computes gru.input: {why}"]
    assert str(report) == f"unrolled.patch, calls:\n        2  gru.input: torch's own. {why}"


def test_a_first_use_in_inference_mode_does_not_keep_later_training_from_the_engine(run_python):
    source = """
import torch
with torch.inference_mode():
    from unrolled import nn
    nn.LSTM(3, 4)(torch.ones(2, 1, 3))
from unrolled.kernels import recurrent_checks, recurrent_ops
assert recurrent_checks.plain(torch.ones(1)) and not recurrent_ops._NOTHING.is_inference()
layer = nn.LSTM(3, 4)
layer(torch.ones(2, 1, 3))[0].sum().backward()
print(layer.weight_hh_l0.grad is not None)
"""
    assert run_python(source).stdout.strip() == "True"
