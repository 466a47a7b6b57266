"""The engine on NumPy arrays: bits that depend on nothing but the row, numbers that pass through, errors.

That it agrees with float64 is in test_torch_ops.
"""

from __future__ import annotations

import numpy as np
import pytest

from conftest import RunPython
from unrolled import kernels
from unrolled.errors import EngineError, ShapeError, UsageError
from unrolled.kernels import abi, reference

Array = np.ndarray
needs_engine = pytest.mark.skipif(not kernels.available(), reason="the compiled engine is missing")
ULP = np.float64(2.0**-24)


@pytest.fixture(params=["engine", "numpy"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The engine, and the readable path that serves where it is missing."""
    if request.param == "numpy":
        monkeypatch.setattr(kernels, "available", lambda: False)
    elif not kernels.available():
        pytest.skip("the compiled engine is missing")
    return str(request.param)


def weights(rng: np.random.Generator, D: int, H: int) -> tuple[Array, Array, Array]:
    return tuple(  # type: ignore[return-value]
        (rng.uniform(-1, 1, shape) / H**0.5).astype(np.float32) for shape in ((H, D), (H, H), (H,))
    )


def naive(x: Array, w_ih: Array, w_hh: Array, b: Array, h: Array, f: object = np.tanh) -> Array:
    """One row of vectors (T, D) in float64, by the formula."""
    states = []
    for x_t in x:
        h = f(w_ih.astype(float) @ x_t + w_hh.astype(float) @ h + b)  # type: ignore[operator]
        states.append(h)
    return np.array(states).reshape(len(x), len(h))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_both_paths_follow_the_formula(
    path: str, nonlinearity: str, reverse: bool, rng: np.random.Generator
) -> None:
    x, h_0 = rng.normal(size=(7, 5, 3)).astype(np.float32), rng.normal(size=(5, 4)).astype(np.float32)
    w_ih, w_hh, b = weights(rng, 3, 4)
    lengths = np.array([7, 0, 3, 1, 6])
    f = np.tanh if nonlinearity == "tanh" else lambda z: np.maximum(z, 0)
    output, h_n = kernels.elman(
        x, w_ih, w_hh, b, h_0, lengths=lengths, nonlinearity=nonlinearity, reverse=reverse
    )
    for row, length in enumerate(lengths):
        order = slice(None, None, -1) if reverse else slice(None)
        states = naive(x[:length, row][order], w_ih, w_hh, b, h_0[row], f)
        np.testing.assert_allclose(output[:length, row], states[order], atol=1e-6)
        np.testing.assert_array_equal(output[length:, row], 0)
        np.testing.assert_allclose(h_n[row], states[-1] if length else h_0[row], atol=1e-6)


@pytest.mark.parametrize("prefix_token", [0, 2, -1])
def test_tokens_are_rows_of_the_table(path: str, prefix_token: int, rng: np.random.Generator) -> None:
    embedding = rng.normal(size=(9, 3)).astype(np.float32)
    w_ih, w_hh, b = weights(rng, 3, 4)
    tokens = rng.integers(0, 9, (8, 6)).astype(np.int32)
    tokens[np.arange(8)[:, None] < [0, 3, 8, 1, 5, 3]] = 0
    table = kernels.input_table(embedding, w_ih, b)
    np.testing.assert_allclose(table, embedding @ w_ih.T + b, atol=1e-6)
    output, h_n = kernels.elman_tokens(tokens, table, w_hh, prefix_token=prefix_token, return_sequences=True)
    expected, last = kernels.elman(embedding[tokens], w_ih, w_hh, b)
    np.testing.assert_allclose(output, expected, atol=1e-6)
    np.testing.assert_allclose(h_n, last, atol=1e-6)
    nothing, again = kernels.elman_tokens(tokens, table, w_hh, prefix_token=prefix_token)
    assert nothing is None
    np.testing.assert_array_equal(again, h_n)


def test_the_reference_gives_the_derivative(rng: np.random.Generator) -> None:
    x, h_0 = rng.normal(size=(5, 4, 3)), rng.normal(size=(4, 6))
    w_ih, w_hh, b = (value.astype(float) for value in weights(rng, 3, 6))
    lengths = np.array([5, 0, 2, 4])
    d_output, d_h_n = rng.normal(size=(5, 4, 6)), rng.normal(size=(4, 6))

    def loss(x: Array, w_ih: Array, w_hh: Array, b: Array, h_0: Array) -> float:
        output, h_n = reference.scan(reference.product(x, w_ih) + b, w_hh, h_0, lengths, "tanh")
        return float((output * d_output).sum() + (h_n * d_h_n).sum())

    given = (x, w_ih, w_hh, b, h_0)
    output, _ = reference.scan(reference.product(x, w_ih) + b, w_hh, h_0, lengths, "tanh")
    found = reference.backward((w_ih, w_hh), x, h_0, output, (d_output, d_h_n), lengths=lengths)
    for i, gradient in enumerate(found):
        direction = rng.normal(size=given[i].shape)
        sides = [
            loss(*(a + s * 1e-6 * direction if j == i else a for j, a in enumerate(given))) for s in (1, -1)
        ]
        assert (gradient * direction).sum() == pytest.approx((sides[0] - sides[1]) / 2e-6, rel=1e-6)


def results(rng: np.random.Generator, H: int, rows: Array | slice = slice(None)) -> tuple[Array, ...]:
    """Outputs of 19 rows, or of some of them alone, ragged, from vectors and from tokens."""
    x, h_0 = rng.normal(size=(9, 19, 11)).astype(np.float32), rng.normal(size=(19, H)).astype(np.float32)
    lengths, tokens = rng.integers(0, 10, 19), rng.integers(0, 7, (9, 19)).astype(np.int32)
    tokens[np.arange(9)[:, None] < rng.integers(-2, 9, 19)] = 0
    w_ih, w_hh, b = weights(rng, 11, H)
    table = kernels.input_table(rng.normal(size=(7, 11)), w_ih, b)
    dense = kernels.elman(x[:, rows], w_ih, w_hh, b, h_0[rows], lengths=lengths[rows])
    by_token = kernels.elman_tokens(tokens[:, rows], table, w_hh, return_sequences=True)
    return *dense, *by_token  # type: ignore[return-value]


@pytest.mark.parametrize("H", [1, 7, 16, 32, 33, 100, 300])
def test_a_row_has_the_same_bits_in_any_batch(H: int, path: str, isa: str) -> None:
    whole = results(np.random.default_rng(H), H)
    for rows in ([3], [18, 3], list(range(8)), [*range(5, 19)], [3, 3, 3, 4, 0, 3]):
        part = results(np.random.default_rng(H), H, np.array(rows))
        for a, b in zip(whole, part, strict=True):
            np.testing.assert_array_equal(a[..., rows, :], b)


DIGEST = """
import hashlib, sys
import numpy as np
from unrolled import kernels
from unrolled.kernels.native import NUMPY, Elman, Options, Upstream, Weights
assert "torch" not in sys.modules
rng, digest = np.random.default_rng(1), hashlib.sha256()
sizes = [(9, 37, 8, 32, 40), (5, 2, 8, 520, 9), (3, 1, 3, 700, 5), (6, 70, 70, 130, 90), (30, 16, 5, 9, 7)]
for T, B, D, H, V in sizes:
    x, d = rng.normal(size=(T, B, D)).astype("f"), rng.normal(size=(T, B, H)).astype("f")
    w = Weights(*((rng.uniform(-1, 1, s) / H**0.5).astype("f") for s in ((H, D), (H, H), (H,))))
    layer = Elman(NUMPY, w._replace(lengths=rng.integers(0, T + 1, B)))
    output, h_n = layer.forward(x)
    found = layer.backward(x, output, Upstream(d, h_n), want_x=True, want_h_0=True)
    tokens = rng.integers(0, V, (T, B)).astype(np.int32)
    tokens[np.arange(T)[:, None] < rng.integers(-2, T, B)] = 0
    e, layer = rng.normal(size=(V, D)).astype("f"), Elman(NUMPY, w, Options(prefix_token=0))
    kept, last = layer.forward_tokens(tokens, e, sequences=False, keep=True)
    words = layer.backward_tokens(tokens, e, kept, Upstream(None, last), sparse=True, want_h_0=False)
    for array in (output, h_n, last, *found, *words):
        if array is not None:
            digest.update(np.ascontiguousarray(array).tobytes())
print(kernels.info().threads, digest.hexdigest())
"""


@needs_engine
@pytest.mark.parametrize("name", kernels.isas())
def test_the_number_of_threads_changes_no_bit(name: str, run_python: RunPython) -> None:
    lines = [
        run_python(DIGEST, UNROLLED_THREADS=str(n), UNROLLED_ISA=name).stdout.split()
        for n in (1, 2, 3, 5, 16)
    ]
    assert [line[0] for line in lines] == ["1", "2", "3", "5", "16"]
    assert len({line[1] for line in lines}) == 1


def tanh(x: Array) -> Array:
    """The engine's tanh: a network of one neuron that sees its input unchanged, and nothing else."""
    one, none = np.ones((1, 1), np.float32), np.zeros((1, 1), np.float32)
    return kernels.elman(x.reshape(1, -1, 1), one, none)[1].ravel()


@needs_engine
def test_tanh_is_within_two_units_in_the_last_place(isa: str) -> None:
    x = np.arange(0x00800000, 0x41A00000, 97, dtype=np.uint32).view(np.float32)  # 1e-38 to 20
    found, exact = tanh(x), np.tanh(x.astype(np.float64))
    unit = np.ldexp(ULP, np.frexp(exact)[1])
    assert (np.abs(found - exact) / unit).max() <= 2.1
    assert np.abs(found).max() <= 1
    np.testing.assert_array_equal(tanh(-x), -found)


def test_nan_and_infinity_pass_as_the_formula_says(path: str, isa: str) -> None:
    x = np.array([np.nan, np.inf, -np.inf, 1e30, 0.0, 2.0], np.float32)
    np.testing.assert_array_equal(np.round(tanh(x), 5), np.array([np.nan, 1, -1, 1, 0, 0.96403], np.float32))
    one, none = np.ones((1, 1), np.float32), np.zeros((1, 1), np.float32)
    relu = kernels.elman(x.reshape(1, -1, 1), one, none, nonlinearity="relu")[1].ravel()
    np.testing.assert_array_equal(relu, np.array([np.nan, np.inf, 0, 1e30, 0, 2], np.float32))


def test_a_row_that_is_not_a_number_stays_alone(path: str, rng: np.random.Generator) -> None:
    x = rng.normal(size=(6, 9, 5)).astype(np.float32)
    w_ih, w_hh, b = weights(rng, 5, 37)
    clean, _ = kernels.elman(x, w_ih, w_hh, b)
    x[2, 4, 1] = np.nan
    output, h_n = kernels.elman(x, w_ih, w_hh, b)
    assert np.isnan(output[2:, 4]).all()
    assert np.isnan(h_n[4]).all()
    others = np.arange(9) != 4
    np.testing.assert_array_equal(output[:, others], clean[:, others])


@needs_engine
def test_denormal_numbers_are_the_callers_own_again_after_a_call(rng: np.random.Generator) -> None:
    w_ih, w_hh, b = weights(rng, 3, 4)
    kernels.elman(np.full((2, 40, 3), 1e-42, np.float32), w_ih, w_hh, b)
    assert np.float32(1e-40) * np.float32(0.5) > 0


@pytest.mark.parametrize("shape", [(6,), (5, 3), (70, 33), (2, 3, 4)])
def test_rmsprop_is_keras(path: str, shape: tuple[int, ...], isa: str, rng: np.random.Generator) -> None:
    w, g = (rng.normal(size=shape).astype(np.float32) for _ in range(2))
    v = rng.uniform(size=shape).astype(np.float32)
    expected = 0.9 * v.astype(float) + 0.1 * g.astype(float) ** 2
    moved = w - 0.01 * g.astype(float) / np.sqrt(expected + 1e-7)
    kernels.rmsprop(w, v, g, 0.01, 0.9, 1e-7)
    np.testing.assert_allclose(v, expected, rtol=1e-6)
    np.testing.assert_allclose(w, moved, rtol=1e-5, atol=1e-7)


def test_rows_without_a_gradient_decay_but_do_not_move(path: str, rng: np.random.Generator) -> None:
    w, v = rng.normal(size=(50, 7)).astype(np.float32), rng.uniform(size=(50, 7)).astype(np.float32)
    ids = np.array([0, 3, 4, 31, 49])
    rows = rng.normal(size=(5, 7)).astype(np.float32)
    g = np.zeros_like(w)
    g[ids] = rows
    expected_w, expected_v = w.copy(), v.copy()
    kernels.rmsprop(expected_w, expected_v, g, 0.01, 0.9, 1e-7)
    before = w.copy()
    kernels.rmsprop(w, v, (ids, rows), 0.01, 0.9, 1e-7)
    np.testing.assert_array_equal(v, expected_v)
    np.testing.assert_array_equal(w, expected_w)
    still = np.setdiff1d(np.arange(50), ids)
    np.testing.assert_array_equal(w[still], before[still])


def test_wrong_arguments_are_explained(path: str) -> None:
    x, w_ih, w_hh = (np.zeros(shape, np.float32) for shape in ((3, 2, 4), (5, 4), (5, 5)))
    table, tokens = np.zeros((6, 5), np.float32), np.zeros((3, 2), np.int32)
    with pytest.raises(UsageError, match="nonlinearity is 'sine'; it must be 'tanh' or 'relu'."):
        kernels.elman(x, w_ih, w_hh, nonlinearity="sine")
    with pytest.raises(ShapeError, match=r"The input has 2 axes; expected x \(T, B, D\)."):
        kernels.elman(x[0], w_ih, w_hh)
    with pytest.raises(
        ShapeError, match=r"b is \(4,\); expected \(5,\) for x \(T, B, D\) with T=3, B=2 and w_hh \(5, 5\)."
    ):
        kernels.elman(x, w_ih, w_hh, np.zeros(4, np.float32))
    with pytest.raises(UsageError, match="A length is outside 0 to 3, the number of steps of the input."):
        kernels.elman(x, w_ih, w_hh, lengths=np.array([3, -1]))
    with pytest.raises(ShapeError, match=r"table is \(6, 4\); expected \(V, 5\), as many columns as w_hh."):
        kernels.elman_tokens(tokens, table[:, :4], w_hh)
    for token in (-1, 6):
        with pytest.raises(UsageError, match="A token id is outside 0 to 5, the rows of the embedding."):
            kernels.elman_tokens(np.full_like(tokens, token), table, w_hh)
    with pytest.raises(
        ShapeError, match=r"embedding is \(6, 5\) and w_ih \(5, 4\); expected \(V, D\) and \(H, D\)."
    ):
        kernels.input_table(table, w_ih)
    with pytest.raises(ShapeError, match=r"b is \(4,\); expected \(5,\), one number for each row of w_ih."):
        kernels.input_table(table[:, :4], w_ih, np.zeros(4))


def test_wrong_updates_are_explained(path: str) -> None:
    w = np.zeros((4, 3), np.float32)
    with pytest.raises(
        ShapeError, match=r"square_average is float64, strides \(24, 8\); expected contiguous float32."
    ):
        kernels.rmsprop(w, np.zeros((4, 3)), w, 0.1, 0.9, 1e-7)
    with pytest.raises(
        ShapeError, match=r"weight is \(4, 3\), square_average \(4, 3\) and grad \(3, 3\); expected"
    ):
        kernels.rmsprop(w, w.copy(), w[:3], 0.1, 0.9, 1e-7)
    for ids in ([1, 1], [2, 0], [-1, 0], [0, 4]):
        with pytest.raises(ShapeError, match="ids must be ascending rows of the weight, from 0 to 3."):
            kernels.rmsprop(w, w.copy(), (np.array(ids), w[:2].copy()), 0.1, 0.9, 1e-7)


def test_supports_says_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (
        kernels.supports("lstmm").reason == "The engine has no cell 'lstmm'; it has elman, gru, lstm, mingru."
    )
    assert (
        kernels.supports("elman", dtype="torch.float16").reason
        == "The engine computes in float32, not in float16."
    )
    assert kernels.supports("elman", device="cuda").reason == "The engine runs on the CPU, not on 'cuda'."
    assert not kernels.supports("elman", device="cuda")
    assert bool(kernels.supports("elman", dtype="float32")) == kernels.available()
    monkeypatch.setattr(kernels, "available", lambda: False)
    monkeypatch.setattr(kernels, "info", lambda: kernels.EngineInfo(False, "numpy", 1, "none", "It is away."))
    assert kernels.supports("elman") == (False, "It is away.")


@needs_engine
def test_a_descriptor_of_another_version_is_refused() -> None:
    library = kernels.engine()
    assert library is not None
    for entry, fields in (
        (library.unrolled_elman_forward, abi.Elman(size=8)),
        (library.unrolled_input_table, abi.Table(size=8)),
        (library.unrolled_rmsprop_update, abi.RMSprop(size=8)),
    ):
        with pytest.raises(EngineError, match=r"The engine refused a call of unrolled_\w+ \(status 2\)"):
            abi.call(entry, fields)
    with pytest.raises(
        MemoryError, match="The engine found too little memory for this batch; use a smaller one."
    ):
        abi.call(lambda _: abi.NO_MEMORY, abi.Elman())
