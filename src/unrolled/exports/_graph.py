"""A graph of ONNX operators, written down line by line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import need

OPSET, IR = 17, 8
"""Of 2022 and 2021: what ONNX Runtime 1.18 and anything later reads."""


class Graph:
    """Operators and constants; every method returns the name of a tensor."""

    def __init__(self) -> None:
        self._onnx = need("onnx", "onnx", "Exporting to ONNX")
        self._nodes: list[Any] = []
        self._constants: dict[str, np.ndarray] = {}

    def constant(self, value: Any, kind: Any = None) -> str:
        """An array, by default int64 for whole numbers and float32 for others."""
        array = np.asarray(value)
        usual: Any = {"i": np.int64, "f": np.float32}.get(array.dtype.kind) if array.dtype != np.int8 else np.int8
        name = f"c{len(self._constants)}"
        self._constants[name] = array.astype(kind or usual)
        return name

    def __call__(self, op: str, *inputs: Any, outputs: int = 1, **attributes: Any) -> Any:
        """The result of an operator; numbers and arrays among `inputs` become constants, "" leaves one out."""
        names = [value if isinstance(value, str) else self.constant(value) for value in inputs]
        results = [f"t{len(self._nodes)}_{i}" for i in range(outputs)]
        self._nodes.append(self._onnx.helper.make_node(op, names, results, **attributes))
        return results[0] if outputs == 1 else results

    def cast(self, tensor: str, kind: str) -> str:
        """The tensor as "FLOAT", "INT64", "INT32" or "BOOL"."""
        return str(self("Cast", tensor, to=getattr(self._onnx.TensorProto, kind)))

    def search(self, keys: str, listed: np.ndarray) -> str:
        """The place of each of `keys` (int64, any shape) in the ascending `listed`; len(listed) where it is not there.

        A binary search: the place is found bit by bit, from the highest.
        """
        size = len(listed)
        bits = max(1, int(size).bit_length())
        end = np.iinfo(np.int64).max
        table = self.constant(np.concatenate([listed.astype(np.int64), np.full((1 << bits) - size, end)]))
        place = self("Sub", self("Mul", keys, 0), 1)  # the last one known to be no greater, -1 for none
        for bit in reversed(range(bits)):
            further = self("Add", place, 1 << bit)
            fits = self("LessOrEqual", self("Gather", table, further), keys)
            place = self("Where", fits, further, place)
        found = self("Equal", self("Gather", table, self("Max", place, 0)), keys)
        return str(self("Where", self("And", found, self("GreaterOrEqual", place, 0)), place, size))

    def model(
        self, inputs: Mapping[str, tuple[str, list[str | int]]], outputs: Mapping[str, str], doc: str,
        shape: Sequence[str | int] = ("batch", "classes"),
    ) -> bytes:  # fmt: skip
        """The file.

        Args:
            inputs: name to type and shape.
            outputs: name to the tensor that it shows, floats of `shape`.
            doc: what it is.
            shape: of every output.
        """
        helper, kinds = self._onnx.helper, self._onnx.TensorProto
        for name, tensor in outputs.items():
            self._nodes.append(helper.make_node("Identity", [tensor], [name]))
        given = [helper.make_tensor_value_info(n, getattr(kinds, kind), shape) for n, (kind, shape) in inputs.items()]
        shown = [helper.make_tensor_value_info(name, kinds.FLOAT, shape) for name in outputs]
        weights = [self._onnx.numpy_helper.from_array(array, name) for name, array in self._constants.items()]
        graph = helper.make_graph(self._nodes, "unrolled", given, shown, weights, doc_string=doc)
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)
        self._onnx.checker.check_model(made)
        return bytes(made.SerializeToString())
