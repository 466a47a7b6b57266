"""The Large Movie Review Dataset: 25,000 reviews to train on, 25,000 to test on, 50,000 without a label.

`load_data` and `get_word_index` answer as `keras.datasets.imdb` does, from the published texts: words are numbered
by how often they occur in the training reviews, ties in the order of their bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tarfile
import zlib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from ..data import Progress, fetch, packed, text
from ..errors import DataError, UsageError
from ..kernels import words as native
from . import Dataset, Examples

URL = "https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz"
ARCHIVE = "aclImdb_v1.tar.gz"
MD5, SIZE = "7c2ac02c03563afcf9b574c7e56c153a", 84_125_825
COUNTS = {"train": 25_000, "test": 25_000, "unsupervised": 50_000}
KERAS_SHA256 = "69664113be75683a8fe16e3ed0ab59fda8886cb3cd7ada244f7d9544e4676b9f"

_MEMBER = re.compile(r"(?:^|/)(train|test)/(?:(pos|neg|unsup)/(\d+)_\d+|urls_(pos|neg|unsup))\.txt$")
_SPLITS = {
    "train": ("train", ("pos", "neg")),
    "test": ("test", ("pos", "neg")),
    "unsupervised": ("train", ("unsup",)),
}
_LABELS = ("negative", "positive")
_FORMAT = 1


@final
class IMDB(Dataset):
    """Movie reviews, "positive" or "negative", each with its film as the group.

    Args:
        data: the archive, the folder `aclImdb`, or Keras's `imdb.npz` with `imdb_word_index.json` beside it; by
            default looked for in $UNROLLED_DATA and in the cache, and downloaded if it is nowhere.
        progress: called while a download runs.
    """

    kind = "text"
    licence = "Free for research; the reviews belong to their authors."
    citation = (
        "Andrew L. Maas, Raymond E. Daly, Peter T. Pham, Dan Huang, Andrew Y. Ng and Christopher Potts. "
        "Learning Word Vectors for Sentiment Analysis. ACL 2011."
    )
    checksum = f"md5:{MD5}"

    def __init__(self, data: str | Path | None = None, *, progress: Progress | None = None) -> None:
        self._arrays = _arrays(find(data, progress=progress))

    @property
    def splits(self) -> tuple[str, ...]:
        """train, test, unsupervised; of Keras's arrays train and test alone."""
        return tuple(
            split for split in COUNTS if f"{split}_films" in self._arrays or f"{split}_ids" in self._arrays
        )

    def load(self, split: str) -> Examples:
        """Reviews in the order of the archive; those of Keras's arrays are rebuilt from their words."""
        a = self._arrays
        labels = None
        if self.check_split(split) != "unsupervised":
            labels = [_LABELS[positive] for positive in a[f"{split}_labels"].tolist()]
        if f"{split}_films" not in a:
            note = "The texts are rebuilt from Keras's ids: words without punctuation."
            return Examples(_joined_words(a, split), labels, note=note)
        texts = packed.unpack(a[f"{split}_texts"], a[f"{split}_text_offsets"])
        return Examples(texts, labels, [film.decode() for film in a[f"{split}_films"].tolist()])


def load_data(
    path: str | Path | None = None,
    num_words: int | None = None,
    skip_top: int = 0,
    maxlen: int | None = None,
    seed: int = 113,
    start_char: int | None = 1,
    oov_char: int | None = 2,
    index_from: int = 3,
) -> tuple[tuple[NDArray[Any], NDArray[np.int64]], tuple[NDArray[Any], NDArray[np.int64]]]:
    """The reviews as ids: `(x_train, y_train), (x_test, y_test)`.

    Args:
        path: where the data is, as in `IMDB`.
        num_words: ids from this one on become `oov_char`; None: from the largest id on, as Keras has it.
        skip_top: ids below this one become `oov_char`.
        maxlen: reviews with so many ids or more are left out.
        seed: of the order of the reviews.
        start_char: put before every review; None puts nothing.
        oov_char: stands for the words that were cut off; None leaves them out.
        index_from: added to the rank of a word, so that the most frequent one has the id index_from + 1.

    Returns:
        x: object arrays (N,) of lists of ids; y: int64 (N,), 1 for positive. Words of test reviews that no
        training review holds are not there.

    Raises:
        UsageError: no review is shorter than `maxlen`.
    """
    arrays = _arrays(find(path))
    random = np.random.RandomState(seed)
    chosen = {
        split: _shuffled(arrays, split, random, maxlen, start_char is not None) for split in ("train", "test")
    }
    if not all(len(rows) for rows in chosen.values()):
        raise UsageError(f"No review has fewer than maxlen = {maxlen} ids. Choose a larger maxlen.")
    rows = {split: _rows(arrays, split, order) for split, order in chosen.items()}
    ids = np.arange(len(_words(arrays)) + 1) + index_from
    limit = num_words or max(int(ids[ranks].max(initial=start_char or 0)) for ranks, _ in rows.values())
    # One Python number per word, shared by all reviews: numbers made one by one would take four times the memory.
    names = np.array([i if skip_top <= i < limit else oov_char for i in ids.tolist()], dtype=object)
    start = [] if start_char is None else [start_char if skip_top <= start_char < limit else oov_char]
    x = {split: _lists(ranks, offsets, names, start) for split, (ranks, offsets) in rows.items()}
    y = {split: arrays[f"{split}_labels"][order].astype(np.int64) for split, order in chosen.items()}
    return (x["train"], y["train"]), (x["test"], y["test"])


def get_word_index(path: str | Path | None = None) -> dict[str, int]:
    """Each word's rank, from 1; add `index_from` to get the id that `load_data` gives it."""
    return {word.decode("utf-8"): rank for rank, word in enumerate(_words(_arrays(find(path))), start=1)}


def find(data: str | Path | None = None, *, progress: Progress | None = None) -> Path:
    """Where the data is: `data`, else $UNROLLED_DATA, else the cache, else where it was just downloaded to.

    Raises:
        DataError: `data` holds nothing of this dataset.
        DownloadError: nothing is there yet, and the download failed.
    """
    if data is not None:
        if found := _look_in(Path(data)):
            return found
        raise DataError(
            f"{data} holds no IMDB reviews. Expected the archive {ARCHIVE}, the folder aclImdb unpacked from it, "
            "or Keras's imdb.npz with imdb_word_index.json beside it."
        )
    shared = os.environ.get("UNROLLED_DATA")
    for place in (shared, fetch.cache_folder()):
        if place and (found := _look_in(Path(place))):
            return found
    return download(progress=progress)


def download(folder: str | Path | None = None, *, progress: Progress | None = None) -> Path:
    """Fetch the published archive into `folder` (by default the cache), unless it is there; gives its path.

    Raises:
        DownloadError: no network, or not the published file.
    """
    target = (fetch.cache_folder() if folder is None else Path(folder)) / ARCHIVE
    return target if target.is_file() else fetch.download(URL, target, md5=MD5, size=SIZE, progress=progress)


def _look_in(place: Path) -> Path | None:
    inside = ("", "aclImdb", ARCHIVE, "imdb.npz", "imdb", "imdb/aclImdb", f"imdb/{ARCHIVE}", "imdb/imdb.npz")
    found = (place / name if name else place for name in inside)
    return next((path for path in found if path.is_file() or (path / "train" / "pos").is_dir()), None)


def _arrays(source: Path) -> packed.Arrays:
    build = _from_keras if source.suffix == ".npz" else _from_texts
    stored = fetch.cache_folder() / f"imdb-{packed.fingerprint(source)}-{_FORMAT}.npz"
    return packed.cached(stored, lambda: build(source))


def _from_texts(source: Path) -> dict[str, NDArray[Any]]:
    found, films = _collect(source)
    arrays: dict[str, NDArray[Any]] = {}
    for split, (folder, classes) in _SPLITS.items():
        keys = [(folder, c, number) for c in classes for number in sorted(found.get((folder, c), ()))]
        texts = [found[folder, c][number] for folder, c, number in keys]
        _check(source, split, texts)
        arrays[f"{split}_texts"], arrays[f"{split}_text_offsets"] = packed.pack(texts)
        arrays[f"{split}_films"] = np.array([films[folder, c][number] for folder, c, number in keys])
        arrays[f"{split}_labels"] = np.array([c == "pos" for _, c, _ in keys], dtype=np.int8)
        if split == "train":
            words, _ = native.count(texts, text.FOLD)
            table = native.WordTable(words, np.arange(1, len(words) + 1, dtype=np.int32), text.FOLD)
        if split != "unsupervised":
            arrays[f"{split}_ids"], arrays[f"{split}_id_offsets"] = table.encode(texts)
    arrays["words"] = np.frombuffer(b" ".join(words), dtype=np.uint8)
    return arrays


def _check(source: Path, split: str, texts: list[bytes]) -> None:
    if len(texts) != COUNTS[split]:
        raise DataError(
            f"{source} holds {len(texts):,} reviews of the split '{split}'; the published archive has "
            f"{COUNTS[split]:,}. It is incomplete: fetch it again from {URL}"
        )
    for number, review in enumerate(texts):
        try:
            review.decode("utf-8")
        except UnicodeDecodeError as error:
            where = f"{source}: review {number} of the split '{split}'"
            raise DataError(f"{where} is not UTF-8 ({error}). Fetch it again from {URL}") from error


def _collect(
    source: Path,
) -> tuple[dict[tuple[str, str], dict[int, bytes]], dict[tuple[str, str], list[bytes]]]:
    """Reviews by (folder, class) and number, and the films of (folder, class), one for each number."""
    reviews: dict[tuple[str, str], dict[int, bytes]] = {}
    films: dict[tuple[str, str], list[bytes]] = {}
    for member, content in _members(source):
        folder, kind, number, listed = member.groups()
        if listed:
            films[folder, listed] = [
                line.rsplit(b"/title/")[-1].split(b"/")[0] for line in content.splitlines()
            ]
        else:
            reviews.setdefault((folder, kind), {})[int(number)] = content
    for key, found in reviews.items():
        if len(films.get(key, ())) <= max(found):
            name = f"{key[0]}/urls_{key[1]}.txt"
            raise DataError(
                f"{source}: {name} names no film for review {max(found)}. Fetch it again from {URL}"
            )
    return reviews, films


def _members(source: Path) -> Iterator[tuple[re.Match[str], bytes]]:
    """The files that count, with their contents; an archive is read once from front to back, nothing is unpacked."""
    if source.is_dir():
        for path in source.glob("*/**/*.txt"):
            if match := _MEMBER.search(path.relative_to(source).as_posix()):
                yield match, path.read_bytes()
        return
    try:
        with tarfile.open(source, "r|*") as archive:
            for member in archive:
                if (
                    member.isfile()
                    and (match := _MEMBER.search(member.name))
                    and (file := archive.extractfile(member))
                ):
                    yield match, file.read()
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise DataError(f"{source} is no whole archive ({error}). Fetch it again from {URL}") from error


def _from_keras(source: Path) -> dict[str, NDArray[Any]]:
    """Keras's arrays. They are pickled, so only the one published file is opened: what is hashed is what is read."""
    content = source.read_bytes()
    if (found := hashlib.sha256(content).hexdigest()) != KERAS_SHA256:
        raise DataError(
            f"{source} has the SHA-256 checksum {found}; Keras's published imdb.npz has {KERAS_SHA256}. "
            "Any other file of this kind could run code when it is opened, so it was not opened."
        )
    words = _keras_words(source.with_name("imdb_word_index.json"))
    arrays: dict[str, NDArray[Any]] = {"words": np.frombuffer(b" ".join(words), dtype=np.uint8)}
    with np.load(io.BytesIO(content), allow_pickle=True) as stored:
        for split in ("train", "test"):
            rows = stored[f"x_{split}"]
            arrays[f"{split}_ids"] = np.fromiter((i for row in rows for i in row), dtype=np.int32)
            arrays[f"{split}_id_offsets"] = np.cumsum([0, *map(len, rows)], dtype=np.int64)
            arrays[f"{split}_labels"] = stored[f"y_{split}"].astype(np.int8)
    return arrays


def _keras_words(path: Path) -> list[bytes]:
    try:
        index: dict[str, int] = json.loads(path.read_text(encoding="utf-8"))
        if sorted(index.values()) != list(range(1, len(index) + 1)):
            raise ValueError("its numbers are not 1, 2, 3, ...")
        return [word.encode("utf-8") for word in sorted(index, key=index.__getitem__)]
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} is not Keras's word index ({error}). Put that file beside imdb.npz."
        ) from error


def _words(arrays: packed.Arrays) -> list[bytes]:
    return arrays["words"].tobytes().split(b" ")


def _joined_words(arrays: packed.Arrays, split: str) -> list[str]:
    words = np.array([b"", *_words(arrays)], dtype=object)[arrays[f"{split}_ids"]].tolist()
    places = arrays[f"{split}_id_offsets"].tolist()
    return [b" ".join(words[a:b]).decode("utf-8") for a, b in pairwise(places)]


def _shuffled(
    arrays: packed.Arrays, split: str, random: np.random.RandomState, maxlen: int | None, started: bool
) -> NDArray[np.int64]:
    """Numbers of the reviews that are short enough, in the order of `random`."""
    lengths = np.diff(arrays[f"{split}_id_offsets"]) + started
    order = np.arange(len(lengths))
    random.shuffle(order)
    return order[lengths[order] < maxlen] if maxlen else order


def _rows(
    arrays: packed.Arrays, split: str, order: NDArray[np.int64]
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Ranks of the reviews `order` one after the other, and where each begins."""
    places = arrays[f"{split}_id_offsets"]
    offsets = np.concatenate([[0], np.cumsum(np.diff(places)[order])])
    moved = np.repeat(places[order] - offsets[:-1], np.diff(offsets))
    return arrays[f"{split}_ids"][np.arange(offsets[-1]) + moved], offsets


def _lists(
    ranks: NDArray[np.int32], offsets: NDArray[np.int64], names: NDArray[Any], start: list[int | None]
) -> NDArray[Any]:
    """Object array of lists: what `names` holds for each rank, without None."""
    named, places = names[ranks].tolist(), offsets.tolist()
    lists = np.empty(len(places) - 1, dtype=object)
    dropping = None in names or None in start
    for row, (begin, end) in enumerate(pairwise(places)):
        ids = start + named[begin:end]
        lists[row] = [i for i in ids if i is not None] if dropping else ids
    return lists
