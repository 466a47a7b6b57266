"""An image network of the library timm, in the form that a captioner's `--encoder` takes.

RGB pixels (N, 3, height, width) from 0 to 255 in, the last map of features out; scaling by the network's own mean and
deviation stands in the file.
"""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any, final

import numpy as np

from ..bundle import write_atomically
from ..errors import EngineError, UsageError, need
from . import Export

PREFIX = "timm:"


@final
class Encoder(Export):
    """Checked by ONNX Runtime on a picture of noise; the difference is a share of the largest feature."""

    ending = ".onnx"
    tolerance = 1e-3
    compares = "feature, as a share of the largest"

    def open(self, name: str) -> Any:
        """A network of timm with its published weights, which timm downloads. Raises UsageError for other names."""
        if not name.startswith(PREFIX):
            raise UsageError(f"'{name}' is no image network. Name one of timm's: {PREFIX}mobilenetv3_small_100.")
        timm = need("timm", "timm", "Exporting an image network")
        try:
            made = timm.create_model(
                name.removeprefix(PREFIX), pretrained=True, features_only=True, out_indices=(-1,)
            )
        except Exception as error:  # its errors, and those of the download, have no common class
            raise UsageError(f"timm gives no network '{name}' with maps of features ({str(error)[:200]}).") from error
        return made

    def write(self, source: Any, path: Path) -> float:
        """Write what `open` gave, or any module of timm made with `features_only`."""
        import torch

        timm = need("timm", "timm", "Exporting an image network")
        told = timm.data.resolve_data_config({}, model=source)
        module, (_, height, width) = _scaled(source, told["mean"], told["std"]).eval(), told["input_size"]
        pixels = torch.from_numpy(
            np.random.default_rng(0).integers(0, 256, (1, 3, height, width)).astype(np.float32)
        )
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # about the exporter's successor, which needs packages of its own
            file = Path(folder) / path.name
            torch.onnx.export(
                module, (pixels,), file, input_names=["pixels"], output_names=["features"], dynamo=False
            )
            content, wanted = file.read_bytes(), module(pixels).numpy()
        session = need("onnxruntime", "caption", "Checking the export").InferenceSession(content)
        (found,) = session.run(None, {"pixels": pixels.numpy()})
        worst = float(np.abs(found - wanted).max() / np.abs(wanted).max())
        if not worst <= self.tolerance:
            raise EngineError(
                f"ONNX Runtime answers otherwise by {worst:.2g} of the largest feature, more than "
                f"{self.tolerance:g}; nothing was written. Try another network."
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
        return worst


def _scaled(network: Any, mean: Any, deviation: Any) -> Any:
    """A module from pixels of 0 to 255 to the last map of `network`."""
    import torch

    class Scaled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network
            self.mean, self.deviation = (255 * torch.tensor(v).view(3, 1, 1) for v in (mean, deviation))

        def forward(self, pixels: torch.Tensor) -> Any:
            return self.network((pixels - self.mean) / self.deviation)[-1]

    return Scaled()
