"""The engine's operators in torch against nn.RNN in float64: outputs, last states and every gradient."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

import parity
from parity import Case
from unrolled import kernels
from unrolled.errors import ShapeError, UsageError
from unrolled.kernels import torch_ops

pytestmark = pytest.mark.skipif(not kernels.available(), reason="the compiled engine is missing")


@pytest.mark.parametrize("case", parity.grid(), ids=str)
def test_the_engine_agrees_with_float64(case: Case, isa: str) -> None:
    assert parity.faults(case, parity.run(case, torch_ops.elman)) == []


FAULTS = {
    "weights transposed": lambda x, w_ih, w_hh, b, h_0, **o: torch_ops.elman(
        x, w_ih, w_hh.T.contiguous(), b, h_0, **o
    ),
    "weights swapped": lambda x, w_ih, w_hh, b, h_0, **o: torch_ops.elman(x, w_hh, w_ih, b, h_0, **o),
    "bias dropped": lambda x, w_ih, w_hh, b, h_0, **o: torch_ops.elman(x, w_ih, w_hh, 0 * b, h_0, **o),
    "start dropped": lambda x, w_ih, w_hh, b, h_0, **o: torch_ops.elman(x, w_ih, w_hh, b, 0 * h_0, **o),
    "wrong direction": lambda x, w_ih, w_hh, b, h_0, **o: torch_ops.elman(
        x, w_ih, w_hh, b, h_0, reverse=True, **o
    ),
    "lengths dropped": lambda *a, **o: torch_ops.elman(*a, **{**o, "lengths": None}),
    "rows mixed": lambda x, w_ih, w_hh, b, h_0, **o: torch_ops.elman(x.roll(1, 1), w_ih, w_hh, b, h_0, **o),
    "one bit of a weight": lambda x, w_ih, w_hh, b, h_0, **o: torch_ops.elman(
        x, w_ih, w_hh * (1 + 1e-3 * (torch.arange(w_hh.numel()).view_as(w_hh) == 3)), b, h_0, **o
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_measure_finds_a_planted_fault(fault: str) -> None:
    case = Case(9, 6, 12, 12, ragged=True, h_0=True)

    def faulty(
        x: Tensor, w_ih: Tensor, w_hh: Tensor, b: Tensor, h_0: Tensor, **options: object
    ) -> tuple[Tensor, Tensor]:
        return FAULTS[fault](x, w_ih, w_hh, b, h_0, **options)

    assert parity.faults(case, parity.run(case, faulty)) != []
    assert parity.faults(case, parity.run(case, torch_ops.elman)) == []


def tokens_of(case: Case, words: int = 12) -> tuple[Tensor, Tensor]:
    """Tokens (T, B) that mostly begin with zeros, and an embedding."""
    g = torch.Generator().manual_seed(case.seed)
    tokens = torch.randint(0, words, (case.T, case.B), generator=g, dtype=torch.int32)
    padding = torch.randint(-2, case.T + 1, (case.B,), generator=g)
    tokens[torch.arange(case.T)[:, None] < padding] = 0
    return tokens, torch.randn(words, case.D, generator=g)


def by_token(case: Case, **options: object) -> parity.Results:
    """`parity.run` for the form that reads tokens; the gradient of the input is that of the embedding."""
    tokens, embedding = tokens_of(case)
    inputs = dict.fromkeys(("output", "h_n"))
    (tensors, lengths), leaf = case.inputs(), embedding.requires_grad_()
    del tensors["x"]
    sequences = bool(options.get("return_sequences", True))
    output, h_n = torch_ops.elman_tokens(
        tokens, leaf, **tensors, lengths=lengths, nonlinearity=case.nonlinearity,
        **{"return_sequences": True, **options},
    )  # fmt: skip
    inputs["output"], inputs["h_n"] = (output if sequences else None), h_n
    leaves = {"embedding": leaf, **tensors}
    given = [*([output] if sequences else []), h_n]
    gradients = torch.autograd.grad(given, list(leaves.values()), upstream(case, sequences))
    dense = [g.to_dense() for g in gradients]
    return {**inputs, **{f"d_{name}": g for name, g in zip(leaves, dense, strict=True)}}


def upstream(case: Case, sequences: bool, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    g = torch.Generator().manual_seed(case.seed + 1)
    d_output = torch.randn(case.T, case.B, case.H, generator=g).to(dtype)
    d_h_n = torch.randn(case.B, case.H, generator=g).to(dtype)
    return [d_output, d_h_n] if sequences else [d_h_n]


def embedded(case: Case, sequences: bool, dtype: torch.dtype) -> parity.Results:
    """The same through nn.RNN on looked-up vectors."""
    tokens, embedding = tokens_of(case)
    (tensors, lengths), leaf = case.inputs(), embedding.to(dtype).requires_grad_()
    leaves = {
        "embedding": leaf,
        **{k: v.detach().to(dtype).requires_grad_() for k, v in tensors.items() if k != "x"},
    }
    rest = {k: v for k, v in leaves.items() if k != "embedding"}
    output, h_n = parity.torch_rnn(
        leaf[tokens.long()], **rest, lengths=lengths, nonlinearity=case.nonlinearity
    )
    given = [output, h_n] if sequences else [h_n]
    gradients = torch.autograd.grad(given, list(leaves.values()), upstream(case, sequences, dtype))
    result = {"h_n": h_n, **{f"d_{name}": g for name, g in zip(leaves, gradients, strict=True)}}
    return {"output": output, **result} if sequences else result


TOKEN_CASES = [
    Case(30, 37, 6, 32), Case(1, 3, 4, 5), Case(25, 4, 70, 17, scale=2.0), Case(12, 20, 8, 100, nonlinearity="relu"),
    Case(15, 9, 5, 33, ragged=True), Case(15, 9, 5, 33, h_0=True), Case(8, 130, 9, 72, bias=False), Case(40, 1, 3, 8),
]  # fmt: skip


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("case", TOKEN_CASES, ids=str)
def test_the_token_form_is_the_embedding_before_the_dense_form(
    case: Case, sequences: bool, sparse: bool, isa: str
) -> None:
    ours = by_token(case, return_sequences=sequences, sparse=sparse)
    exact, single = (embedded(case, sequences, dtype) for dtype in (torch.float64, torch.float32))
    assert parity.compare(ours, exact, single) == []


@pytest.mark.parametrize("case", TOKEN_CASES, ids=str)
def test_a_shared_beginning_changes_no_bit_forward_and_nothing_backward(case: Case) -> None:
    shared, unshared = by_token(case), by_token(case, prefix_token=-1)
    assert torch.equal(shared["output"], unshared["output"])
    assert torch.equal(shared["h_n"], unshared["h_n"])
    exact, single = (embedded(case, True, dtype) for dtype in (torch.float64, torch.float32))
    assert parity.compare(shared, exact, single) == parity.compare(unshared, exact, single) == []


def test_tokens_that_are_all_padding_end_where_the_shared_beginning_ends() -> None:
    tokens, embedding = torch.zeros(6, 3, dtype=torch.int32), torch.randn(4, 5)
    weights = [value.detach() for name, value in Case(1, 1, 5, 7).inputs()[0].items() if name != "x"]
    _, h_n = torch_ops.elman_tokens(tokens, embedding, *weights)
    _, expected = torch_ops.elman(embedding[tokens.long()], *weights)
    assert torch.equal(h_n, expected)


def test_the_token_form_and_the_dense_form_have_the_same_bits() -> None:
    case = Case(20, 11, 24, 40)
    tokens, embedding = tokens_of(case)
    tensors = {name: value.detach() for name, value in case.inputs()[0].items() if name != "x"}
    output, h_n = torch_ops.elman_tokens(tokens, embedding, **tensors, return_sequences=True)
    expected, last = torch_ops.elman(embedding[tokens.long()], **tensors)
    assert torch.equal(output, expected)
    assert torch.equal(h_n, last)


def test_a_sparse_gradient_holds_each_word_once_and_only_those_met() -> None:
    tokens = torch.tensor([[3, 0], [1, 3], [3, 9]], dtype=torch.int32)
    embedding = torch.randn(12, 4, requires_grad=True)
    weights = [value.detach() for name, value in Case(1, 1, 4, 6).inputs()[0].items() if name != "x"]
    last = torch_ops.elman_tokens(tokens, embedding, *weights, sparse=True)[1]
    (gradient,) = torch.autograd.grad(last.sum(), embedding)
    assert gradient.is_sparse
    assert gradient.is_coalesced()
    assert gradient.indices().tolist() == [[0, 1, 3, 9]]


@pytest.mark.parametrize("layout", ["batch first", "every second step", "last axis apart", "expanded"])
def test_strides_are_followed(layout: str) -> None:
    case = Case(10, 6, 8, 12)
    tensors, _ = case.inputs()
    x = tensors.pop("x").detach()
    laid = {
        "batch first": x.transpose(0, 1).contiguous().transpose(0, 1),
        "every second step": torch.stack([x, x + 1], 1).flatten(0, 1)[::2],
        "last axis apart": x.permute(2, 0, 1).contiguous().permute(1, 2, 0),
        "expanded": x[:, :1].expand(-1, 6, -1),
    }[layout]
    plain = laid.contiguous().requires_grad_()
    strided = laid.detach().requires_grad_()
    results = []
    for given in (plain, strided):
        output, h_n = torch_ops.elman(given, **tensors)
        upward = torch.linspace(-1, 1, output.numel()).view(12, 10, 6).permute(1, 2, 0)
        results.append([output, h_n, *torch.autograd.grad(output, [given, *tensors.values()], upward)])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("threads", [2, 3, 8])
@pytest.mark.parametrize(
    "case", [Case(9, 37, 8, 32, ragged=True), Case(4, 2, 8, 520), Case(6, 70, 100, 130)], ids=str
)
def test_the_number_of_threads_changes_no_bit(case: Case, threads: int) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = {**parity.run(case, torch_ops.elman), **{f"{k} by token": v for k, v in by_token(case).items()}}
        torch.set_num_threads(threads)
        many = {
            **parity.run(case, torch_ops.elman),
            **{f"{k} by token": v for k, v in by_token(case).items()},
        }
    finally:
        torch.set_num_threads(before)
    assert [name for name in one if not torch.equal(one[name], many[name])] == []


def test_gradients_may_be_asked_for_one_by_one() -> None:
    case = Case(5, 4, 3, 6, h_0=True)
    whole = parity.run(replace(case), torch_ops.elman)
    for name in ("x", "w_ih", "w_hh", "b", "h_0"):
        tensors, _ = case.inputs()
        for other in tensors:
            tensors[other].requires_grad_(other == name)
        output, h_n = torch_ops.elman(**tensors)
        found = torch.autograd.grad([output, h_n], tensors[name], upstream(case, True))
        assert torch.equal(found[0], whole[f"d_{name}"])


def test_without_gradients_nothing_is_kept() -> None:
    case = Case(5, 4, 3, 6)
    tensors, _ = case.inputs()
    with torch.no_grad():
        output, h_n = torch_ops.elman(**tensors)
    assert output.grad_fn is None
    assert torch.equal(output[-1], h_n)


def module() -> torch.nn.Module:
    """A small module on both operators."""

    class Reader(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = torch.nn.Parameter(torch.randn(9, 5))
            tensors, _ = Case(1, 1, 5, 4, h_0=False).inputs()
            self.w_ih, self.w_hh, self.b = (
                torch.nn.Parameter(tensors[name]) for name in ("w_ih", "w_hh", "b")
            )

        def forward(self, tokens: Tensor) -> Tensor:
            states, last = torch_ops.elman_tokens(
                tokens, self.table, self.w_ih, self.w_hh, self.b, return_sequences=True, sparse=True
            )
            output, _ = torch_ops.elman(states, self.w_hh + 1, self.w_hh, self.b, last, lengths=tokens[0] % 3)
            return output.sum() + (last * last).sum()

    torch.manual_seed(0)
    return Reader()


@pytest.mark.filterwarnings("ignore")
def test_torch_compile_takes_a_whole_module() -> None:
    reader, tokens = module(), torch.arange(21, dtype=torch.int32).view(7, 3) % 9
    results = []
    for run in (reader, torch.compile(reader, fullgraph=True, backend="aot_eager")):
        reader.zero_grad(set_to_none=True)
        value = run(tokens)
        value.backward()
        results.append([value.detach(), *(p.grad.to_dense() for p in reader.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.filterwarnings("ignore")
def test_the_fake_implementations_tell_the_shapes() -> None:
    tensors, lengths = Case(6, 3, 4, 5, h_0=True, ragged=True).inputs()
    weights = [tensors[name].detach() for name in ("w_ih", "w_hh", "b", "h_0")]
    plan = ("rnn_tanh", 1, 1, 1, True)
    given = (tensors["x"].detach(), lengths, [weights[3][None]], [], weights[:3], *plan)
    torch.library.opcheck(torch.ops.unrolled.recurrent.default, (*given, True))
    output, h_n = torch.ops.unrolled.recurrent(*given, True)
    torch.library.opcheck(
        torch.ops.unrolled.recurrent_backward.default,
        (*given, [output], [], output, h_n, None, True, True, False),
    )
    tokens, embedding = tokens_of(Case(6, 3, 4, 5))
    given = (tokens, embedding, *weights[:3], None, None, "tanh", 0)
    checks = ("test_schema", "test_faketensor")  # what is kept has places that nobody fills or reads
    for sequences in (False, True):
        torch.library.opcheck(torch.ops.unrolled.tokens.default, (*given, sequences, True), test_utils=checks)
        h_n, *kept = torch.ops.unrolled.tokens(*given, sequences, True)
        backward = (*given, sequences, kept, None, h_n, False, False)
        torch.library.opcheck(torch.ops.unrolled.tokens_backward.default, backward, test_utils=checks)


def test_what_the_engine_does_not_take_is_refused_with_the_reason() -> None:
    tensors, _ = Case(3, 2, 4, 5).inputs()
    with pytest.raises(UsageError, match="The engine computes in float32, not in float64."):
        torch_ops.elman(**{name: value.double() for name, value in tensors.items()})
    with pytest.raises(UsageError, match="The engine runs on the CPU, not on 'meta'."):
        torch_ops.elman(**{name: value.to("meta") for name, value in tensors.items()})
    with pytest.raises(
        ShapeError, match=r"w_ih is \(5, 3\); expected \(5, 4\) for x \(T, B, D\) with T=3, B=2"
    ):
        torch_ops.elman(**{**tensors, "w_ih": tensors["w_ih"][:, :3]})
    with pytest.raises(UsageError, match="A length is outside 0 to 3, the number of steps of the input."):
        torch_ops.elman(**tensors, lengths=torch.tensor([1, 4]))
    with pytest.raises(UsageError, match="A token id is outside 0 to 9, the rows of the embedding."):
        torch_ops.elman_tokens(
            torch.full((3, 2), 10, dtype=torch.int32), torch.zeros(10, 4), tensors["w_ih"], tensors["w_hh"]
        )


def test_second_derivatives_are_torchs() -> None:
    case = Case(4, 3, 4, 5, h_0=True, ragged=True)
    found = []
    for run in (torch_ops.elman, parity.torch_rnn):
        tensors, lengths = case.inputs()
        output, h_n = run(**tensors, lengths=lengths)
        first = torch.autograd.grad(
            (output * output).sum() + h_n.sum(), list(tensors.values()), create_graph=True
        )
        found.append(torch.autograd.grad(sum((g * g).sum() for g in first), list(tensors.values())))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
