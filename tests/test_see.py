"""A small encoder of our own: views, learning from a larger one, the ONNX file, and the captioner that comes along."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import numpy as np
import pytest

from tiny_encoder import PATH as TEACHER
from unrolled import bundle, cli
from unrolled.data.images import Picture
from unrolled.encoder import FILE, Encoder

Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed (extra 'caption')")
pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed (extra 'caption')")

from unrolled.captions import Captioner  # noqa: E402
from unrolled.captions.views import PIXELS, Gaze, words_from  # noqa: E402

DRAWINGS = Path(__file__).parent / "tiny" / "drawings"
bundled = pytest.mark.skipif("photos" not in bundle.names(), reason="the model is not in this package")


@pytest.fixture(scope="module")
def gaze():
    return Gaze.of([Picture(path) for path in sorted(DRAWINGS.glob("*.png"))], Encoder(TEACHER, cache=False))


def test_z_is_half_white_and_of_variance_one(gaze):
    pictures = [Picture(path) for path in sorted(DRAWINGS.glob("*.png"))]
    rows = np.concatenate([gaze.teacher.read(one) for one in pictures]).astype(np.float64)
    z = (rows - gaze.mean) @ gaze.map
    assert np.var(z, 0).mean() == pytest.approx(1, abs=1e-3)
    across = z.T @ z / len(z)
    assert np.abs(across - np.diag(np.diag(across))).max() < 1e-3
    raw = np.linalg.eigvalsh(np.cov(rows.T, bias=True))
    assert np.var(z, 0)[-1] / np.var(z, 0)[-2] == pytest.approx(np.sqrt(raw[-1] / raw[-2]), rel=1e-2)


def test_views_are_the_picture_and_cuts_of_it_and_are_made_once(gaze, tmp_path, monkeypatch):
    pictures, told = [Picture(DRAWINGS / "red-blue.png"), Picture(DRAWINGS / "green-green.png")], []
    whole, cut, other = gaze.views(pictures, tmp_path, 3, 0, told.append)
    assert told[-1] == "view 3 of 3: 2 pictures"
    features = gaze.teacher.read(pictures[0]).astype(np.float32)
    assert np.allclose(whole["z"][0].reshape(len(features), -1), (features - gaze.mean) @ gaze.map, atol=1e-2)
    for rows in (whole, cut, other):
        assert rows["pixels"].shape == (2, PIXELS, PIXELS, 3)
        assert (
            len(np.unique(rows["pixels"][1].reshape(-1, 3), axis=0)) == 1
        )  # a cut of one colour is that colour
    assert not np.array_equal(cut["pixels"][0], other["pixels"][0])
    assert not np.array_equal(cut["z"][0], whole["z"][0])
    monkeypatch.setattr(gaze.teacher, "encode", lambda pixels: pytest.fail("they were made"))
    assert np.array_equal(gaze.views(pictures, tmp_path, 3, 0, told.append)[1], cut)


def test_the_words_that_a_picture_tells_apart_count(rng):
    z = rng.standard_normal((200, 3)).astype(np.float32)
    said = [(("a", "dog") if row[1] > 0 else ("a", "cat"),) for row in z]
    found = words_from(z, said)
    assert found.shape == (3, 3)  # "a", which all say, and two more
    assert np.abs(found).argmax() // 3 == 1
    assert np.abs(found[:, 0]).max() < 1e-3
    assert (z @ found).var(0).mean() == pytest.approx(1, rel=1e-3)


def test_an_encoder_is_learned_and_its_file_sees_what_it_sees(tmp_path, rng, capsys):
    torch = pytest.importorskip("torch", reason="torch is not installed (extra 'train')")
    pytest.importorskip("onnx", reason="onnx is not installed (extra 'onnx')")
    from unrolled.bundle import load_checkpoint
    from unrolled.captions.see import Eye

    arguments = ["train", "encoder", str(DRAWINGS), "--teacher", str(TEACHER), "-o", str(tmp_path)]
    arguments += ["--copies", "2", "--minutes"]
    assert cli.run([*arguments, "0.03"]) == 0
    said = capsys.readouterr()
    assert f"encoder: {tmp_path / FILE}" in said.err
    assert said.out.splitlines()[0].split() == ["epoch", "loss", "val_loss", "seconds"]
    encoder = Encoder(tmp_path / FILE, cache=False)
    assert (encoder.size, encoder.shape) == ((PIXELS, PIXELS), (64, 512))
    _, tensors = load_checkpoint(tmp_path / "learning")
    eye = Eye(5).eval()
    eye.load_state_dict(
        {n[5:]: torch.from_numpy(v.copy()) for n, v in tensors.items() if n.startswith("best/")}
    )
    pixels = rng.integers(0, 256, (PIXELS, PIXELS, 3), dtype=np.uint8)
    with torch.no_grad():
        expected = eye(torch.from_numpy(pixels).permute(2, 0, 1)[None].float())[0].flatten(1).T.numpy()
    assert np.abs(encoder.encode(pixels) - expected).max() < 0.01 * expected.max()
    assert cli.run([*arguments, "0.03"]) == 0  # done already: the same file comes out
    assert Encoder(tmp_path / FILE, cache=False).hash == encoder.hash
    assert cli.run([*arguments, "0.03", "--seed", "1"]) == 2
    assert "belongs to other examples or other settings" in capsys.readouterr().err


def test_what_is_unexplained_is_counted_by_region_and_by_word():
    torch = pytest.importorskip("torch", reason="torch is not installed (extra 'train')")
    from unrolled.captions.see import unexplained

    seen = torch.zeros(1, 2, 2, 2)
    guess = seen.clone()
    guess[0, 0, 0, 0] = 2.0  # one of eight numbers, a mean of 1/2 over the four regions
    words = torch.tensor([[3.0, 0.0], [0.0, 1.0]])
    assert float(unexplained(words, guess, seen)) == pytest.approx(4 / 8 + (3 * 0.5) ** 2 / 2)
    assert float(unexplained(words, torch.ones(1, 2, 3, 3), torch.ones(1, 2, 2, 2))) == pytest.approx(
        0, abs=1e-9
    )


@bundled
def test_the_model_that_comes_along_describes_a_picture_offline(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("UNROLLED_CACHE", str(tmp_path / "none"))
    green, blue = np.array([60, 140, 50]), np.array([150, 190, 240])
    pixels = np.where(np.arange(150)[:, None, None] < 60, blue, green) * np.ones((1, 200, 1))
    content = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(content, "PNG")
    (tmp_path / "meadow.png").write_bytes(content.getvalue())
    assert cli.run(["caption", str(tmp_path / "meadow.png")]) == 0
    said = capsys.readouterr().out
    (one,), *_ = Captioner.load("photos").caption([tmp_path / "meadow.png"])
    assert said == f"{tmp_path / 'meadow.png'}: {one.text}  (confidence per word {one.confidence:.2f})\n"
    assert 4 <= len(one.words) <= 18
    assert not (tmp_path / "none").exists()


@bundled
def test_the_model_that_comes_along_is_small_whole_and_tells_its_figures():
    folder = bundle.find("photos")
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 12_000_000
    assert Captioner.load("photos").encoder.path == folder / FILE
    card = (folder / "card.md").read_text()
    for fact in (
        "CIDEr",
        "BLEU-4",
        "Flickr8k",
        "unrolled evaluate flickr8k --split test --model photos",
        "cannot",
    ):
        assert fact in card, fact
    assert list(itertools.chain(folder.glob("*.jpg"), folder.glob("*.png"))) == []
