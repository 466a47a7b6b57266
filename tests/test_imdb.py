"""The reviews: found wherever they are, numbered as Keras numbers them; and what every dataset must hold."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unrolled import shelf
from unrolled.data import fetch
from unrolled.datasets import Dataset, Examples, imdb, resolve
from unrolled.errors import DataError, DownloadError, UnknownNameError, UsageError

TINY = Path(__file__).parent / "tiny"


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A cache of its own, no data lying about, and no network."""

    def no_network(url: str, *_: object, **__: object) -> None:
        raise DownloadError(f"no network for {url}")

    monkeypatch.setenv("UNROLLED_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("UNROLLED_DATA", raising=False)
    monkeypatch.setattr(fetch, "download", no_network)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of eleven reviews in the shape of the published one."""
    monkeypatch.setattr(imdb, "COUNTS", {"train": 4, "test": 4, "unsupervised": 3})
    return TINY / "aclImdb"


@pytest.fixture
def archive(tiny: Path, tmp_path: Path) -> Path:
    path = tmp_path / "data" / "imdb" / imdb.ARCHIVE
    path.parent.mkdir(parents=True)
    with tarfile.open(path, "w:gz") as made:
        made.add(tiny, "aclImdb")
    return path


Loaded = tuple[tuple[Any, Any], tuple[Any, Any]]


def as_lists(loaded: Loaded) -> list[Any]:
    return [part.tolist() for half in loaded for part in half]


def test_words_are_numbered_by_frequency_in_train_then_by_bytes(tiny: Path) -> None:
    index = imdb.get_word_index(tiny)
    five_to_three, twice = "the was film story", "a and br brilliant dull just this"
    assert list(index) == f"{five_to_three} {twice} bad café end funny of warm".split()
    assert list(index.values()) == list(range(1, 18))


def test_archive_and_folder_give_the_same_and_so_does_the_cache(
    tiny: Path, archive: Path, tmp_path: Path
) -> None:
    first = as_lists(imdb.load_data(tiny))
    assert as_lists(imdb.load_data(archive)) == first
    stored = sorted((tmp_path / "cache").iterdir())
    assert len(stored) == 2
    times = [path.stat().st_mtime_ns for path in stored]
    assert as_lists(imdb.load_data(archive)) == first
    assert [path.stat().st_mtime_ns for path in stored] == times
    for path in stored:
        path.write_bytes(path.read_bytes()[:300])
    assert as_lists(imdb.load_data(archive)) == first
    assert imdb.get_word_index(archive) == imdb.get_word_index(tiny)


def test_a_changed_source_is_parsed_again(tiny: Path, tmp_path: Path) -> None:
    copy = tmp_path / "aclImdb"
    shutil.copytree(tiny, copy)
    assert "zebra" not in imdb.get_word_index(copy)
    (copy / "train" / "pos" / "0_9.txt").write_text("zebra")
    assert "zebra" in imdb.get_word_index(copy)


def test_a_cache_that_cannot_be_written_is_done_without(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file, not a folder")
    assert len(imdb.get_word_index(tiny)) == 17


def test_the_order_of_places(
    tiny: Path, archive: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(DownloadError, match=f"no network for {imdb.URL}"):
        imdb.find()
    cached = tmp_path / "cache" / imdb.ARCHIVE
    cached.parent.mkdir()
    shutil.copy(archive, cached)
    assert imdb.find() == cached == imdb.download()
    monkeypatch.setenv("UNROLLED_DATA", str(tmp_path / "nothing"))
    assert imdb.find() == cached
    for place in (tmp_path / "data", archive.parent, archive):
        monkeypatch.setenv("UNROLLED_DATA", str(place))
        assert imdb.find() == archive
    assert imdb.find(tiny) == imdb.find(tiny.parent) == tiny
    with pytest.raises(
        DataError, match="nowhere holds no IMDB reviews. Expected the archive aclImdb_v1.tar.gz"
    ):
        imdb.find("nowhere")


def test_the_published_archive_is_what_is_downloaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def download(url: str, target: Path, **options: object) -> Path:
        assert url == "https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz"
        assert options == {"md5": "7c2ac02c03563afcf9b574c7e56c153a", "size": 84_125_825, "progress": None}
        return target

    monkeypatch.setattr(fetch, "download", download)
    assert imdb.find() == tmp_path / "cache" / imdb.ARCHIVE
    assert imdb.download(tmp_path) == tmp_path / imdb.ARCHIVE


def test_incomplete_archives_are_refused(
    tiny: Path, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken.tar.gz"
    broken.write_bytes(archive.read_bytes()[:-600])
    with pytest.raises(DataError, match="broken.tar.gz is no whole archive .*Fetch it again from https"):
        imdb.get_word_index(broken)
    broken.write_bytes(b"no archive")
    with pytest.raises(DataError, match="is no whole archive"):
        imdb.get_word_index(broken)
    copy = tmp_path / "copy" / "aclImdb"
    shutil.copytree(tiny, copy)
    (copy / "test" / "neg" / "1_2.txt").write_bytes(b"caf\xe9")
    with pytest.raises(DataError, match="review 3 of the split 'test' is not UTF-8"):
        imdb.get_word_index(copy)
    (copy / "test" / "neg" / "1_2.txt").rename(copy / "test" / "neg" / "2_2.txt")
    with pytest.raises(DataError, match="test/urls_neg.txt names no film for review 2"):
        imdb.get_word_index(copy)
    monkeypatch.undo()
    with pytest.raises(
        DataError, match="holds 4 reviews of the split 'train'; the published archive has 25,000"
    ):
        imdb.get_word_index(tiny)


def keras_rows(arrays: dict[str, Any], seed: int, **o: Any) -> list[Any]:
    """What Keras's load_data does to its arrays, said once more, row by row and slowly."""
    random = np.random.RandomState(seed)
    x, y = {}, {}
    for half in ("train", "test"):
        order = np.arange(len(arrays[f"x_{half}"]))
        random.shuffle(order)
        start = [] if o["start_char"] is None else [o["start_char"]]
        pairs = [
            (start + [w + o["index_from"] for w in arrays[f"x_{half}"][i]], arrays[f"y_{half}"][i])
            for i in order
        ]
        kept = [pair for pair in pairs if not o["maxlen"] or len(pair[0]) < o["maxlen"]]
        x[half], y[half] = [ids for ids, _ in kept], [label for _, label in kept]
    limit = o["num_words"] or max(max(ids) for half in x.values() for ids in half)
    for half, rows in x.items():
        if o["oov_char"] is None:
            x[half] = [[i for i in ids if o["skip_top"] <= i < limit] for ids in rows]
        else:
            x[half] = [[i if o["skip_top"] <= i < limit else o["oov_char"] for i in ids] for ids in rows]
    return [x["train"], y["train"], x["test"], y["test"]]


KERAS = {"num_words": None, "skip_top": 0, "maxlen": None, "start_char": 1, "oov_char": 2, "index_from": 3}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_words": 12},
        {"num_words": 12, "oov_char": None},
        {"skip_top": 6},
        {"skip_top": 3, "oov_char": None},
        {"maxlen": 9},
        {"start_char": None},
        {"start_char": None, "index_from": 0},
        {"start_char": 500, "index_from": 10, "oov_char": 7},
    ],
)
@pytest.mark.parametrize("seed", [113, 0])
def test_options_do_what_keras_does(options: dict[str, Any], seed: int, tiny: Path) -> None:
    index = imdb.get_word_index(tiny)
    arrays: dict[str, Any] = {}
    for half in ("train", "test"):
        given = imdb.IMDB(tiny).load(half)
        words = [text.split(" ") for text in map(_plain, given.texts)]
        arrays[f"x_{half}"] = [[index[word] for word in row if word in index] for row in words]
        arrays[f"y_{half}"] = [int(label == "positive") for label in given.labels or []]
    wanted = {**KERAS, **options}
    assert as_lists(imdb.load_data(tiny, seed=seed, **wanted)) == keras_rows(arrays, seed, **wanted)


def _plain(text: str) -> str:
    lower = text.replace("É", "é").lower()
    return "".join(" " if c in '!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n' else c for c in lower)


def test_too_short_a_limit_is_said(tiny: Path) -> None:
    with pytest.raises(UsageError, match="No review has fewer than maxlen = 3 ids. Choose a larger maxlen"):
        imdb.load_data(tiny, maxlen=3)


@pytest.fixture
def keras(tmp_path: Path, tiny: Path) -> Path:
    """Arrays like Keras's, with its word index beside them."""
    index = imdb.get_word_index(tiny)
    (tmp_path / "imdb_word_index.json").write_text(json.dumps(index))
    rows = [np.array([[1, 2], [3]], dtype=object), np.array([[1], [2, 1]], dtype=object)]
    labels = np.array([1, 0])
    np.savez(tmp_path / "imdb.npz", x_train=rows[0], y_train=labels, x_test=rows[1], y_test=labels[::-1])
    return tmp_path / "imdb.npz"


def test_kerass_arrays(keras: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imdb, "KERAS_SHA256", hashlib.sha256(keras.read_bytes()).hexdigest())
    (x, y), (x_test, y_test) = imdb.load_data(keras, num_words=10, seed=3)
    assert sorted(zip(x.tolist(), y.tolist(), strict=True)) == [([1, 4, 5], 1), ([1, 6], 0)]
    assert sorted(zip(x_test.tolist(), y_test.tolist(), strict=True)) == [([1, 4], 0), ([1, 5, 4], 1)]
    dataset = imdb.IMDB(keras)
    assert dataset.splits == ("train", "test")
    assert dataset.load("test").texts == ["the", "was the"]
    assert "without punctuation" in dataset.load("test").note
    (keras.parent / "imdb_word_index.json").write_text('{"the": 2}')
    os.utime(keras, ns=(1, 1))
    with pytest.raises(DataError, match=r"its numbers are not 1, 2, 3.*Put that file beside imdb.npz"):
        imdb.load_data(keras)


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.folder),)


def test_no_other_pickled_file_is_opened(tmp_path: Path) -> None:
    np.savez(tmp_path / "imdb.npz", x_train=np.array([Trap(tmp_path / "trapped")], dtype=object))
    with pytest.raises(
        DataError, match="has the SHA-256 checksum .*published imdb.npz has 69664113be.*not opened"
    ):
        imdb.load_data(tmp_path)
    assert not (tmp_path / "trapped").exists()


def test_reviews_with_films(tiny: Path) -> None:
    dataset = imdb.IMDB(tiny)
    assert dataset.splits == ("train", "test", "unsupervised")
    train = dataset.load("train")
    assert train.labels == ["positive", "positive", "negative", "negative"]
    assert train.groups == ["tt0000100", "tt0000100", "tt0000200", "tt0000200"]
    assert train.texts[1] == "The Story of a Café: warm and funny"
    rest = dataset.load("unsupervised")
    assert rest.labels is None
    assert rest.groups == ["tt0000300", "tt0000300", "tt0000301"]
    with pytest.raises(UnknownNameError, match="no split called 'tset'. Did you mean 'test'"):
        dataset.load("tset")


def flickr8k(folder: Path) -> Path:
    """Three pictures, one a split, with two captions each."""
    (folder / "Images").mkdir(exist_ok=True)
    for part in ("train", "dev", "test"):
        (folder / "Images" / f"{part}.jpg").write_bytes(b"")
        (folder / f"Flickr_8k.{part}Images.txt").write_text(f"{part}.jpg\n")
    rows = [f"{part}.jpg#{i}\tA dog {i} in {part} ." for part in ("train", "dev", "test") for i in range(2)]
    (folder / "Flickr8k.token.txt").write_text("\n".join(rows) + "\n")
    return folder


def datasets(folder: Path) -> list[Dataset]:
    """Every dataset of the shelf, on tiny data."""
    sources = {
        "imdb": {"data": TINY / "aclImdb"},
        "files": {"path": TINY / "reviews.csv", "label_column": "label"},
        "flickr8k": {"data": flickr8k(folder)},
    }
    assert sorted(sources) == shelf.names("datasets"), "give the new dataset tiny data here"
    return [shelf.find("datasets", name, Dataset)(**options) for name, options in sources.items()]


def test_the_contract_of_every_dataset(tiny: Path, tmp_path: Path) -> None:
    for dataset, again in zip(datasets(tmp_path), datasets(tmp_path), strict=True):
        assert dataset.kind in ("text", "picture")
        assert dataset.licence.endswith(".")
        downloaded = isinstance(dataset, imdb.IMDB)
        assert bool(dataset.citation) == (downloaded or dataset.kind == "picture")
        assert dataset.checksum.startswith("md5:") == downloaded
        seen: set[tuple[str, str]] = set()
        splits = [name for name in dataset.splits if name != "validation"]  # another name of Flickr8k's dev
        for split in splits:
            examples = dataset.load(split)
            assert examples == again.load(split)
            assert len(examples) > 0
            assert {type(text) for text in examples.texts} == {str}
            for column in (examples.labels, examples.groups):
                assert column is None or (
                    len(column) == len(examples) and {type(cell) for cell in column} == {str}
                )
            both = {
                (text, group)
                for text, group in zip(examples.texts, examples.groups or examples.texts, strict=True)
            }
            assert not both & seen
            seen |= both


def test_names_mean_datasets(archive: Path, tmp_path: Path) -> None:
    assert len(resolve("imdb", data=archive).load("train")) == 4
    assert isinstance(resolve(str(TINY / "reviews.jsonl")).load("all"), Examples)


@pytest.fixture(scope="session")
def real(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real archive; its parsed form is kept for the session."""
    if not (path := data_folder / "imdb" / imdb.ARCHIVE).exists():
        pytest.skip(f"{path} is missing")
    return path


def test_facts_of_the_real_reviews(real: Path) -> None:
    (x, y), (x_test, y_test) = imdb.load_data(real)
    index = imdb.get_word_index(real)
    assert len(index) == 88_584
    words = ("the", "br", "this", "film", "was", "just", "story")
    assert [index[word] for word in words] == [1, 7, 11, 19, 13, 40, 62]
    assert x.shape == x_test.shape == (25_000,)
    assert round(float(np.mean([len(ids) for ids in x])), 5) == 238.71364
    assert y.sum() == y_test.sum() == 12_500
    assert max(map(max, x)) == 88_586  # as in Keras, the last word of all becomes unknown
    quoted = "this film was just brilliant casting location scenery story direction everyone's"
    opening = [1, *(index[word] + 3 for word in quoted.split())]
    found = [ids for ids in x.tolist() if ids[: len(opening)] == opening]
    assert [len(ids) - 1 for ids in found] == [217]
    cut = imdb.load_data(real, num_words=10_000)
    assert [len(ids) for ids in cut[0][0]] == [len(ids) for ids in x]
    assert max(map(max, cut[1][0])) == 9_999
    assert np.array_equal(cut[1][1], y_test)
    split = {name: imdb.IMDB(real).load(name) for name in ("train", "test", "unsupervised")}
    assert [len(examples) for examples in split.values()] == [25_000, 25_000, 50_000]
    # As published: the halves share one film, and 123 texts of films that stand in the database twice.
    assert len(set(split["train"].groups or []) & set(split["test"].groups or [])) == 1
    assert len(set(split["train"].texts) & set(split["test"].texts)) == 123
