"""Captions with pictures: the layouts that people have, and what is wrong in them named."""

from __future__ import annotations

import json
import tarfile

import pytest

from unrolled.data.images import Picture
from unrolled.datasets import resolve
from unrolled.datasets.files import captions
from unrolled.datasets.flickr8k import Flickr8k
from unrolled.errors import DataError, DownloadError, UnknownNameError
from unrolled.recipe import split

NAMES = [f"{i}.jpg" for i in range(4)]


@pytest.fixture
def folder(tmp_path):
    """Pictures of no content: nobody opens them here."""
    (tmp_path / "images").mkdir()
    for name in NAMES:
        (tmp_path / "images" / name).write_bytes(name.encode())
    return tmp_path


def table(folder, rows, name="captions.csv"):
    (folder / name).write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder / name


def test_a_table_a_folder_json_lines_and_coco_give_the_same(folder):
    rows = [(name, f"{word} of {name}") for name in NAMES[:2] for word in ("one", "two")]
    made = [captions(table(folder, ["image,caption", *(",".join(row) for row in rows)]))]
    made.append(captions(folder))
    lines = [json.dumps({"file_name": image, "text": text}) for image, text in rows]
    made.append(captions(table(folder, lines, "a.jsonl")))
    images = [{"id": i, "file_name": name} for i, name in enumerate(NAMES)]
    said = [{"image_id": NAMES.index(image), "id": 7, "caption": text} for image, text in rows]
    (folder / "coco.json").write_text(json.dumps({"images": images, "annotations": said}))
    made.append(captions(folder / "coco.json", images_folder=folder / "images"))
    for found in made:
        assert found.texts == [text for _, text in rows]
        assert [picture.read().decode() for picture in found.pictures] == [image for image, _ in rows]
        assert found.groups == [str(picture) for picture in found.pictures]
    first, second = split(made[0], 0.5, 0)
    assert {*first.groups} & {*second.groups} == set()
    assert [picture.read().decode() for picture in second.pictures] == [
        text.split()[-1] for text in second.texts
    ]


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ("9.jpg,a dog", "row 2 .*names the picture '9.jpg', which is not in .*--skip-bad."),
        ("1.jpg, ", "row 2 .*has no caption. Correct it, or leave such captions out with --skip-bad."),
        ("1.jpg", "row 2 .*Correct it"),
    ],
)
def test_a_caption_that_cannot_be_used_is_named_or_left_out(folder, row, sentence):
    path = table(folder, ["image,caption", "0.jpg,a cat", row])
    with pytest.raises(DataError, match=sentence):
        captions(path)
    found = captions(path, skip_bad=True)
    assert (found.texts, found.skipped) == (["a cat"], 1)


def test_what_is_no_table_of_captions_is_told_what_was_expected(folder, tmp_path):
    with pytest.raises(DataError, match=r"holds no captions. Expected one of captions.csv"):
        captions(folder / "images")
    with pytest.raises(
        DataError, match="has the columns a, b; none is called image or file_name. Name it: --image-column"
    ):
        captions(table(folder, ["a,b", "0.jpg,x"]))
    found = captions(table(folder, ["a,b", "0.jpg,x"]), image_column="a", caption_column="b")
    assert found.texts == ["x"]
    with pytest.raises(
        DataError, match="There is no folder or archive .*nowhere of pictures. Give it: --images FOLDER."
    ):
        captions(folder, images_folder=tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"holds no caption that can be used \(1 left out\)"):
        captions(table(folder, ["image,caption", "9.jpg,x"]), skip_bad=True)
    (folder / "coco.json").write_text('{"annotations": [{"caption": "x"}]}')
    with pytest.raises(DataError, match="coco.json is no COCO file of captions: 'images' is missing."):
        captions(folder / "coco.json")


def flickr(folder, *, tar: bool = False):
    pictures = folder / "Flicker8k_Dataset"
    (folder / "images").rename(pictures)
    if tar:
        with tarfile.open(folder / "pictures.tar", "w") as archive:
            archive.add(pictures, "Flicker8k_Dataset")
        for path in pictures.iterdir():
            path.unlink()
        pictures.rmdir()
    table(folder, [f"{name}#{i}\tA {name} , {i} ." for name in NAMES for i in range(2)], "Flickr8k.token.txt")
    for part, names in (("train", NAMES[2:]), ("dev", NAMES[:1]), ("test", NAMES[1:2])):
        table(folder, names, f"Flickr_8k.{part}Images.txt")
    return folder


@pytest.mark.parametrize("tar", [False, True])
def test_flickr8k_in_its_published_layout(folder, tar, monkeypatch):
    flickr(folder, tar=tar)
    data = Flickr8k(folder)
    assert data.splits == ("train", "dev", "validation", "test")
    train = data.load("train")
    assert train.texts == [f"A {name} , {i} ." for name in NAMES[2:] for i in range(2)]
    assert [picture.read().decode() for picture in train.pictures] == [n for n in NAMES[2:] for _ in range(2)]
    seen = [picture for part in ("train", "dev", "test") for picture in data.load(part).pictures]
    assert len({str(picture) for picture in seen}) == 4
    assert data.load("validation") == data.load("dev")
    with pytest.raises(UnknownNameError, match="There is no split called 'trian'. Did you mean 'train'?"):
        data.load("trian")
    monkeypatch.setenv("UNROLLED_DATA", str(folder))
    assert resolve("flickr8k").load("test").texts == ["A 1.jpg , 0 .", "A 1.jpg , 1 ."]
    with (folder / "Flickr8k.token.txt").open("a") as file:
        file.write("9.jpg.1#0\tnobody\n")
    with pytest.raises(DataError, match=r"line 9 names the picture '9.jpg.1', which is not in"):
        Flickr8k(folder).load()
    assert Flickr8k(folder, skip_bad=True).load().skipped == 1


def test_flickr8k_as_a_table(folder):
    (folder / "images").rename(folder / "Images")
    table(folder, ["image,caption", '0.jpg,"A dog , a ""cat"" ."', "1.jpg,Two"], "captions.txt")
    data = Flickr8k(folder)
    assert data.splits == ("all",)
    assert data.load().texts == ['A dog , a "cat" .', "Two"]
    assert data.load().pictures[1] == Picture(folder / "Images" / "1.jpg", "1.jpg")


def test_flickr8k_is_not_handed_on(folder, monkeypatch):
    from unrolled.datasets.flickr8k import download

    monkeypatch.delenv("UNROLLED_DATA", raising=False)
    monkeypatch.setenv("UNROLLED_CACHE", str(folder / "cache"))
    with pytest.raises(DataError, match="There is no Flickr8k in .* Say where it is: --data FOLDER."):
        Flickr8k()
    with pytest.raises(DownloadError, match="given out by its authors on request .*--data x."):
        download("x")
    table(folder, ["0.jpg#0\tx"], "Flickr8k.token.txt")
    (folder / "images").rename(folder / "other")
    with pytest.raises(DataError, match="holds no pictures. Expected the folder Flicker8k_Dataset"):
        Flickr8k(folder).load()


def test_flickr8k_itself(data_folder):
    if not (data_folder / "flickr8k").is_dir():
        pytest.skip("UNROLLED_DATA holds no flickr8k")
    data = Flickr8k(data_folder / "flickr8k")
    counts = {part: data.load(part) for part in ("train", "dev", "test")}
    assert [len({*one.groups}) for one in counts.values()] == [6000, 1000, 1000]
    assert [len(one) for one in counts.values()] == [30_000, 5_000, 5_000]
    assert len({name for one in counts.values() for name in one.groups}) == 8000
