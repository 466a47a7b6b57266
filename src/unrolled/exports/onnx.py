"""Sentiment models as ONNX: ids as the tokenizer returns them in, calibrated probabilities out.

Inputs: `ids` (batch, tokens) int32, each row filled up behind its text with any ids, and `sequence_lens` (batch,)
int32, the tokens of each text. Output: `probabilities` (batch, classes) in the order of the labels, which stand in the
file's `doc_string`. The tokenizer is not in the file: it is `task.json` of the model, or `bundle.encode`.
"""

from __future__ import annotations

from pathlib import Path
from typing import final

import numpy as np

from ..bundle import Bundle, write_atomically
from ..data.grams import SIZES
from ..data.marks import UNKNOWN_ID
from ..errors import EngineError, UsageError, need
from ..network import LSTM, Dense, Embedding, Pooling, SimpleRNN
from ..tasks.sentiment import Sentiment
from . import Export
from ._graph import Graph

INPUTS: dict[str, tuple[str, list[str | int]]] = {
    "ids": ("INT32", ["batch", "tokens"]), "sequence_lens": ("INT32", ["batch"]),
}  # fmt: skip


@final
class Onnx(Export):
    """Opset 17, checked by ONNX Runtime on texts of a token and of many, alone and in a ragged batch of 32."""

    ending = ".onnx"
    tolerance = 1e-4

    def write(self, source: Bundle, path: Path) -> float:
        content = build(source)
        worst = difference(source, content, sample(source))
        if not worst <= self.tolerance:
            raise EngineError(
                f"ONNX Runtime answers otherwise by up to {worst:.2g}, more than {self.tolerance:g}; nothing was "
                "written. Please report this with `unrolled info --json`."
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
        return worst


def build(bundle: Bundle) -> bytes:
    """The file of a sentiment model. Raises UsageError for any other."""
    task, kinds = bundle.task, tuple(type(layer) for layer in bundle.task.network.layers)
    if not isinstance(task, Sentiment) or kinds not in ((LSTM, Pooling, Dense), (Embedding, SimpleRNN, Dense)):
        names = ", ".join(kind.__name__ for kind in kinds)
        raise UsageError(
            f"A model of the task '{task.name}' with the layers {names} cannot be exported to ONNX; expected a net of "
            "steps, or Embedding, SimpleRNN, Dense."
        )
    graph = Graph()
    z = _steps(graph, task, bundle) if task.step else _lesson(graph, task, bundle)
    z = graph("Div", z, np.float32(task.temperature))
    if len(task.labels) == 2:
        p = graph("Sigmoid", z)
        p = graph("Concat", graph("Sub", np.float32(1), p), p, axis=1)
    else:
        p = graph("Softmax", z, axis=1)
    return graph.model(INPUTS, {"probabilities": p}, f"labels: {', '.join(task.labels)}")


def sample(bundle: Bundle, count: int = 32) -> list[np.ndarray]:
    """Texts as ids to check with: empty, of a token, and of up to some hundred, with many listed pairs."""
    task, rng = bundle.task, np.random.default_rng(0)
    assert isinstance(task, Sentiment)
    size, found = task.tokenizer.size, []
    pairs = task.arrays.get("pairs", np.zeros(0, np.uint32)).astype(np.int64)
    for length in [0, 1, 2, *rng.integers(3, 400, count - 3).tolist()]:
        ids = np.minimum(rng.zipf(1.2, length) + UNKNOWN_ID, size - 1).astype(np.int32)
        if len(pairs):
            chosen = rng.choice(pairs, length // 2)
            ids[: 2 * len(chosen)] = np.stack([chosen // size, chosen % size], 1).ravel()
        found.append(ids)
    return found


def difference(bundle: Bundle, content: bytes, texts: list[np.ndarray]) -> float:
    """The largest difference of a probability, each text alone and all in one batch."""
    run = need("onnxruntime", "onnx", "Checking the export")
    options = run.SessionOptions()
    options.log_severity_level = 3
    session = run.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    wanted, worst = bundle.score_ids(texts), 0.0
    for rows in [range(len(texts)), *([i] for i in range(len(texts)))]:
        (p,) = session.run(["probabilities"], feed([texts[i] for i in rows]))
        worst = max(worst, float(np.abs(p - wanted[list(rows)]).max()))
    return worst


def feed(texts: list[np.ndarray]) -> dict[str, np.ndarray]:
    """The inputs of the file for texts as ids."""
    lengths = np.array([len(ids) for ids in texts], np.int32)
    ids = np.zeros((len(texts), max(1, int(lengths.max(initial=0)))), np.int32)
    for row, text in zip(ids, texts, strict=True):
        row[: len(text)] = text
    return {"ids": ids, "sequence_lens": lengths}


def _steps(g: Graph, task: Sentiment, bundle: Bundle) -> str:
    """Logits (batch, outputs) of a net of steps."""
    a, words, k = task.arrays, task.tokenizer.size, task.step
    ids = g.cast("ids", "INT64")
    ids = g("Pad", ids, [0, 0, 0, k])  # room for whole steps
    lens = g.cast("sequence_lens", "INT64")
    tokens = g("Sub", g("Shape", ids, start=1, end=2), 1)
    tokens = g("Mul", g("Div", tokens, k), k)
    ids = g("Slice", ids, [0], tokens, [1])
    position = g("Range", 0, g("Squeeze", tokens), 1)
    within = g("Less", position, g("Unsqueeze", lens, [1]))  # (batch, tokens)
    ids = g("Where", within, ids, 0)
    before = g("Slice", g("Pad", ids, [0, 1, 0, 0]), [0], tokens, [1])
    pair = g.search(g("Add", g("Mul", before, words), ids), a["pairs"])
    # A place past the rows is a row of nothing: for what stands behind the text, and for pairs that are not listed.
    nothing = len(a["rows"])
    pair = g("Where", g("And", within, g("Greater", position, 0)), g("Add", pair, words), nothing)
    asked = [g("Where", within, ids, nothing), pair]
    rows = np.concatenate([a["rows"], np.zeros((1, a["rows"].shape[1]), np.int8)])
    scale = np.append(a["scale"].astype(np.float32) / 127, 0)[:, None]
    linear = np.concatenate([a["linear"], np.zeros((1, a["linear"].shape[1]), np.float16)]).astype(np.float32)
    names = [g.constant(array) for array in (rows, scale, linear)]
    parts = [[g("Gather", name, place) for name in names] for place in asked]
    x = g("Add", *(g("Mul", g.cast(row, "FLOAT"), size) for row, size, _ in parts))
    x = g("ReduceSum", g("Reshape", x, [0, -1, k, rows.shape[1]]), [2], keepdims=0)
    sums = g("ReduceSum", g("Add", parts[0][2], parts[1][2]), [1], keepdims=0)
    read = g("Sqrt", g.cast(g("Max", lens, 1), "FLOAT"))
    z = g("Add", _pooled(g, task, bundle, x, lens), g("Div", sums, g("Unsqueeze", read, [1])))
    return str(g("Add", z, _grams(g, task, ids, within)) if task.grams is not None else z)


def _pooled(g: Graph, task: Sentiment, bundle: Bundle, x: str, lens: str) -> str:
    """LSTM over steps (batch, steps, D), mean and maximum of its states, and the last layer: (batch, outputs)."""
    lstm, pooling = task.network.layers[:2]
    assert isinstance(lstm, LSTM)
    assert isinstance(pooling, Pooling)
    steps = g("Div", g("Add", lens, task.step - 1), task.step)
    ways = [name for _, name in lstm.runs()]
    w, r, b = (np.stack([_ordered(bundle, part, name) for name in ways]) for part in ("weight_ih", "weight_hh", "bias"))
    direction = "bidirectional" if lstm.bidirectional else "forward"
    some = g.cast(g("Max", steps, 1), "INT32")  # the operator wants a step at least
    h = g(
        "LSTM", g("Transpose", x, perm=[1, 0, 2]), w, r, b, some, outputs=2, hidden_size=lstm.units, direction=direction
    )[0]  # (steps, ways, batch, H)
    h = g("Reshape", g("Transpose", h, perm=[2, 0, 1, 3]), [0, 0, -1])
    number = g("Range", 0, g("Squeeze", g("Shape", h, start=1, end=2)), 1)
    inside = g("Unsqueeze", g("Less", number, g("Unsqueeze", steps, [1])), [2])
    count = g("Unsqueeze", g.cast(g("Max", steps, 1), "FLOAT"), [1])
    mean = g("Div", g("ReduceSum", g("Where", inside, h, np.float32(0)), [1], keepdims=0), count)
    most = g("ReduceMax", g("Where", inside, h, np.float32(-2)), axes=[1], keepdims=0)
    most = g("Where", g("Unsqueeze", g("Greater", steps, 0), [1]), most, np.float32(0))
    pooled = g("Concat", *({"mean": mean, "max": most}[how] for how in pooling.how), axis=1)
    return str(g("Gemm", pooled, bundle.weights["2.weight"], bundle.weights["2.bias"], transB=1))


def _ordered(bundle: Bundle, part: str, name: str) -> np.ndarray:
    """Weights with the gates in ONNX's order i o f c, ours being i f g o; both biases one after the other."""
    found = [bundle.weights[f"0.{end}_{name}"] for end in (("bias_ih", "bias_hh") if part == "bias" else (part,))]
    moved = []
    for value in found:
        i, f, c, o = np.split(value, 4)
        moved.append(np.concatenate([i, o, f, c]))
    return np.concatenate(moved)


def _grams(g: Graph, task: Sentiment, ids: str, within: str) -> str:
    """The weights of the different runs of each text, summed: (batch, outputs)."""
    assert task.grams is not None
    words, known = task.tokenizer.size, g("And", within, g("Not", g("Equal", ids, UNKNOWN_ID)))
    key, ok, keys = ids, known, []
    tokens = g("Shape", ids, start=1, end=2)
    for size in SIZES:
        if size > 1:  # the run one shorter that ends at the token before, and this token
            moved = [g("Slice", g("Pad", t, [0, 1, 0, 0]), [0], tokens, [1]) for t in (key, g.cast(ok, "INT64"))]
            key, ok = g("Add", g("Mul", moved[0], words), ids), g("And", known, g.cast(moved[1], "BOOL"))
        keys.append(g("Where", ok, key, -1))
    place = g.search(g("Concat", *keys, axis=1), task.grams.keys)
    place, _ = g(
        "TopK", place, g("Shape", place, start=1, end=2), axis=1, outputs=2
    )  # sorted: equal ones are neighbours
    last = g("Slice", g("Pad", place, [0, 1, 0, 0], -1), [0], g("Shape", place, start=1, end=2), [1])
    weights = np.concatenate([task.grams.weights, np.zeros((1, task.grams.weights.shape[1]), np.float32)])
    place = g("Where", g("Equal", place, last), len(task.grams.keys), place)
    return str(g("ReduceSum", g("Gather", weights, place), [1], keepdims=0))


def _lesson(g: Graph, task: Sentiment, bundle: Bundle) -> str:
    """Logits (batch, outputs) of Embedding, SimpleRNN, Dense, which read the last `maxlen` ids with zeros in front."""
    rnn, longest = task.network.layers[1], task.network.input_shape[0]
    assert isinstance(rnn, SimpleRNN)
    lens = g("Unsqueeze", g.cast("sequence_lens", "INT64"), [1])
    longest = longest or 0
    place = g("Add", g("Sub", lens, longest), np.arange(longest)[None])  # (batch, maxlen), below 0 in front
    ids = g("GatherElements", g.cast("ids", "INT64"), g("Max", place, 0), axis=1)
    ids = g("Where", g("GreaterOrEqual", place, 0), ids, 0)
    x = g("Transpose", g("Gather", bundle.weights["0.weight"], ids), perm=[1, 0, 2])
    w = bundle.weights
    bias = np.concatenate([w["1.bias"], np.zeros_like(w["1.bias"])])
    options = {"hidden_size": rnn.units, "activations": [rnn.activation.capitalize()]}
    _, h = g("RNN", x, w["1.weight_ih"][None], w["1.weight_hh"][None], bias[None], outputs=2, **options)
    return str(g("Gemm", g("Squeeze", h, [0]), w["2.weight"], w["2.bias"], transB=1))
