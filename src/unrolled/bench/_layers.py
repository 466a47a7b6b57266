"""The work of one recurrent layer, and those who do it: we, torch in its three ways, ONNX Runtime, JAX.

Every side gets the same weights and inputs. A side is a function of the number of the batch (where all rows have
equal lengths there is one batch only), which returns what it computed: the output, in training also the gradients
of the input and of the weights.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..errors import need
from . import Peer

Call = Callable[[int], Any]
GATES = {"elman": 1, "gru": 3, "lstm": 4}
MODULES = {"elman": "RNN", "gru": "GRU", "lstm": "LSTM"}
ONNX_GATES = {"elman": [0], "gru": [1, 0, 2], "lstm": [0, 3, 1, 2]}  # torch's gates in ONNX's order


class Work(NamedTuple):
    """`layers` of `cell` over x (T, B, D), `mode` "training" or "inference"; `lengths`: of the rows of each batch."""

    cell: str
    mode: str
    B: int
    T: int
    D: int
    H: int
    layers: int = 1
    lengths: tuple[np.ndarray, ...] = ()

    @property
    def gflop(self) -> float:
        """Of the matrix products of one pass without padding; training counts three times the forward ones."""
        steps = float(np.mean([part.sum() for part in self.lengths])) if self.lengths else self.B * self.T
        inputs = self.D + (2 * self.layers - 1) * self.H
        return (3 if self.mode == "training" else 1) * 2 * GATES[self.cell] * self.H * inputs * steps / 1e9


def sides(work: Work, peers: Sequence[str], threads: int, jax: Peer | None = None) -> dict[str, Call]:
    """We, as "unrolled", and those of `peers` who can do this work."""
    torch = need("torch", "train", "This benchmark")
    from .. import nn

    torch.manual_seed(0)
    theirs = getattr(torch.nn, MODULES[work.cell])(work.D, work.H, work.layers)
    ours = getattr(nn, MODULES[work.cell])(work.D, work.H, work.layers)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(work.T, work.B, work.D)
    found = {"unrolled": _pass(work, x, ours, _with_lengths)}
    if "torch" in peers:
        found |= {"torch packed": _pass(work, x, theirs, _packed)} if work.lengths else {}
        found["torch padded" if work.lengths else "torch"] = _pass(work, x, theirs, _padded)
    if jax and not work.lengths and work.layers == 1:
        found["jax"] = _jax(work, jax)
    if work.mode == "inference" and not work.lengths and work.layers == 1:
        if "onnx" in peers:
            found["onnx"] = _onnx(work, x, theirs, threads)
        if "int8" in peers and work.cell == "lstm":
            found["torch int8"] = _pass(work, x, _quantized(theirs), _padded)
    return found


def _with_lengths(layer: Any, x: Any, lengths: Any) -> Any:
    return layer(x, lengths=lengths)[0]


def _padded(layer: Any, x: Any, lengths: Any) -> Any:
    return layer(x)[0]


def _packed(layer: Any, x: Any, lengths: Any) -> Any:
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    output, _ = layer(pack_padded_sequence(x, lengths, enforce_sorted=False))
    return pad_packed_sequence(output)[0]


def _pass(work: Work, x: Any, layer: Any, forward: Callable[[Any, Any, Any], Any]) -> Call:
    """One batch through `layer`, with its gradients where `work` is training."""
    import torch

    lengths = [torch.from_numpy(part) for part in work.lengths] or [None]
    inputs = [x if part is None else x[: int(part.max())] for part in lengths]

    def inference(batch: int) -> list[Any]:
        with torch.inference_mode():
            return [forward(layer, inputs[batch], lengths[batch])]

    def training(batch: int) -> list[Any]:
        output = forward(layer, inputs[batch], lengths[batch])
        return [
            output,
            *torch.autograd.grad(output, [inputs[batch], *layer.parameters()], upstream[: len(output)]),
        ]

    if work.mode == "inference":
        return inference
    inputs = [part.detach().requires_grad_() for part in inputs]
    upstream = torch.randn(work.T, work.B, work.H, generator=torch.Generator().manual_seed(1))
    return training


def _quantized(layer: Any) -> Any:
    """Weights of 8 bits, inputs quantised at each call, as torch's dynamic quantisation does."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated, and still what people use
        whole = torch.ao.quantization.quantize_dynamic(torch.nn.Sequential(layer), {type(layer)}, torch.qint8)
    return whole[0]


def _onnx(work: Work, x: Any, layer: Any, threads: int) -> Call:
    """The layer's ONNX operator in ONNX Runtime."""
    onnx, runtime = (need(name, "onnx", "This peer") for name in ("onnx", "onnxruntime"))
    from onnx import helper, numpy_helper

    def turned(name: str) -> np.ndarray:
        parts = np.split(getattr(layer, name).detach().numpy(), GATES[work.cell])
        return np.concatenate([parts[gate] for gate in ONNX_GATES[work.cell]])

    weights = {"W": turned("weight_ih_l0"), "R": turned("weight_hh_l0")}
    weights["B"] = np.concatenate([turned("bias_ih_l0"), turned("bias_hh_l0")])
    extra = {"linear_before_reset": 1} if work.cell == "gru" else {}
    node = helper.make_node(MODULES[work.cell], ["X", *weights], ["Y"], hidden_size=work.H, **extra)
    put_in, out = (
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in (("X", x.shape), ("Y", (work.T, 1, work.B, work.H)))
    )
    arrays = [numpy_helper.from_array(array[None], name) for name, array in weights.items()]
    graph = helper.make_graph([node], "layer", [put_in], [out], arrays)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry(
        "session.force_spinning_stop", "1"
    )  # its threads leave the cores to the others
    session = runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feed = {"X": x.numpy()}
    return lambda batch: [session.run(None, feed)[0][:, 0]]


def _jax(work: Work, peer: Peer) -> Call:
    """The jitted scan of `_jax.py`; it answers with the seconds of its own clock."""
    peer.ask({"do": "build", **{name: getattr(work, name) for name in ("cell", "mode", "B", "T", "D", "H")}})
    return lambda batch: peer.ask({"do": "run"})["seconds"]
