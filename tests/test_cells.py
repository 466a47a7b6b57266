"""Every cell on the shelf keeps the contract, and each is the one that torch computes."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from unrolled import shelf  # noqa: E402
from unrolled.cells import Cell, Weights  # noqa: E402
from unrolled.cells.elman import Elman  # noqa: E402
from unrolled.cells.gru import GRU  # noqa: E402
from unrolled.cells.layernorm_lstm import Gains, LayerNormLSTM  # noqa: E402
from unrolled.cells.lstm import LSTM  # noqa: E402
from unrolled.cells.variational_lstm import VariationalLSTM  # noqa: E402

T, B, D, H = 5, 4, 3, 6
CELLS = shelf.names("cells")


def random_weights(cell: type[Cell], seed: int = 0) -> Weights:
    generator = torch.Generator().manual_seed(seed)
    rows = cell.gates * H
    shapes = ((rows, D), (rows, H), (rows,), (rows,))
    return Weights(*(torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes))


@pytest.mark.parametrize("name", CELLS)
def test_a_step_maps_states_to_states(name):
    kind = shelf.find("cells", name, Cell)
    state = tuple(torch.randn(B, H, dtype=torch.float64) for _ in kind.states)
    after = kind().step(torch.randn(B, D, dtype=torch.float64), state, random_weights(kind))
    assert len(after) == len(kind.states)
    assert all(s.shape == (B, H) and s.dtype == torch.float64 for s in after)


@pytest.mark.parametrize("name", CELLS)
def test_a_row_does_not_see_its_neighbours(name):
    kind = shelf.find("cells", name, Cell)
    x, weights = torch.randn(B, D, dtype=torch.float64), random_weights(kind)
    state = tuple(torch.randn(B, H, dtype=torch.float64) for _ in kind.states)
    changed = x.clone()
    changed[1:] += 1
    for one, other in zip(kind().step(x, state, weights), kind().step(changed, state, weights), strict=True):
        torch.testing.assert_close(one[0], other[0])
        assert (one[1:] != other[1:]).any()


@pytest.mark.parametrize("name", CELLS)
def test_without_biases_they_count_as_zero(name):
    kind = shelf.find("cells", name, Cell)
    w = random_weights(kind)
    zeros = w._replace(bias_ih=torch.zeros_like(w.bias_ih), bias_hh=torch.zeros_like(w.bias_hh))
    x, state = (
        torch.randn(B, D, dtype=torch.float64),
        tuple(torch.randn(B, H, dtype=torch.float64) for _ in kind.states),
    )
    without = kind().step(x, state, w._replace(bias_ih=None, bias_hh=None))
    for one, other in zip(without, kind().step(x, state, zeros), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_elman_is_torch_rnn(nonlinearity):
    theirs = torch.nn.RNN(D, H, nonlinearity=nonlinearity).double()
    weights = random_weights(Elman)
    with torch.no_grad():
        for parameter, value in zip(theirs.parameters(), weights, strict=True):
            parameter.copy_(value)
    x, h_0 = torch.randn(T, B, D, dtype=torch.float64), torch.randn(1, B, H, dtype=torch.float64)
    state, states = (h_0[0],), []
    for x_t in x:
        state = Elman(nonlinearity).step(x_t, state, weights)
        states.append(state[0])
    torch.testing.assert_close(torch.stack(states), theirs(x, h_0)[0])


def carried(
    cell: Cell, x: torch.Tensor, state: tuple[torch.Tensor, ...], weights: Weights
) -> list[torch.Tensor]:
    """All outputs stacked, then the last states."""
    outputs = []
    for x_t in x:
        state = cell.step(x_t, state, weights)
        outputs.append(state[0])
    return [torch.stack(outputs), *state]


@pytest.mark.parametrize("cell", [LSTM(), GRU()], ids=["lstm", "gru"])
def test_gated_cells_are_torchs(cell):
    theirs = (torch.nn.LSTM if isinstance(cell, LSTM) else torch.nn.GRU)(D, H).double()
    weights = random_weights(type(cell))
    with torch.no_grad():
        for parameter, value in zip(theirs.parameters(), weights, strict=True):
            parameter.copy_(value)
    x = torch.randn(T, B, D, dtype=torch.float64)
    state = tuple(torch.randn(B, H, dtype=torch.float64) for _ in cell.states)
    first = tuple(s[None] for s in state)
    output, last = theirs(x, first if len(first) > 1 else first[0])
    for ours, wanted in zip(
        carried(cell, x, state, weights),
        [output, *(s[0] for s in (last if len(first) > 1 else (last,)))],
        strict=True,
    ):
        torch.testing.assert_close(ours, wanted)


def test_a_gru_that_resets_before_its_product_is_the_papers():
    w = random_weights(GRU)
    x, h = torch.randn(B, D, dtype=torch.float64), torch.randn(B, H, dtype=torch.float64)
    x_r, x_z, x_n = (x @ w.weight_ih.T + w.bias_ih).chunk(3, -1)
    w_r, w_z, w_n = w.weight_hh.chunk(3)
    b_r, b_z, b_n = w.bias_hh.chunk(3)
    r, z = torch.sigmoid(x_r + h @ w_r.T + b_r), torch.sigmoid(x_z + h @ w_z.T + b_z)
    n = torch.tanh(x_n + (r * h) @ w_n.T + b_n)
    (ours,) = GRU(reset_after=False).step(x, (h,), w)
    torch.testing.assert_close(ours, z * h + (1 - z) * n)
    assert not torch.allclose(ours, GRU().step(x, (h,), w)[0])


def test_a_layer_norm_lstm_normalizes_what_the_paper_says():
    w, gains = (
        random_weights(LayerNormLSTM),
        Gains(*(torch.rand(n, dtype=torch.float64) + 0.5 for n in (4 * H, 4 * H, H, H))),
    )
    x, h, c = (torch.randn(B, n, dtype=torch.float64) for n in (D, H, H))

    def normal(a):
        return (a - a.mean(1, keepdim=True)) / (a.var(1, correction=0, keepdim=True) + 1e-5).sqrt()

    a = gains.ih * normal(x @ w.weight_ih.T) + w.bias_ih + gains.hh * normal(h @ w.weight_hh.T) + w.bias_hh
    i, f, g, o = a.chunk(4, 1)
    new_c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    new_h = o.sigmoid() * (gains.c * normal(new_c) + gains.bias_c).tanh()
    for ours, wanted in zip(LayerNormLSTM(gains).step(x, (h, c), w), (new_h, new_c), strict=True):
        torch.testing.assert_close(ours, wanted)


def test_a_variational_lstm_is_an_lstm_that_drops_the_same_at_every_step():
    w = random_weights(LSTM)
    x, h, c = torch.randn(T, B, D, dtype=torch.float64), *torch.randn(2, B, H, dtype=torch.float64)
    m_x, m_h = (torch.randint(0, 2, size, dtype=torch.float64) * 2 for size in ((B, D), (B, H)))
    assert carried(VariationalLSTM(), x, (h, c), w)[0].equal(carried(LSTM(), x, (h, c), w)[0])
    dropped = carried(VariationalLSTM(m_x, m_h), x, (h, c), w)
    state = (h, c)
    for t in range(T):
        state = LSTM().step(x[t] * m_x, (state[0] * m_h, state[1]), w)
        torch.testing.assert_close(dropped[0][t], state[0])
