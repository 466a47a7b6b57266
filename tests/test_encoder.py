"""An encoder from an ONNX file: what it says of itself is read and checked, its features are kept and the same live."""

from __future__ import annotations

import io

import numpy as np
import pytest

from tiny_encoder import MIX, PATH, build
from unrolled import encoder as encoders
from unrolled.data.images import Picture
from unrolled.encoder import Encoder
from unrolled.errors import DataError, UsageError

Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed (extra 'caption')")
pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed (extra 'caption')")


@pytest.fixture
def photos(tmp_path, rng):
    """Three pictures of 40 x 40, the second of them damaged."""
    for i in range(3):
        content = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(content, "PNG")
        cut = content.getvalue() if i != 1 else content.getvalue()[:200]
        (tmp_path / f"{i}.png").write_bytes(cut)
    return [Picture(tmp_path / f"{i}.png") for i in range(3)]


def test_features_are_what_the_network_computes(rng):
    encoder = Encoder(PATH, cache=False)
    assert (encoder.size, encoder.shape, encoder.grid) == ((32, 32), (16, 5), (4, 4))
    pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    means = pixels.reshape(4, 8, 4, 8, 3).mean((1, 3)) / 255
    expected = np.maximum(means @ np.array(MIX, float).T, 0).reshape(16, 5)
    found = encoder.encode(pixels)
    assert found.dtype == np.float16
    assert np.abs(found - expected).max() < 2e-3
    with pytest.raises(UsageError, match=r"The picture is \(8, 8, 3\); expected \(32, 32, 3\)."):
        encoder.encode(pixels[:8, :8])


def test_kept_features_are_those_read_live_and_a_second_run_computes_none(tmp_path, photos, monkeypatch):
    encoder, wrong = Encoder(PATH, cache=tmp_path / "cache"), []
    keys = encoder.keep(photos, skip=wrong.append)
    assert [key is None for key in keys] == [False, True, False]
    assert len(wrong) == 1
    assert "1.png is no picture that can be read" in wrong[0]
    assert np.array_equal(encoder.rows([keys[2]])[0], encoder.read(photos[2]))
    again = Encoder(PATH, cache=tmp_path / "cache")
    monkeypatch.setattr(again, "encode", lambda pixels: pytest.fail("it was kept"))
    assert again.keep([photos[2], photos[0]]) == [keys[2], keys[0]]
    with pytest.raises(DataError, match="1.png is no picture"):
        again.keep(photos)


def test_a_mirrored_picture_is_kept_beside_the_picture(tmp_path, photos):
    encoder = Encoder(PATH, cache=tmp_path / "cache")
    (key,), (mirrored,) = encoder.keep(photos[:1]), encoder.keep(photos[:1], mirrored=True)
    as_it_is, turned = (rows.reshape(*encoder.grid, -1) for rows in encoder.rows([key, mirrored]))
    assert np.abs(turned - as_it_is[:, ::-1]).max() < 2e-3
    assert np.abs(turned - as_it_is).max() > 0.02


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"last": "pooled"}, r"gives pooled \(1, 5\). Expected a map of features, four axes"),
        (
            {"shape": ("N", 1, 32, 32)},
            r"has the inputs pixels \['N', 1, 32, 32\] tensor\(float\). Expected one",
        ),
        ({"shape": (8, 3, 32, 32)}, r"takes 8 pictures at once; expected one, or any number \(N\)."),
        ({"kind": 7}, r"has the inputs pixels .* tensor\(int64\). Expected"),
    ],
)
def test_a_network_that_cannot_serve_is_refused(tmp_path, options, sentence):
    pytest.importorskip("onnx", reason="onnx is not installed (extra 'onnx')")
    (tmp_path / "odd.onnx").write_bytes(build(**options))
    with pytest.raises(DataError, match=sentence):
        Encoder(tmp_path / "odd.onnx", cache=False)


def test_the_file_of_the_tests_is_what_its_program_makes():
    pytest.importorskip("onnx", reason="onnx is not installed (extra 'onnx')")
    assert PATH.read_bytes() == build()


def test_pixels_of_eight_bits_give_the_same_features(tmp_path, rng):
    pytest.importorskip("onnx", reason="onnx is not installed (extra 'onnx')")
    (tmp_path / "bytes.onnx").write_bytes(build(kind=2))
    pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    ours = Encoder(tmp_path / "bytes.onnx", cache=False).encode(pixels)
    assert np.array_equal(ours, Encoder(PATH, cache=False).encode(pixels))


def test_what_is_no_network_is_named(tmp_path):
    (tmp_path / "x.onnx").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"x.onnx is no ONNX network that can be run"):
        Encoder(tmp_path / "x.onnx", cache=False)
    with pytest.raises(DataError, match=r"gone.onnx cannot be read"):
        Encoder(tmp_path / "gone.onnx", cache=False)


def test_an_encoder_is_found_by_its_hash_and_another_refused(tmp_path):
    wanted = Encoder(PATH, cache=False).hash
    (tmp_path / encoders.FILE).write_bytes(PATH.read_bytes())
    assert encoders.find(wanted, tmp_path / "none", None, tmp_path) == tmp_path / encoders.FILE
    (tmp_path / encoders.FILE).write_bytes(b"another")
    sentence = (
        f"trained with the encoder {wanted[:16]} and understands no other; found .*encoder.onnx .*--encoder"
    )
    with pytest.raises(DataError, match=sentence):
        encoders.find(wanted, tmp_path)
    with pytest.raises(DataError, match="found none. Give its file"):
        encoders.find(wanted, None, tmp_path / "nowhere")
