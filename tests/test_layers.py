"""One description, two executors: torch (training) and NumPy with the engine (prediction) must agree."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from unrolled import layers  # noqa: E402
from unrolled.errors import BundleError, UsageError  # noqa: E402
from unrolled.network import GRU, LSTM, Dense, Dropout, Embedding, Network, Pooling, SimpleRNN  # noqa: E402
from unrolled.runtime import Runtime  # noqa: E402

TOKENS = {
    "lesson": Network((Embedding(50, 7), SimpleRNN(5), Dense(1, "sigmoid")), (13,)),
    "relu and softmax": Network((Embedding(50, 8), SimpleRNN(6, "relu"), Dense(3, "softmax")), (9,)),
    "two recurrent layers": Network(
        (Embedding(50, 4), SimpleRNN(9, return_sequences=True), SimpleRNN(3), Dense(2)), (11,)
    ),
    "embedding and dense": Network((Embedding(50, 4), Dense(3, "tanh")), (6,)),
    "lstm, last state": Network((Embedding(50, 7), LSTM(5), Dense(1, "sigmoid")), (13,)),
    "two layers both ways, pooled": Network(
        (
            Embedding(50, 6),
            Dropout(0.3),
            LSTM(5, return_sequences=True, bidirectional=True, num_layers=2, dropout=0.4),
            Pooling(("max", "last", "mean")),
            Dense(3, "softmax"),
        ),
        (11,),
    ),
    "gru both ways": Network((Embedding(50, 6), GRU(9, bidirectional=True, num_layers=2), Dense(2)), (12,)),
    "gru, then lesson": Network(
        (Embedding(50, 6), GRU(4, return_sequences=True), SimpleRNN(3), Dense(2)), (9,)
    ),
}
GATED = [name for name in TOKENS if "lstm" in name or "gru" in name or "pooled" in name]
VECTORS = Network((SimpleRNN(5, return_sequences=True), Dense(4, "relu")), (12, 3))


def random_weights(network: Network, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=s).astype(np.float32) * 0.4 for name, s in network.weight_shapes().items()}


def random_input(network: Network, batch: int = 10) -> np.ndarray:
    rng = np.random.default_rng(1)
    if len(network.input_shape) == 2:
        return rng.normal(size=(batch, *network.input_shape)).astype(np.float32)
    tokens = rng.integers(0, 50, (batch, *network.input_shape)).astype(np.int32)
    for row in range(batch):  # padded in front, one row of nothing but padding
        tokens[row, : row * network.input_shape[0] // (batch - 1)] = 0
    return tokens


@pytest.mark.parametrize("name", TOKENS)
def test_torch_and_runtime_agree_on_tokens(name):
    network = TOKENS[name]
    weights, x = random_weights(network), random_input(network)
    expected = layers.build(network, weights).eval()(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(Runtime(network, weights)(x), expected, rtol=1e-5, atol=1e-6)


def test_torch_and_runtime_agree_on_vectors():
    weights, x = random_weights(VECTORS), random_input(VECTORS)
    expected = layers.build(VECTORS, weights)(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(Runtime(VECTORS, weights)(x), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", TOKENS)
def test_engine_and_readable_cell_agree(name):
    """In float64 the layers run the readable cell; outputs and every gradient must be the engine's."""
    network = TOKENS[name]
    x = torch.from_numpy(random_input(network))
    fast, exact = (
        layers.build(network, random_weights(network)).eval(),
        layers.build(network, random_weights(network)).double().eval(),
    )
    for stack in (fast, exact):
        (stack.logits(x) ** 2).sum().backward()
    np.testing.assert_allclose(fast(x).detach(), exact(x).detach(), rtol=1e-4, atol=1e-5)
    for (key, ours), (_, theirs) in zip(fast.named_parameters(), exact.named_parameters(), strict=True):
        ours, theirs = (g.to_dense() if g.is_sparse else g for g in (ours.grad, theirs.grad))
        np.testing.assert_allclose(
            ours, theirs, rtol=2e-4, atol=2e-5 * float(theirs.abs().max()), err_msg=key
        )


def test_logits_come_before_the_activation():
    network = TOKENS["lesson"]
    stack, x = layers.build(network, random_weights(network)), torch.from_numpy(random_input(network))
    torch.testing.assert_close(torch.sigmoid(stack.logits(x)), stack(x))


def test_weights_pass_through_torch_unchanged():
    network = TOKENS["two recurrent layers"]
    weights = random_weights(network)
    back = layers.weights_of(layers.build(network, weights))
    assert list(back) == list(weights)
    assert all((back[name] == weights[name]).all() for name in weights)


def test_foreign_weights_are_refused():
    with pytest.raises(BundleError, match=r"The weight '1.weight_hh' is missing"):
        layers.build(
            TOKENS["lesson"],
            {n: w for n, w in random_weights(TOKENS["lesson"]).items() if n != "1.weight_hh"},
        )


def test_trace_ends_with_the_answer_and_follows_the_words():
    network = TOKENS["lesson"]
    runtime, x = Runtime(network, random_weights(network)), random_input(network)
    traced = runtime.trace(x)
    assert traced.shape == (10, 13, 1)
    np.testing.assert_allclose(traced[:, -1], runtime(x), rtol=1e-6)
    np.testing.assert_allclose(traced[:, -2], runtime(np.ascontiguousarray(x[:, :-1])), rtol=1e-6)


def test_a_row_does_not_depend_on_its_neighbours():
    network = TOKENS["lesson"]
    runtime, x = Runtime(network, random_weights(network)), random_input(network, 37)
    together = runtime(x)
    alone = np.concatenate([runtime(x[i : i + 1]) for i in range(len(x))])
    np.testing.assert_array_equal(together, alone)


LENGTHS = np.array([9, 3, 0, 1, 7, 9, 2, 5, 4, 8])


@pytest.mark.parametrize("name", [n for n in TOKENS if n != "embedding and dense"])
def test_a_ragged_batch_gives_what_its_rows_give_alone(name):
    """And what stands past a row's end changes nothing, in torch and in the runtime."""
    network = TOKENS[name]
    weights, x = random_weights(network), np.random.default_rng(2).integers(1, 50, (10, 9)).astype(np.int32)
    stack, runtime = layers.build(network, weights).eval(), Runtime(network, weights)
    together = runtime(x, LENGTHS)
    for row, end in enumerate(LENGTHS):
        np.testing.assert_array_equal(together[row], runtime(x[row : row + 1, :end])[0])
    for filled in (x, np.where(np.arange(9) < LENGTHS[:, None], x, 7).astype(np.int32)):
        given = layers.Ragged(torch.from_numpy(filled), torch.from_numpy(LENGTHS))
        np.testing.assert_allclose(stack(given).detach(), together, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(runtime(filled, LENGTHS), together)


@pytest.mark.parametrize("name", GATED)
def test_gradients_of_a_ragged_batch_are_the_readable_cells(name):
    network = TOKENS[name]
    x = torch.from_numpy(np.random.default_rng(2).integers(1, 50, (10, 9)).astype(np.int32))
    stacks = [layers.build(network, random_weights(network)).eval() for _ in range(2)]
    stacks[1].double()
    for stack in stacks:
        (stack.logits(layers.Ragged(x, torch.from_numpy(LENGTHS))) ** 2).sum().backward()
    for (key, ours), (_, theirs) in zip(*(s.named_parameters() for s in stacks), strict=True):
        ours, theirs = (g.to_dense() if g.is_sparse else g for g in (ours.grad, theirs.grad))
        np.testing.assert_allclose(
            ours, theirs, rtol=2e-4, atol=2e-5 * float(theirs.abs().max()), err_msg=key
        )


@pytest.mark.parametrize(("kind", "theirs"), [(LSTM, torch.nn.LSTM), (GRU, torch.nn.GRU)])
def test_weights_are_torchs_by_name_and_meaning(kind, theirs):
    network = Network((kind(4, return_sequences=True, bidirectional=True, num_layers=2),), (None, 3))
    weights, x = random_weights(network), np.random.default_rng(0).normal(size=(2, 6, 3)).astype(np.float32)
    layer = theirs(3, 4, num_layers=2, bidirectional=True, batch_first=True)
    layer.load_state_dict({name.partition(".")[2]: torch.from_numpy(w) for name, w in weights.items()})
    expected = layer(torch.from_numpy(x))[0].detach()
    np.testing.assert_allclose(Runtime(network, weights)(x), expected, rtol=1e-5, atol=1e-6)


def test_dropout_drops_while_training_and_never_after():
    network = Network((Dropout(0.5), Dense(1)), (400,))
    weights = {"1.weight": np.ones((1, 400), np.float32), "1.bias": np.zeros(1, np.float32)}
    stack, x = layers.build(network, weights), torch.ones(1, 400)
    torch.manual_seed(0)
    assert stack.eval()(x).item() == 400
    dropped = stack.train()(x).item()
    assert dropped != 400
    assert 300 < dropped < 500
    assert float(Runtime(network, weights)(x.numpy())[0, 0]) == 400


def test_trace_follows_a_pooled_network_and_refuses_one_that_reads_backwards():
    network = Network(
        (Embedding(50, 6), LSTM(5, return_sequences=True), Pooling(("mean", "max", "last")), Dense(2)),
        (None,),
    )
    runtime, x = Runtime(network, random_weights(network)), random_input(TOKENS["lesson"])
    traced = runtime.trace(x)
    for end in (1, 6, 13):
        np.testing.assert_allclose(traced[:, end - 1], runtime(x[:, :end]), rtol=1e-5, atol=1e-6)
    with pytest.raises(UsageError, match="bidirectional network has no answer while it reads"):
        Runtime(TOKENS["gru both ways"], random_weights(TOKENS["gru both ways"])).trace(x)
