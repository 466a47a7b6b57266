"""The recurrent neuron in torch's own float64, and the measure by which the engine must agree with it.

Per tensor: max |ours - ref64| <= max(1e-5 max |ref64|, 3 x the error that torch's float32 makes on the same inputs).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

Results = dict[str, Tensor]
Layer = Callable[..., tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Case:
    """Sizes and kinds of one comparison; inputs are drawn from `seed`."""

    T: int
    B: int
    D: int
    H: int
    scale: float = 1.0
    nonlinearity: str = "tanh"
    ragged: bool = False
    h_0: bool = False
    bias: bool = True
    seed: int = 0

    def inputs(self) -> tuple[Results, Tensor | None]:
        """Float32 leaves x, w_ih, w_hh, b, h_0, and the lengths: zeros among them, and one full."""
        g = torch.Generator().manual_seed(self.seed)
        bound = self.scale / self.H**0.5
        tensors = {
            "x": torch.randn(self.T, self.B, self.D, generator=g),
            "w_ih": (torch.rand(self.H, self.D, generator=g) * 2 - 1) * bound,
            "w_hh": (torch.rand(self.H, self.H, generator=g) * 2 - 1) * bound,
            "b": (torch.rand(self.H, generator=g) * 2 - 1) * bound,
            "h_0": torch.randn(self.B, self.H, generator=g),
        }
        if not self.h_0:
            del tensors["h_0"]
        if not self.bias:
            del tensors["b"]
        lengths = torch.randint(0, self.T + 1, (self.B,), generator=g)
        if self.B > 1:
            lengths[0], lengths[1] = self.T, 0
        return {
            name: value.requires_grad_() for name, value in tensors.items()
        }, lengths if self.ragged else None


def torch_rnn(
    x: Tensor, w_ih: Tensor, w_hh: Tensor, b: Tensor | None = None, h_0: Tensor | None = None,
    *, lengths: Tensor | None = None, nonlinearity: str = "tanh",
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """torch's nn.RNN, row by row where lengths differ or are zero, because it knows no zero length."""
    if len(x) == 0:
        lengths = torch.zeros(x.shape[1], dtype=torch.int64)
    hidden, size = w_ih.shape
    rnn = torch.nn.RNN(size, hidden, nonlinearity=nonlinearity, dtype=x.dtype)
    zero = torch.zeros(hidden, dtype=x.dtype)
    weights = {
        "weight_ih_l0": w_ih,
        "weight_hh_l0": w_hh,
        "bias_ih_l0": zero if b is None else b,
        "bias_hh_l0": zero,
    }
    start = torch.zeros(x.shape[1], hidden, dtype=x.dtype) if h_0 is None else h_0
    if lengths is None:
        output, h_n = torch.func.functional_call(rnn, weights, (x, start[None]))
        return output, h_n[0]
    outputs, last = [], []
    for row, length in enumerate(lengths.tolist()):
        first = start[row][None]
        if length == 0:
            outputs.append(torch.zeros(len(x), hidden, dtype=x.dtype) + 0 * first)
            last.append(first[0])
            continue
        output, h_n = torch.func.functional_call(rnn, weights, (x[:length, row], first))
        outputs.append(torch.cat([output, torch.zeros(len(x) - length, hidden, dtype=x.dtype)]))
        last.append(h_n[0])
    return torch.stack(outputs, 1), torch.stack(last)


def run(case: Case, layer: Layer, dtype: torch.dtype = torch.float32) -> Results:
    """Output, last state and every gradient of `layer` on the inputs of `case`."""
    tensors, lengths = case.inputs()
    tensors = {name: value.detach().to(dtype).requires_grad_() for name, value in tensors.items()}
    output, h_n = layer(**tensors, lengths=lengths, nonlinearity=case.nonlinearity)
    g = torch.Generator().manual_seed(case.seed + 1)
    d_output = torch.randn(output.shape, generator=g).to(dtype)
    d_h_n = torch.randn(h_n.shape, generator=g).to(dtype)
    gradients = torch.autograd.grad(
        [output, h_n], list(tensors.values()), [d_output, d_h_n], allow_unused=True, materialize_grads=True
    )
    return {
        "output": output,
        "h_n": h_n,
        **{f"d_{name}": g for name, g in zip(tensors, gradients, strict=True)},
    }


def faults(case: Case, ours: Results) -> list[str]:
    """The tensors in which `ours` is further from float64 than it may be, with by how much."""
    return compare(ours, run(case, torch_rnn, torch.float64), run(case, torch_rnn))


def compare(ours: Results, exact: Results, single: Results) -> list[str]:
    """`faults` for results already computed."""
    found = []
    for name, reference in exact.items():
        if ours[name].shape != reference.shape:
            found.append(f"{name} has shape {tuple(ours[name].shape)}, not {tuple(reference.shape)}")
        elif reference.numel():
            allowed = max(1e-5 * reference.abs().max().item(), 3 * distance(single[name], reference))
            error = distance(ours[name], reference)
            if not error <= allowed:
                found.append(f"{name} is off by {error:.2e}, allowed {allowed:.2e}")
    return found


def distance(a: Tensor, b: Tensor) -> float:
    """The largest difference."""
    return (a.double() - b.double()).abs().max().item()


def grid() -> list[Case]:
    """Odd sizes, single steps, single rows, nothing at all, ragged lengths, scales from half to three times torch's."""
    plain = [
        Case(*sizes)
        for sizes in [
            (1, 1, 1, 1), (7, 5, 3, 4), (3, 9, 2, 17), (20, 33, 64, 32), (12, 130, 7, 33), (5, 8, 65, 64),
            (4, 3, 300, 100), (3, 2, 5, 259), (2, 70, 9, 16), (6, 17, 16, 48), (4, 0, 3, 5),
            (40, 1, 8, 8), (2, 1, 520, 600),
        ]
    ]  # fmt: skip
    kinds = [
        {"scale": 3.0, "h_0": True}, {"ragged": True, "h_0": True, "scale": 0.5},
        {"nonlinearity": "relu", "bias": False}, {"nonlinearity": "relu", "ragged": True, "h_0": True},
    ]  # fmt: skip
    varied = [replace(case, **kind, seed=i) for i, case in enumerate(plain) for kind in kinds if case.B]
    return [Case(0, 4, 3, 5, h_0=True), *plain, *varied]
