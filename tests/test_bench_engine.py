"""The engine's benchmark at tiny sizes: every side does the same work, and what is said follows from the rows."""

from __future__ import annotations

import runpy
import time

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra 'train')")

from unrolled import kernels  # noqa: E402
from unrolled.bench import _layers, _others, _rows, engine  # noqa: E402
from unrolled.bench._layers import Work, sides  # noqa: E402
from unrolled.bench._rows import Row  # noqa: E402
from unrolled.bench.engine import EngineBench  # noqa: E402
from unrolled.errors import UnknownNameError, UsageError  # noqa: E402

KEYS = ["cell", "mode", "lengths", "threads", "B", "T", "D", "H", "ours_ms", "peer", "peer_ms", "ratio"]
TINY = {"sizes": "5", "batches": "3", "steps": "4", "threads": "1", "rounds": 2}


@pytest.fixture(autouse=True)
def threads():
    """The benchmark sets torch's threads; they are put back."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def close(one, other, most=1e-5):
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(torch.as_tensor(a), torch.as_tensor(b), rtol=0, atol=most)


@pytest.mark.parametrize("mode", ["training", "inference"])
@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])
def test_all_sides_compute_the_same(cell, mode):
    pytest.importorskip("onnxruntime")
    found = {name: side(0) for name, side in sides(Work(cell, mode, 3, 6, 4, 5), engine.PEERS, 1).items()}
    names = ["unrolled", "torch"] + ["onnx"] * (mode == "inference")
    names += ["torch int8"] * (mode == "inference" and cell == "lstm")
    assert list(found) == names
    assert len(found["unrolled"]) == (6 if mode == "training" else 1)
    for name, results in found.items():
        close(results, found["unrolled"], 0.05 if name == "torch int8" else 1e-5)


@pytest.mark.parametrize("mode", ["training", "inference"])
@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])
def test_all_sides_read_the_same_ragged_batches(cell, mode):
    lengths = (np.array([2, 6, 1]), np.array([3, 1, 5]))
    found = sides(Work(cell, mode, 3, 6, 4, 5, 2, lengths), ["torch"], 1)
    assert list(found) == ["unrolled", "torch packed", "torch padded"]
    for batch in (0, 1):
        ours, packed, padded = (side(batch) for side in found.values())
        close(ours, packed)
        assert padded[0].shape == ours[0].shape == (lengths[batch].max(), 3, 5)
        close([ours[0][0]], [padded[0][0]])


@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])
def test_the_scan_of_the_jax_peer_is_torch(cell):
    pytest.importorskip("jax", reason="jax is not installed")
    from unrolled.bench import _jax

    module = getattr(torch.nn, _layers.MODULES[cell])(4, 5)
    x = torch.randn(6, 3, 4)
    output = _jax.layer(cell, tuple(w.detach().numpy() for w in module.parameters()), x.numpy())
    close([np.array(output)], [module(x)[0].detach()])


def test_the_work_is_counted():
    assert Work("lstm", "inference", 3, 5, 7, 11).gflop == pytest.approx(2 * 4 * 11 * (7 + 11) * 15 / 1e9)
    deep = Work("gru", "training", 3, 5, 7, 11, 2)
    assert deep.gflop == pytest.approx(3 * 2 * 3 * 11 * (7 + 3 * 11) * 15 / 1e9)
    ragged = deep._replace(lengths=(np.array([1, 2, 4]), np.array([1, 1, 1])))
    assert ragged.gflop == pytest.approx(deep.gflop * 5 / 15)


def test_all_sides_of_a_round_get_the_same_batch():
    seen: dict[str, list[int]] = {"a": [], "b": []}

    def slow(name):
        return lambda batch: [seen[name].append(batch), time.sleep(0.005)]

    found = _rows.measure({"a": slow("a"), "b": slow("b")}, rounds=3, batches=2)
    assert [len(samples) for samples in found.values()] == [3, 3]
    assert seen["a"] == seen["b"]
    assert {0, 1} == {*seen["a"]}
    assert _rows.measure({"peer": lambda batch: 0.25}, rounds=2) == {"peer": [0.25, 0.25]}


def row(hidden, ours, theirs, peer="torch", **changes):
    work = Work("gru", "training", 2, 3, hidden, hidden)._replace(**changes)
    return Row(work, 2, [ours], peer, [theirs])


def test_rows_are_summed_up_by_hidden_size_with_the_worst():
    said: list[str] = []
    _rows.together([row(8, 1.0, 2.0), row(8, 1.0, 8.0, T=9), row(16, 2.0, 1.0)], 1e-9, said.append)
    assert len(said) == 3
    assert said[1].endswith("2.00 x at B=2, T=3, D=8")
    assert "4.00 x " in said[1]
    assert "0.50 x " in said[2]
    ragged = {"lengths": (np.array([1, 3]),)}
    said.clear()
    _rows.together(
        [row(8, 1.0, 5.0, "torch packed", **ragged), row(8, 1.0, 3.0, "torch padded", **ragged)],
        1.0,
        said.append,
    )
    assert "torch, faster      3.00 x" in said[1]


def test_a_row_says_quartiles_speed_and_share_of_the_peak():
    found = Row(
        Work("elman", "inference", 10, 10, 50, 50), 2, [1e-3, 1e-3, 1e-3], "torch", [2e-3, 4e-3, 6e-3]
    )
    assert found.work.gflop == pytest.approx(1e-3)
    words = _rows.line(found, peak=4.0)
    assert "1.00 (1.00-1.00)" in words
    assert "4.00 (3.00-5.00)" in words
    assert words.endswith("4.00 x      1.0     25%")


def test_the_table_has_a_row_for_each_peer_and_size_in_json():
    pytest.importorskip("onnxruntime")
    said: list[str] = []
    found = EngineBench(**(TINY | {"parts": "table", "sizes": "5,6", "cells": "gru"})).run(said.append)
    assert [list(entry) for entry in found] == [KEYS] * 6
    assert {(entry["mode"], entry["peer"], entry["H"]) for entry in found} == {
        (mode, peer, size)
        for mode, peer in (("training", "torch"), ("inference", "torch"), ("inference", "onnx"))
        for size in (5, 6)
    }
    for entry in found:
        assert entry["ratio"] == pytest.approx(entry["peer_ms"] / entry["ours_ms"])
    assert f"engine {kernels.info().isa}" in said[0]
    assert "best product" in said[0]


@pytest.mark.parametrize("known", [True, False])
def test_lengths_are_the_reviews_where_they_are_and_else_say_what_they_are(known, monkeypatch, tmp_path):
    monkeypatch.setattr(engine, "LONGEST", 12)
    monkeypatch.delenv("UNROLLED_DATA", raising=False)
    if known:
        from unrolled.datasets import imdb

        lists = np.empty(3, object)
        lists[:] = [[1] * 2, [1] * 7, [1] * 30]
        monkeypatch.setattr(imdb, "load_data", lambda path: ((lists, None), (lists, None)))
    options = TINY | {
        "parts": "ragged",
        "cells": "elman",
        "modes": "inference",
        "data": "here" if known else "",
    }
    said: list[str] = []
    found = EngineBench(**options).run(said.append)
    assert [entry["peer"] for entry in found] == ["torch packed", "torch padded"]
    assert {(entry["lengths"], entry["B"], entry["T"]) for entry in found} == {("ragged", 128, 12)}
    source = (
        "IMDB's reviews, cut at 12: quartiles [4, 7, 9]" if known else "a log-normal distribution (5.2, 0.65)"
    )
    assert any(source in words for words in said)


def test_the_picture_holds_the_means_against_torch(tmp_path):
    entries = [row(8, 1.0, 2.0).json(), row(8, 1.0, 8.0).json(), row(8, 1.0, 50.0, "jax").json()]
    svg = _rows.picture(entries).svg()
    assert ">4.0<" in svg
    assert ">H = 8<" in svg
    assert ">GRU, training<" in svg
    path, said = tmp_path / "engine.svg", []
    EngineBench(**(TINY | {"parts": "table", "cells": "gru", "peers": "torch", "picture": str(path)})).run(
        said.append
    )
    assert path.read_text(encoding="utf-8").startswith("<svg")
    assert said[-1] == f"picture: {path}"


def test_an_instruction_set_is_chosen_for_our_side_and_put_back():
    if len(kernels.isas()) < 2:
        pytest.skip("this processor runs one instruction set")
    before, said = kernels.info().isa, []
    other = next(name for name in kernels.isas() if name != before)
    EngineBench(**(TINY | {"parts": "streaming", "cells": "elman", "isa": other})).run(said.append)
    assert f"engine {other}" in said[0]
    assert kernels.info().isa == before


def test_memory_of_both_sides_is_measured_in_processes_of_their_own():
    said: list[str] = []
    (found,) = _others.memory([Work("elman", "training", 64, 400, 64, 64)], 1, said.append)
    assert min(found["ours"], found["torch"]) > 6  # the output alone has 6.25 MiB
    assert len(said) == 2


def test_a_program_that_fails_says_why():
    with pytest.raises(UsageError, match="failed. Its last words: ValueError: no such thing"):
        _others._python("-c", "raise ValueError('no such thing')")


@pytest.mark.parametrize("name", _others.PROGRAMS)
def test_programs_learn_and_say_their_seconds(name, monkeypatch, capsys):
    script = engine.__file__.replace("engine.py", f"_programs/{name}.py")
    monkeypatch.setattr("sys.argv", [script, "--threads", "1", "--scale", "0.05"])
    runpy.run_path(script, run_name="__main__")
    said = capsys.readouterr().out.strip()
    batches, loss, seconds = said.split(" | ")
    assert int(batches.split()[0]) >= 1
    assert 0 < float(loss.split()[1]) < 9
    assert float(seconds.split()[0]) > 0


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"parts": "tabel"}, UnknownNameError, "There is no parts called 'tabel'. Did you mean 'table'?"),
        ({"cells": "lstn"}, UnknownNameError, "Did you mean 'lstm'?"),
        (
            {"sizes": "8,x"},
            UsageError,
            "sizes is '8,x'; it must be whole numbers of at least 1, with commas between.",
        ),
        ({"threads": "0"}, UsageError, "threads is '0'; it must be whole numbers"),
    ],
)
def test_what_is_not_known_is_said(options, error, sentence):
    with pytest.raises(error, match=sentence.replace("?", r"\?")):
        EngineBench(**(TINY | options)).run(lambda words: None)
