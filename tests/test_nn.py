"""Our RNN, LSTM and GRU are torch's, in every spelling that torch takes, and read ragged batches besides."""

from __future__ import annotations

import copy
import pickle

import pytest

torch = pytest.importorskip("torch")

from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pack_sequence  # noqa: E402

from unrolled import kernels, nn  # noqa: E402
from unrolled.errors import ShapeError, UsageError  # noqa: E402

T, B, D, H = 9, 6, 5, 12
KINDS = [("RNN", {}), ("RNN", {"nonlinearity": "relu"}), ("LSTM", {}), ("GRU", {})]
LENGTHS = [9, 4, 0, 7, 1, 9]


def pair(kind: str, **options: object) -> tuple[torch.nn.Module, torch.nn.Module]:
    """Ours and torch's with the same weights."""
    torch.manual_seed(0)
    theirs = getattr(torch.nn, kind)(D, H, **options)
    ours = getattr(nn, kind)(D, H, **options)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def first(kind: str, layers: int, batch: int = B, seed: int = 1) -> object:
    g = torch.Generator().manual_seed(seed)
    states = tuple(torch.randn(layers, batch, H, generator=g).requires_grad_() for _ in range(2))
    return states if kind == "LSTM" else states[0]


def flat(answer: object) -> list[torch.Tensor]:
    """Every tensor of an answer, in order."""
    if isinstance(answer, torch.Tensor):
        return [answer]
    if isinstance(answer, PackedSequence):
        return [answer.data, answer.batch_sizes]
    return [tensor for part in answer if part is not None for tensor in flat(part)]


def assert_same(ours: object, theirs: object) -> None:
    for one, other in zip(flat(ours), flat(theirs), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def assert_same_gradients(ours, theirs, run) -> None:
    """Of all weights, after `run(module)` gave outputs."""
    found = []
    for module in (ours, theirs):
        module.zero_grad()
        outputs = [t for t in flat(run(module)) if t.requires_grad]
        sum((t * torch.arange(t.numel()).reshape(t.shape).cos()).sum() for t in outputs).backward()
        found.append({name: parameter.grad for name, parameter in module.named_parameters()})
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[0].items():
        torch.testing.assert_close(gradient, found[1][name], rtol=1e-4, atol=1e-4, msg=name)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(("kind", "more"), KINDS)
def test_it_is_torchs(kind, more, bidirectional, batch_first):
    options = {"num_layers": 2, "bidirectional": bidirectional, "batch_first": batch_first, **more}
    ours, theirs = pair(kind, **options)
    x = torch.randn((B, T, D) if batch_first else (T, B, D))
    hx = first(kind, 4 if bidirectional else 2)
    assert_same(ours(x, hx), theirs(x, hx))
    assert_same(ours(x), theirs(x))
    assert_same_gradients(ours, theirs, lambda module: module(x, hx))


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize(("kind", "more"), KINDS)
def test_a_single_sequence(kind, more, batch_first):
    ours, theirs = pair(kind, bias=False, batch_first=batch_first, **more)
    x, states = torch.randn(T, D), first(kind, 1)
    hx = tuple(s[:, 0] for s in states) if kind == "LSTM" else states[:, 0]
    assert_same(ours(x, hx), theirs(x, hx))
    short, last = ours(x, hx, lengths=torch.tensor(4))
    wanted, ends = theirs(x[:4], hx)
    assert_same((short[:4], last), (wanted, ends))
    assert not short[4:].any()


@pytest.mark.parametrize("enforce_sorted", [False, True])
@pytest.mark.parametrize(("kind", "more"), KINDS)
def test_packed_sequences(kind, more, enforce_sorted):
    ours, theirs = pair(kind, num_layers=2, bidirectional=True, **more)
    lengths = sorted([9, 4, 2, 7, 1, 9], reverse=True) if enforce_sorted else [4, 9, 2, 7, 1, 9]
    packed = pack_sequence([torch.randn(n, D) for n in lengths], enforce_sorted=enforce_sorted)
    hx = first(kind, 4)
    assert_same(ours(packed, hx), theirs(packed, hx))
    assert_same(ours(packed), theirs(packed))
    assert_same_gradients(ours, theirs, lambda module: module(packed, hx))


@pytest.mark.parametrize("spelling", ["list", "int32", "mask"])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize(("kind", "more"), KINDS)
def test_lengths_are_what_packing_gives(kind, more, batch_first, spelling):
    ours, theirs = pair(kind, num_layers=2, bidirectional=True, batch_first=batch_first, **more)
    x, hx, lengths = torch.randn(T, B, D), first(kind, 4), torch.tensor(LENGTHS)
    given = {"list": lengths, "int32": lengths.int(), "mask": torch.arange(T)[:, None] < lengths}[spelling]
    if batch_first and spelling == "mask":
        given = given.T
    output, last = ours(x.transpose(0, 1) if batch_first else x, hx, lengths=given)
    output = output.transpose(0, 1) if batch_first else output
    some = lengths > 0
    states = tuple(s[:, some] for s in hx) if kind == "LSTM" else hx[:, some]
    packed = pack_padded_sequence(x[:, some], lengths[some], enforce_sorted=False)
    wanted, ends = theirs(packed, states)
    wanted = torch.nn.utils.rnn.pad_packed_sequence(wanted)[0]
    assert output.shape == (T, B, 2 * H)
    assert_same(output[:, some], wanted)
    assert not output[:, 2].any()
    for one, start, end in zip(flat(last), flat(hx), flat(ends), strict=True):
        assert_same(one[:, some], end)
        assert torch.equal(one[:, 2], start[:, 2])


@pytest.mark.parametrize(("kind", "more"), KINDS)
def test_dropout_draws_torchs_masks(kind, more):
    ours, theirs = pair(kind, num_layers=3, dropout=0.4, bidirectional=True, **more)
    x, answers = torch.randn(T, B, D), []
    for module in (ours, theirs):
        torch.manual_seed(7)
        answers.append(module(x))
    assert_same(*answers)
    assert_same(ours.eval()(x), theirs.eval()(x))


@pytest.mark.parametrize(("kind", "more"), KINDS)
def test_what_the_engine_does_not_take_goes_to_torch(kind, more):
    ours, theirs = (module.double() for module in pair(kind, num_layers=2, bidirectional=True, **more))
    x, lengths = torch.randn(T, B, D, dtype=torch.float64), torch.tensor(LENGTHS)
    assert_same(ours(x), theirs(x))
    packed = pack_sequence([torch.randn(n, D, dtype=torch.float64) for n in (4, 9)], enforce_sorted=False)
    assert_same(ours(packed), theirs(packed))
    output, last = ours(x, lengths=lengths)
    for row, length in enumerate(LENGTHS):
        assert not output[length:, row].any()
        if length:
            wanted, ends = theirs(x[:length, row])
            assert_same((output[:length, row], [s[:, row] for s in flat(last)]), (wanted, flat(ends)))


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning")
def test_a_projection_goes_to_torch():
    ours, theirs = pair("LSTM", proj_size=4)
    x = torch.randn(T, B, D)
    assert_same(ours(x), theirs(x))
    with pytest.raises(
        UsageError, match="A layer with proj_size takes no `lengths`; pack the sequences instead."
    ):
        ours(x, lengths=torch.tensor(LENGTHS))


@pytest.mark.skipif(not kernels.available(), reason="the engine is missing")
@pytest.mark.parametrize(("kind", "more"), KINDS)
def test_the_engine_is_what_computes(kind, more, monkeypatch):
    ours, _ = pair(kind, **more)
    for name in ("lstm", "gru", "rnn_tanh", "rnn_relu"):
        monkeypatch.setattr(torch, name, None)
    monkeypatch.setattr(nn, "network_over_time", None)
    ours(torch.randn(T, B, D), lengths=torch.tensor(LENGTHS))[0].sum().backward()
    assert ours.weight_hh_l0.grad.any()


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch.compile does it
@pytest.mark.parametrize(("kind", "more"), KINDS)
def test_it_is_copied_pickled_and_compiled(kind, more):
    ours, _ = pair(kind, num_layers=2, bidirectional=True, **more)
    x = torch.randn(T, B, D)
    wanted = ours(x)
    assert_same(copy.deepcopy(ours)(x), wanted)
    assert_same(pickle.loads(pickle.dumps(ours))(x), wanted)
    if kernels.available():  # torch.compile refuses torch's own functions
        assert_same(torch.compile(ours, fullgraph=True, backend="aot_eager")(x), wanted)


def test_tied_weights_and_parametrizations_are_followed():
    ours, theirs = pair("GRU")
    x = torch.randn(T, B, D)
    for module in (ours, theirs):
        torch.nn.utils.parametrizations.weight_norm(module, "weight_hh_l0")
    assert_same_gradients(ours, theirs, lambda module: module(x))
    tied, _ = pair("GRU")
    tied.bias_ih_l0 = tied.bias_hh_l0
    tied(x)[0].sum().backward()
    assert len(list(tied.parameters())) == 3


@pytest.mark.parametrize("layout", ["dense", "lengths", "packed"])
def test_a_gru_may_reset_before_its_product(layout):
    """Against the paper's equations, written out."""
    torch.manual_seed(0)
    layer, lengths = nn.GRU(D, H, reset_after=False), torch.tensor([9, 4, 2, 7, 1, 9])
    x, h_0 = torch.randn(T, B, D), torch.randn(1, B, H)
    w_ih, w_hh, b_ih, b_hh = layer.parameters()
    given = pack_padded_sequence(x, lengths, enforce_sorted=False) if layout == "packed" else x
    output, last = layer(given, h_0, lengths=lengths if layout == "lengths" else None)
    if layout == "packed":
        output = torch.nn.utils.rnn.pad_packed_sequence(output)[0]
    for row in range(B):
        h = h_0[0, row]
        for t in range(T if layout == "dense" else int(lengths[row])):
            a, b = w_ih @ x[t, row] + b_ih, w_hh @ h + b_hh
            r, z = torch.sigmoid(a[:H] + b[:H]), torch.sigmoid(a[H : 2 * H] + b[H : 2 * H])
            n = torch.tanh(a[2 * H :] + w_hh[2 * H :] @ (r * h) + b_hh[2 * H :])
            h = z * h + (1 - z) * n
            torch.testing.assert_close(output[t, row], h)
        torch.testing.assert_close(last[0, row], h)


@pytest.mark.parametrize(
    ("given", "error", "sentence"),
    [
        ({"input": torch.zeros(2, 2, 2, 2)}, ShapeError, "The input has 4 axes; expected 3, or 2"),
        ({"input": torch.zeros(T, B, 3)}, ShapeError, "The input's last axis has 3 numbers; expected 5."),
        ({"hx": torch.zeros(2, B, H)}, ShapeError, r"h_0 is \(2, 6, 12\); expected \(1, 6, 12\)"),
        (
            {"lengths": torch.ones(B)},
            ShapeError,
            r"lengths is \(6,\), torch.float32; expected integers \(6,\)",
        ),
        (
            {"lengths": torch.tensor([1] * 5)},
            ShapeError,
            r"lengths is \(5,\), torch.int64; expected integers",
        ),
        ({"lengths": torch.tensor([10] * 6)}, UsageError, "A length is outside 0 to 9"),
        ({"lengths": torch.ones(B, T) > 0}, ShapeError, r"The mask is \(6, 9\); expected \(9, 6\)"),
        ({"lengths": torch.arange(T)[:, None] > torch.zeros(B)}, UsageError, "A row of the mask has a hole"),
    ],
    ids=["axes", "size", "state", "floats", "rows", "range", "mask", "hole"],
)
def test_what_cannot_be_followed_is_said(given, error, sentence):
    ours, _ = pair("GRU")
    with pytest.raises(error, match=sentence):
        ours(**({"input": torch.zeros(T, B, D)} | given))


def test_a_packed_sequence_has_its_own_lengths():
    ours, _ = pair("GRU")
    with pytest.raises(UsageError, match="A PackedSequence brings its own lengths; leave out `lengths`."):
        ours(pack_sequence([torch.zeros(3, D)]), lengths=torch.tensor([3]))


def test_an_unknown_nonlinearity_is_refused():
    with pytest.raises(UsageError, match="nonlinearity is 'cube'; it must be 'tanh' or 'relu'."):
        nn.RNN(D, H, nonlinearity="cube")


class Tagger(torch.nn.Module):
    """Two of ours and torch's operations between them."""

    def __init__(self, kind: str, more: dict[str, str]) -> None:
        super().__init__()
        self.lower = getattr(nn, kind)(D, H, 2, dropout=0.3, bidirectional=True, **more)
        self.upper = getattr(nn, kind)(2 * H, 3, **more)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        return self.upper(self.lower(x, lengths=lengths)[0] * 2)[0].tanh()


def operators(graph: torch.fx.GraphModule) -> list[str]:
    return [
        str(node.target)
        for node in graph.graph.nodes
        if node.op == "call_function" and "unrolled" in str(node.target)
    ]


@pytest.mark.filterwarnings("ignore")  # torch's, of its own tracing
@pytest.mark.skipif(not kernels.available(), reason="the compiled engine is missing")
@pytest.mark.parametrize(("kind", "more"), KINDS)
def test_a_compiled_model_holds_one_operator_for_a_layer_and_learns_the_same(kind, more):
    torch.manual_seed(0)
    model, x, lengths, seen = (
        Tagger(kind, more),
        torch.randn(T, B, D, requires_grad=True),
        torch.tensor(LENGTHS),
        [],
    )

    def backend(graph, given):
        seen.append(operators(graph))
        return graph.forward

    def learned(run):
        torch.manual_seed(5)
        loss = run(x, lengths).square().sum()
        return torch.autograd.grad(loss, [x, *model.parameters()])

    torch._dynamo.reset()
    wanted = learned(model)
    for how in ("aot_eager", backend):
        for one, other in zip(
            learned(torch.compile(model, fullgraph=True, backend=how)), wanted, strict=True
        ):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    assert [len(graph) for graph in seen] == [2]
    with pytest.raises(UsageError, match="A length is outside 0 to 9"):
        torch.compile(model, fullgraph=True, backend=backend)(x, lengths + 1)
    mask = torch.arange(T)[:, None] < lengths
    torch.testing.assert_close(
        torch.compile(model.eval(), fullgraph=True, backend=backend)(x, mask), model(x, lengths)
    )


@pytest.mark.filterwarnings("ignore")  # torch's, of its own tracing
@pytest.mark.skipif(not kernels.available(), reason="the compiled engine is missing")
@pytest.mark.parametrize(("kind", "more"), KINDS)
def test_an_export_holds_one_operator_and_takes_other_batches(kind, more):
    torch.manual_seed(0)
    model = getattr(nn, kind)(D, H, 2, bidirectional=True, **more).eval()
    x, other = torch.randn(T, B, D), torch.randn(T, B + 3, D)
    program = torch.export.export(
        model, (x,), dynamic_shapes={"input": {1: torch.export.Dim("batch", min=2)}}
    )
    assert operators(program.graph_module) == ["unrolled.recurrent.default"]
    for given in (x, other):
        assert_same(program.module()(given), model(given))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("kind", "more"), KINDS)
def test_what_torch_has_to_see_goes_to_torchs_own_function(kind, more):
    ours, theirs = pair(kind, **more)
    x, tangent = torch.randn(T, B, D), torch.randn(T, B, D)
    assert_same(torch.jit.trace(ours, x)(tangent), theirs(tangent))
    weights = {name: p.detach() for name, p in ours.named_parameters()}
    of = torch.func.grad(lambda w, m: torch.func.functional_call(m, w, x)[0].square().sum())
    for name, gradient in of(weights, theirs).items():
        torch.testing.assert_close(of(weights, ours)[name], gradient)
    if kind != "LSTM":  # torch has no forward derivative of its LSTM
        with torch.no_grad():
            found = [torch.func.jvp(lambda x, m=m: m(x)[0], (x,), (tangent,))[1] for m in (ours, theirs)]
        torch.testing.assert_close(*found)


def test_weights_of_other_shapes_are_refused_in_torchs_words():
    ours, theirs = pair("GRU")
    said = []
    for module in (ours, theirs):
        module.weight_hh_l0 = torch.nn.Parameter(torch.zeros(3 * H, H + 1))
        with pytest.raises(RuntimeError) as error:
            module(torch.zeros(T, B, D))
        said.append(str(error.value))
    assert said[0] == said[1]
