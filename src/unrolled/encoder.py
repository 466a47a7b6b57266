"""An image network in an ONNX file, run by ONNX Runtime: pictures in, a map of features out.

What the file says of its inputs and outputs is read and checked; nothing about the network is known beforehand. Its
features are rounded to float16, from the cache and live alike, so that training and use read the same numbers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .data import images
from .data.features import FeatureStore, Half
from .data.fetch import cache_folder
from .errors import DataError, UsageError, need

TYPES: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(uint8)": np.uint8,
}
FILE = "encoder.onnx"


class Encoder:
    """A frozen image network.

    It has to take pictures one by one, (1, 3, height, width) or (1, height, width, 3), RGB from 0 to 255 (what else
    it needs to be normalised stands in the file), and to give a map of features in the same layout.

    Args:
        path: the ONNX file.
        threads: of ONNX Runtime; features of one picture do not depend on it beyond their rounding.
        cache: where features are kept, by default in the cache folder; False keeps none.

    Raises:
        DataError: no such file, no ONNX, or a network with other inputs or without such an output.
        MissingExtraError: ONNX Runtime is not installed.
    """

    def __init__(self, path: str | Path, *, threads: int = 1, cache: Path | bool | None = None) -> None:
        runtime = need("onnxruntime", "caption", "Reading pictures")
        self.path, self.cache = Path(path), cache
        content = images.Picture(self.path).read()
        self.hash = hashlib.sha256(content).hexdigest()
        options = runtime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads, 3
        try:
            self._session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its errors have no common class
            raise DataError(f"{path} is no ONNX network that can be run ({str(error)[:200]}).") from error
        self._read_input()
        self._read_output()
        folder = cache_folder() / "features" if cache is None or cache is True else cache
        self.store = FeatureStore(Path(folder) / self.hash[:16], self.shape) if folder else None

    def _read_input(self) -> None:
        inputs = self._session.get_inputs()
        shape = inputs[0].shape if len(inputs) == 1 else []
        layouts = [axis for axis in (1, 3) if len(shape) == 4 and shape[axis] == 3]
        if not layouts or inputs[0].type not in TYPES:
            found = "; ".join(f"{one.name} {one.shape} {one.type}" for one in inputs)
            raise DataError(
                f"{self.path} has the inputs {found}. Expected one, (N, 3, height, width) or (N, height, width, 3), "
                f"of {', '.join(TYPES)}: RGB from 0 to 255."
            )
        if shape[0] == 0 or (isinstance(shape[0], int) and shape[0] != 1):
            raise DataError(f"{self.path} takes {shape[0]} pictures at once; expected one, or any number (N).")
        self._input, self._type, self._channels = inputs[0].name, TYPES[inputs[0].type], layouts[0]
        height, width = (n if isinstance(n, int) else 224 for n in (shape[2:] if layouts[0] == 1 else shape[1:3]))
        self.size = width, height

    def _read_output(self) -> None:
        """Find the map among the outputs by giving the network a grey picture: files may leave sizes open."""
        grey = np.full((self.size[1], self.size[0], 3), 127, np.uint8)
        outputs = self._session.get_outputs()
        values = self._session.run(None, {self._input: self._pixels(grey)})
        maps = [i for i, value in enumerate(values) if value.ndim == 4 and value.size > value.shape[self._channels]]
        if not maps:
            found = "; ".join(f"{one.name} {value.shape}" for one, value in zip(outputs, values, strict=True))
            raise DataError(
                f"{self.path} gives {found}. Expected a map of features, four axes laid out as the input's: export "
                "the network without its last pooling."
            )
        self._output, value = outputs[maps[-1]].name, values[maps[-1]]
        self.channels = int(value.shape[self._channels])
        self.grid = value.shape[2:] if self._channels == 1 else value.shape[1:3]
        self.shape = (int(np.prod(self.grid)), self.channels)

    def _pixels(self, picture: images.Pixels) -> np.ndarray:
        x = picture.transpose(2, 0, 1) if self._channels == 1 else picture
        return np.ascontiguousarray(x, self._type)[None]

    def encode(self, picture: images.Pixels) -> Half:
        """The features (regions, channels) of RGB pixels (height, width, 3) of this network's `size`."""
        if picture.shape != (self.size[1], self.size[0], 3):
            raise UsageError(f"The picture is {picture.shape}; expected {(self.size[1], self.size[0], 3)}.")
        (value,) = self._session.run([self._output], {self._input: self._pixels(picture)})
        rows = value[0].reshape(self.channels, -1).T if self._channels == 1 else value[0].reshape(-1, self.channels)
        if not np.isfinite(rows).all():
            raise DataError(f"{self.path} gives features that are not finite; it cannot be used.")
        return np.ascontiguousarray(np.clip(rows, -65504, 65504), np.float16)

    def read(self, picture: images.Picture) -> Half:
        """The features of a picture, nothing kept. Raises DataError as `images.decode` does."""
        return self.encode(images.decode(picture.read(), self.size, str(picture)))

    def keep(
        self, pictures: Iterable[images.Picture], *, mirrored: bool = False,
        skip: Callable[[str], None] | None = None, on_picture: Callable[[int], None] | None = None,
    ) -> list[bytes | None]:  # fmt: skip
        """Encode the pictures whose features are not kept yet; their keys in order.

        Args:
            pictures: to encode.
            mirrored: as seen in a mirror; their keys are others.
            skip: called with what is wrong with a picture, which then gets the key None; by default it is raised.
            on_picture: called with how many are done.
        """
        assert self.store is not None
        keys: list[bytes | None] = []
        try:
            for picture in pictures:
                try:
                    keys.append(self._kept(picture, mirrored))
                except DataError as error:
                    if skip is None:
                        raise
                    skip(str(error))
                    keys.append(None)
                if on_picture:
                    on_picture(len(keys))
        finally:
            self.store.close()
        return keys

    def _kept(self, picture: images.Picture, mirrored: bool) -> bytes:
        assert self.store is not None
        content = picture.read()
        key = images.digest(content + b"mirrored" * mirrored)
        if key not in self.store:
            pixels = images.decode(content, self.size, str(picture))
            self.store.add(key, self.encode(pixels[:, ::-1] if mirrored else pixels))
        return key

    def rows(self, keys: Sequence[bytes]) -> Half:
        """The kept features (N, regions, channels) of `keys`."""
        assert self.store is not None
        return self.store.rows(keys)


def find(wanted: str, *places: Any) -> Path:
    """The encoder with the hash `wanted` among files; a folder stands for `encoder.onnx` in it.

    Raises:
        DataError: none of them is it; names what was found and what was expected.
    """
    found = []
    for place in places:
        path = Path(place) / FILE if place is not None and Path(place).is_dir() else place
        if path is None or not Path(path).is_file():
            continue
        if (seen := hashlib.sha256(Path(path).read_bytes()).hexdigest()) == wanted:
            return Path(path)
        found.append(f"{path} ({seen[:16]})")
    raise DataError(
        f"This model was trained with the encoder {wanted[:16]} and understands no other; "
        f"found {', '.join(found) or 'none'}. Give its file: --encoder FILE.onnx."
    )
