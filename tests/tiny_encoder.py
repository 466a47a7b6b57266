"""Makes `tiny/encoder.onnx`: a picture of 32 x 32 pixels as a map of 4 x 4 regions with 5 numbers each.

`python tests/tiny_encoder.py` writes the file again (that needs onnx); pixels are divided by 255, averaged over 8 x 8
squares, and mixed by a 1 x 1 convolution whose weights are 3 for the channel's own colour, -1 elsewhere.
"""

from __future__ import annotations

from pathlib import Path

PATH = Path(__file__).parent / "tiny" / "encoder.onnx"
MIX = [[3, -1, -1], [-1, 3, -1], [-1, -1, 3], [1, 1, 1], [-1, -1, -1]]


def build(shape=("N", 3, 32, 32), *, last: str = "regions", kind: int = 1) -> bytes:
    """The network; `last` "pooled" leaves the map out, `shape` and `kind` change what is fed."""
    from onnx import TensorProto, helper

    mix = helper.make_tensor("mix", TensorProto.FLOAT, (5, 3, 1, 1), [float(w) for row in MIX for w in row])
    nodes = [
        helper.make_node("Cast", ["pixels"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["real", "scale"], ["scaled"]),
        helper.make_node("AveragePool", ["scaled"], ["means"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Conv", ["means", "mix"], ["mixed"]),
        helper.make_node("Relu", ["mixed"], ["regions"]),
        helper.make_node("GlobalAveragePool", ["regions"], ["pool"]),
        helper.make_node("Flatten", ["pool"], ["pooled"]),
    ]
    scale = helper.make_tensor("scale", TensorProto.FLOAT, (), [1 / 255])
    outputs = [helper.make_tensor_value_info("pooled", TensorProto.FLOAT, ("N", 5))]
    if last == "regions":
        outputs.insert(0, helper.make_tensor_value_info("regions", TensorProto.FLOAT, ("N", 5, 4, 4)))
    inputs = [helper.make_tensor_value_info("pixels", kind, shape)]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, [mix, scale])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return model.SerializeToString()


if __name__ == "__main__":
    PATH.write_bytes(build())
