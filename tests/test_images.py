"""Pictures: every kind that people have becomes RGB of one size, and what is none is named."""

from __future__ import annotations

import io
import struct
import tarfile
import zlib

import numpy as np
import pytest

from unrolled.data import images
from unrolled.data.features import FeatureStore
from unrolled.errors import DataError

Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed (extra 'caption')")
RED = (200, 30, 60)


def encoded(picture, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def plain(mode: str, color, size=(40, 20)):
    return Image.new(mode, size, color)


@pytest.mark.parametrize(
    ("content", "expected", "off"),
    [
        (encoded(plain("RGB", RED)), RED, 0),
        (encoded(plain("RGB", RED), "JPEG", quality=95), RED, 6),
        (encoded(plain("CMYK", (255 - 200, 255 - 30, 255 - 60, 0)), "JPEG", quality=95), RED, 12),
        (encoded(plain("L", 77)), (77, 77, 77), 0),
        (encoded(plain("1", 1)), (255, 255, 255), 0),
        (encoded(plain("RGB", RED).convert("P", palette=Image.Palette.ADAPTIVE)), RED, 0),
        (encoded(plain("I;16", 0x8042)), (128, 128, 128), 1),
        (encoded(plain("RGBA", (*RED, 0))), (255, 255, 255), 0),
        (encoded(plain("LA", (10, 255))), (10, 10, 10), 0),
        (encoded(plain("F", 0.5), "TIFF"), (127, 127, 127), 1),
        (encoded(plain("F", 90.0), "TIFF"), (90, 90, 90), 0),
    ],
    ids=[
        "rgb",
        "jpeg",
        "cmyk",
        "grey",
        "one-bit",
        "palette",
        "16-bit",
        "clear",
        "grey-alpha",
        "unit-float",
        "float",
    ],
)
def test_every_kind_of_picture_becomes_rgb(content, expected, off):
    found = images.decode(content, (8, 6))
    assert found.shape == (6, 8, 3)
    assert found.dtype == np.uint8
    assert np.abs(found.astype(int) - expected).max() <= off


def test_of_an_animation_the_first_frame_counts():
    frames = [plain("RGB", color) for color in (RED, (0, 255, 0), (0, 0, 255))]
    content = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert np.abs(images.decode(content, (8, 8)).astype(int) - RED).max() < 8


def test_a_picture_is_turned_as_its_exif_says():
    picture = plain("RGB", (0, 0, 0), (2, 1))
    picture.putpixel((0, 0), (255, 255, 255))
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn clockwise: what is left comes to the top
    found = images.decode(encoded(picture, exif=exif), (1, 2))
    assert found[:, 0, 0].tolist() == [255, 0]


def test_a_picture_of_the_right_size_is_not_touched(rng):
    pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
    assert np.array_equal(images.decode(encoded(Image.fromarray(pixels)), (16, 16)), pixels)


def test_pixels_are_averaged_over_the_area_that_they_cover(rng):
    fine = np.indices((64, 64)).sum(0) % 2 * np.uint8(255)  # a chessboard: grey from afar
    found = images.decode(encoded(Image.fromarray(fine.astype(np.uint8))), (8, 8))
    assert 110 < found[2:-2, 2:-2].min() <= found[2:-2, 2:-2].max() < 145


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "cat.jpg is empty \\(0 bytes\\). Restore the file, or leave it out."),
        (b"no picture at all", "cat.jpg is no picture that can be read .*restore the file, or leave it out."),
        (
            encoded(plain("RGB", RED, (300, 300)), "JPEG")[:700],
            "cat.jpg is no picture that can be read .*truncated",
        ),
    ],
    ids=["empty", "text", "cut off"],
)
def test_what_is_no_picture_is_named(content, sentence):
    with pytest.raises(DataError, match=sentence):
        images.decode(content, (8, 8), "cat.jpg")


def bomb(width: int, height: int) -> bytes:
    """The beginning of a PNG that says it is so large."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"\0" * 1000)
    chunks = b"".join(
        struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (head, data)
    )
    return b"\x89PNG\r\n\x1a\n" + chunks


@pytest.mark.parametrize("side", [12_000, 60_000])
def test_a_picture_that_would_fill_the_memory_is_refused_before_it_is_decoded(side):
    with pytest.raises(DataError, match="pixels; at most 100 million are decoded, .* Make it smaller."):
        images.decode(bomb(side, side), (8, 8), "bomb.png")


def test_pictures_are_found_in_folders_and_archives(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "a.png").write_bytes(encoded(plain("RGB", RED)))
    (tmp_path / "deep" / "b.JPG").write_bytes(encoded(plain("L", 9), "JPEG"))
    (tmp_path / "notes.txt").write_text("none")
    found = images.find(tmp_path)
    assert sorted(found) == ["a.png", "b.JPG"]
    archive = tmp_path / "all.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(tmp_path / "deep" / "b.JPG", "pictures/b.JPG")
        tar.add(tmp_path / "a.png", "pictures/a.png")
    inside = images.find(archive)
    assert {name: picture.read() for name, picture in inside.items()} == {
        name: picture.read() for name, picture in found.items()
    }
    with tarfile.open(tmp_path / "all.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "a.png")
    with pytest.raises(DataError, match="is no plain tar archive .*Unpack it, and give the folder"):
        images.find(tmp_path / "all.tar.gz")


def test_a_missing_picture_is_named(tmp_path):
    with pytest.raises(
        DataError, match="gone.png cannot be read: No such file or directory. Check the name."
    ):
        images.Picture(tmp_path / "gone.png").read()


def test_features_are_kept_for_the_next_run_and_a_torn_row_is_forgotten(tmp_path, rng):
    rows = rng.normal(size=(5, 3, 4)).astype(np.float16)
    keys = [bytes([i]) * 32 for i in range(5)]
    one = FeatureStore(tmp_path / "s", (3, 4))
    for key, row in zip(keys[:3], rows, strict=False):
        one.add(key, row)
    assert np.array_equal(one.rows([keys[2], keys[0]]), rows[[2, 0]])
    other = FeatureStore(tmp_path / "s", (3, 4))  # while the first still writes
    assert keys[2] in other
    assert keys[3] not in other
    other.add(keys[3], rows[3])
    other.close()
    one.close()
    (segment,) = (path for path in (tmp_path / "s").glob("*.rows") if path.stat().st_size == rows[:3].nbytes)
    with open(segment, "r+b") as file:
        file.truncate(rows[:3].nbytes - 2)
    again = FeatureStore(tmp_path / "s", (3, 4))
    assert len(again) == 3
    assert keys[2] not in again
    assert np.array_equal(again.rows([keys[3], keys[1]]), rows[[3, 1]])
    with pytest.raises(KeyError):
        again.rows([keys[2]])
