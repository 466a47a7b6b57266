"""Recurrences without a recurrent product: the engine against the equations in float64."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from unrolled import kernels  # noqa: E402
from unrolled.cells import Weights  # noqa: E402
from unrolled.cells.mingru import MinGRU  # noqa: E402
from unrolled.errors import ShapeError, UsageError  # noqa: E402
from unrolled.kernels import scan_ops  # noqa: E402

pytestmark = pytest.mark.skipif(not kernels.available(), reason="the engine is missing")


def readable(x, w_ih, b_ih, h_0, lengths, reverse):
    """The cell, step by step over each row's own steps."""
    outputs, last = torch.zeros(len(x), x.shape[1], h_0.shape[1], dtype=x.dtype), []
    weights = Weights(w_ih, w_ih[:0], b_ih)
    for row, length in enumerate(lengths.tolist()):
        h = h_0[row : row + 1]
        for t in reversed(range(length)) if reverse else range(length):
            (h,) = MinGRU().step(x[t, row : row + 1], (h,), weights)
            outputs = outputs.index_put((torch.tensor(t), torch.tensor(row)), h[0])
        last.append(h[0])
    return outputs, torch.stack(last)


def gradients(function, inputs, upstream):
    ready = [tensor.detach().requires_grad_() for tensor in inputs]
    outputs = function(*ready)
    torch.autograd.backward(outputs, [d.to(outputs[0].dtype) for d in upstream])
    return [*(output.detach() for output in outputs), *(tensor.grad for tensor in ready)]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(
    ("steps", "batch", "size", "hidden"), [(1, 1, 1, 1), (5, 4, 3, 17), (40, 9, 20, 33), (7, 2, 70, 96)]
)
def test_mingru_is_the_readable_cell(steps, batch, size, hidden, reverse):
    torch.manual_seed(steps)
    lengths = torch.randint(0, steps + 1, (batch,))
    shapes = ((steps, batch, size), (2 * hidden, size), (2 * hidden,), (batch, hidden))
    given = [torch.randn(shape) for shape in shapes]
    upstream = torch.randn(steps, batch, hidden), torch.randn(batch, hidden)
    ours = gradients(lambda *t: scan_ops.mingru(*t, lengths=lengths, reverse=reverse), given, upstream)
    truth = gradients(lambda *t: readable(*t, lengths, reverse), [t.double() for t in given], upstream)
    for one, other in zip(ours, truth, strict=True):
        torch.testing.assert_close(one, other.float(), atol=2e-5, rtol=2e-5)


def test_a_row_of_mingru_does_not_depend_on_the_others_or_on_threads():
    torch.manual_seed(0)
    x, w_ih, b_ih, h_0 = torch.randn(60, 40, 24), torch.randn(96, 24), torch.randn(96), torch.randn(40, 48)
    output, h_n = scan_ops.mingru(x, w_ih, b_ih, h_0)
    alone, last = scan_ops.mingru(x[:, 7:8], w_ih, b_ih, h_0[7:8])
    assert torch.equal(alone[:, 0], output[:, 7])
    assert torch.equal(last[0], h_n[7])
    found = []
    for threads in (1, 2):
        kernels.set_threads(threads)
        upstream = torch.ones(60, 40, 48), torch.ones(40, 48)
        found.append(gradients(scan_ops.mingru, (x, w_ih, b_ih, h_0), upstream))
    kernels.set_threads(None)
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


@pytest.mark.parametrize("shape", [(1, 1), (9, 3, 11), (300, 2, 517)])
def test_a_scan_is_its_equation(shape):
    torch.manual_seed(1)
    a, b, h_0, d = torch.rand(shape), torch.randn(shape), torch.randn(shape[1:]), torch.randn(shape)

    def truth(a, b, h_0):
        states = [h_0]
        for a_t, b_t in zip(a, b, strict=True):
            states.append(a_t * states[-1] + b_t)
        return (torch.stack(states[1:]),)

    ours = gradients(lambda *given: (scan_ops.scan(*given),), (a, b, h_0), (d,))
    for one, other in zip(ours, gradients(truth, (a.double(), b.double(), h_0.double()), (d,)), strict=True):
        torch.testing.assert_close(one, other.float(), atol=1e-5, rtol=1e-5)
    assert torch.equal(ours[0][..., -1:], scan_ops.scan(a[..., -1:], b[..., -1:], h_0[..., -1:]))


def test_what_does_not_fit_is_said():
    with pytest.raises(
        ShapeError, match=r"a is \(2, 3\), b \(2, 4\) and h_0 \(3,\); expected one shape \(T, \.\.\.\)"
    ):
        scan_ops.scan(torch.ones(2, 3), torch.ones(2, 4))
    with pytest.raises(ShapeError, match=r"w_ih is \(4, 3\); expected \(4, 5\) for x \(2, 1, 5\)"):
        scan_ops.mingru(torch.ones(2, 1, 5), torch.ones(4, 3))
    with pytest.raises(
        UsageError,
        match="A scan takes float32 on the CPU and needs the engine; here are torch.float64 on cpu",
    ):
        scan_ops.scan(torch.ones(2, 3).double(), torch.ones(2, 3))
    with pytest.raises(UsageError, match="A length is outside 0 to 2"):
        scan_ops.mingru(torch.ones(2, 1, 5), torch.ones(4, 5), lengths=torch.tensor([3]))
