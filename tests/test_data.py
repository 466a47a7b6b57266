"""Words, padding, and downloads from a server that misbehaves."""

from __future__ import annotations

import hashlib
import json
import pickle
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.data import fetch, text
from unrolled.data.sequence import pad_sequences
from unrolled.data.text import Tokenizer, Vocabulary, count_words, spans, split_words
from unrolled.errors import BundleError, DataError, DownloadError, EngineError, ShapeError, UsageError
from unrolled.kernels import library, words

# Letters, separators and everything that a program could take for one.
TEXTS = st.lists(
    st.text(st.sampled_from("aAbzZ '.-_\t\n\r\v\f\0é\x85\u2028ﬁİ😀\ud800"), max_size=30), max_size=6
)


@pytest.fixture(params=["engine", "python"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Runs a test on the engine and on the path that serves without it."""
    if request.param == "engine" and library.engine() is None:
        pytest.skip("the engine is not built")
    if request.param == "python":
        monkeypatch.setattr(words, "engine", lambda: None)
    return str(request.param)


def test_the_rules_of_the_lesson() -> None:
    assert split_words("This film was JUST brilliant,casting-location.\nEveryone's\tso_sad!") == [
        "this", "film", "was", "just", "brilliant", "casting", "location", "everyone's", "so", "sad",
    ]  # fmt: skip
    assert split_words("<br /><br />") == ["br", "br"]
    assert split_words("É\rA\v\x85B\u2028") == [
        "É\ra\v\x85b\u2028"
    ]  # only ASCII changes, only those characters separate
    assert split_words(" \n") == []


def test_words_are_counted_most_frequent_first_and_ties_by_bytes(path: str) -> None:
    assert list(count_words(["b a B", "c é Z'"]).items()) == [
        ("b", 2),
        ("a", 1),
        ("c", 1),
        ("z'", 1),
        ("é", 1),
    ]
    assert count_words([]) == {}
    many = [
        " ".join(f"w{i % 70_000}" for i in range(90_000))
    ]  # more words than the engine's first table holds
    counts = count_words(many)
    assert len(counts) == 70_000
    assert list(counts.values()) == [2] * 20_000 + [1] * 50_000


@given(texts=TEXTS)
def test_engine_and_python_find_the_same_words(texts: list[str]) -> None:
    if (engine := library.engine()) is None:
        pytest.skip("the engine is not built")
    given_texts = [text._to_bytes(t) for t in texts]
    assert words._count_native(engine, given_texts, text.FOLD) == words._count_split(given_texts, text.FOLD)
    known = sorted({word for t in given_texts for word in words.split(t, text.FOLD)})[::2]
    table = words.WordTable(known, np.arange(5, 5 + len(known), dtype=np.int32), text.FOLD)
    for prefix, unseen in [(words.SKIP, words.SKIP), (1, 2), (words.SKIP, 2), (1, words.SKIP)]:
        ids, offsets = table._encode_native(engine, given_texts, prefix, unseen)
        expected, places = table._encode_split(given_texts, prefix, unseen)
        assert ids.dtype == expected.dtype == np.int32
        assert ids.tolist() == expected.tolist()
        assert offsets.tolist() == places.tolist()


@given(texts=TEXTS)
def test_spans_point_at_the_words(texts: list[str]) -> None:
    vocabulary = Vocabulary.build(texts[:3])
    for unseen in (2, None):
        tokenizer = Tokenizer(vocabulary, unseen_id=unseen)
        for given_text, ids in zip(texts, tokenizer.encode(texts), strict=True):
            found = spans(given_text)
            lower = [given_text[s.start : s.end].translate(text._LOWER) for s in found]
            assert [s.word for s in found] == lower == split_words(given_text)
            start, *rest = tokenizer.token_spans(given_text)
            assert start is None
            expected = [vocabulary.id(s.word) or unseen for s in rest if s is not None]
            assert ids.tolist() == [1, *expected]


def test_ids_follow_keras(path: str) -> None:
    vocabulary = Vocabulary(["the", "and", "a"], num_words=6)
    assert len(vocabulary) == 6
    assert [vocabulary.id(w) for w in ("the", "and", "a", "zebra")] == [4, 5, 2, None]
    assert [vocabulary.word(i) for i in range(7)] == [
        "<pad>", "<start>", "<unknown>", "<unknown>", "the", "and", "<unknown>",
    ]  # fmt: skip
    rows = Tokenizer(vocabulary).encode(["The zebra and a", "", "a"])
    assert [row.tolist() for row in rows] == [[1, 4, 2, 5, 2], [1], [1, 2]]
    assert {row.dtype for row in rows} == {np.dtype(np.int32)}
    skipping = Tokenizer(vocabulary, start_id=None, unseen_id=None)
    assert [row.tolist() for row in skipping.encode(["The zebra and a", "zebra"])] == [[4, 5, 2], []]
    assert Tokenizer(vocabulary).encode([]) == []
    assert Tokenizer(Vocabulary([])).encode(["a"])[0].tolist() == [1, 2]


def test_a_vocabulary_keeps_the_most_frequent_words_of_its_texts() -> None:
    vocabulary = Vocabulary.build(["a a a b b c"], num_words=6)
    assert vocabulary.words == ("a", "b")
    assert len(vocabulary) == 6
    assert "c" not in vocabulary
    with pytest.raises(DataError, match="holds the word 'b' twice"):
        Vocabulary(["a", "b", "b"])
    with pytest.raises(EngineError, match="stands in the list twice"):
        words.WordTable([b"a", b"a"], np.array([1, 2], dtype=np.int32), text.FOLD)


def test_a_tokenizer_is_stored_as_json_and_pickled(path: str) -> None:
    tokenizer = Tokenizer(Vocabulary(["thé", "and", "a"], num_words=6), unseen_id=None)
    before = tokenizer.encode(["thé zebra a"])[0].tolist()
    stored = json.loads(json.dumps(tokenizer.to_dict()))
    for again in (Tokenizer.from_dict(stored), pickle.loads(pickle.dumps(tokenizer))):
        assert again.encode(["thé zebra a"])[0].tolist() == before == [1, 4, 2]
        assert again.to_dict() == stored


def test_what_is_stored_is_checked() -> None:
    good = Tokenizer(Vocabulary(["a"])).to_dict()
    with pytest.raises(BundleError, match="A tokenizer is stored as rule, words.*found: nothing"):
        Tokenizer.from_dict({})
    for name, value, expected in [
        ("rule", "bytes", "expected 'ascii-lower-words'"),
        ("words", ["a", 1], "'words' is .*expected a list of words"),
        ("num_words", True, "'num_words' is 'True'; expected a whole number from 0"),
        ("start_id", -1, "or null"),
    ]:
        with pytest.raises(BundleError, match=expected):
            Tokenizer.from_dict({**good, name: value})


def test_lists_can_be_read_by_many_threads_at_once() -> None:
    vocabulary = Vocabulary([f"w{i}" for i in range(1000)])
    texts = [" ".join(f"W{(i * j) % 1300}" for i in range(200)) for j in range(50)]
    expected = [row.tolist() for row in Tokenizer(vocabulary).encode(texts)]
    found: list[bool] = []

    def work(start: int) -> None:
        rows = Tokenizer(vocabulary, start_id=start).encode(texts)
        found.append(
            [row.tolist()[1:] for row in rows] == [row[1:] for row in expected] and rows[0][0] == start
        )

    threads = [threading.Thread(target=work, args=(start,)) for start in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 8


def test_padding_as_in_the_lesson() -> None:
    rows = [[1], [2, 3], [4, 5, 6], []]
    assert pad_sequences(rows).tolist() == [[0, 0, 1], [0, 2, 3], [4, 5, 6], [0, 0, 0]]
    assert pad_sequences(rows, maxlen=2).tolist() == [[0, 1], [2, 3], [5, 6], [0, 0]]
    assert pad_sequences(rows, maxlen=2, truncating="post").tolist() == [[0, 1], [2, 3], [4, 5], [0, 0]]
    assert pad_sequences(rows, padding="post", value=-1).tolist() == [
        [1, -1, -1],
        [2, 3, -1],
        [4, 5, 6],
        [-1] * 3,
    ]
    assert pad_sequences(rows).dtype == np.int32
    assert pad_sequences([[0.5]], dtype="float64", maxlen=2).tolist() == [[0, 0.5]]
    assert pad_sequences([], maxlen=3).shape == (0, 3)
    assert pad_sequences([[[1, 2]], [[3, 4], [5, 6]]]).tolist() == [[[0, 0], [1, 2]], [[3, 4], [5, 6]]]
    assert pad_sequences(rows, maxlen=0).shape == (4, 0)


@given(
    rows=st.lists(st.lists(st.integers(1, 9), max_size=7), max_size=5),
    maxlen=st.none() | st.integers(1, 9),
    padding=st.sampled_from(["pre", "post"]),
    truncating=st.sampled_from(["pre", "post"]),
)
def test_padding_keeps_what_fits_in_order(
    rows: list[list[int]], maxlen: int | None, padding: str, truncating: str
) -> None:
    padded = pad_sequences(rows, maxlen, padding=padding, truncating=truncating)
    steps = max(map(len, rows), default=0) if maxlen is None else maxlen
    assert padded.shape == (len(rows), steps)
    for row, found in zip(rows, padded.tolist(), strict=True):
        kept = row[max(0, len(row) - steps) :] if truncating == "pre" else row[:steps]
        zeros = [0] * (steps - len(kept))
        assert found == (zeros + kept if padding == "pre" else kept + zeros)


def test_padding_says_what_is_wrong() -> None:
    with pytest.raises(UsageError, match="padding is 'left'; it must be 'pre' or 'post'"):
        pad_sequences([[1]], padding="left")
    with pytest.raises(UsageError, match="truncating is 'right'"):
        pad_sequences([[1]], truncating="right")
    with pytest.raises(UsageError, match="maxlen is -1; it must be 0 or more"):
        pad_sequences([[1]], maxlen=-1)
    with pytest.raises(ShapeError, match="Row 1 is 7; each row must be a sequence"):
        pad_sequences([[1], 7])
    with pytest.raises(ShapeError, match=r"row 1 have shape \(1,\); earlier rows have \(2,\)"):
        pad_sequences([[[1, 2]], [[1]]])


CONTENT = bytes(range(256)) * 4096


class Server(ThreadingHTTPServer):
    """Serves CONTENT and does what the test asks it to do wrongly."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.cut_after = len(CONTENT)
        self.ranges = True
        self.asked: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_port}/file"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers["Range"]
        self.server.asked.append(wanted)
        if self.path != "/file":
            self.send_error(404, "Not Found")
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if self.server.ranges else 0
        self.send_response(206 if self.server.ranges else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        self.wfile.write(CONTENT[start : start + self.server.cut_after])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def download(url: str, target: Path, content: bytes = CONTENT, **options: object) -> Path:
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return fetch.download(url, target, md5=md5, size=len(content), timeout=5, **options)  # type: ignore[arg-type]


def test_a_download_reports_its_progress_and_leaves_nothing_else(server: Server, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    target = download(server.url, tmp_path / "new" / "file", progress=lambda done, n: seen.append((done, n)))
    assert target.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert seen == sorted(set(seen))
    assert [path.name for path in target.parent.iterdir()] == ["file"]


def test_a_connection_that_breaks_is_continued(server: Server, tmp_path: Path) -> None:
    server.cut_after = 300_000
    assert download(server.url, tmp_path / "file").read_bytes() == CONTENT
    assert server.asked == ["bytes=0-", "bytes=300000-", "bytes=600000-", "bytes=900000-"]


def test_what_an_interrupted_call_left_is_continued(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(CONTENT[:1000])
    assert download(server.url, tmp_path / "file").read_bytes() == CONTENT
    assert server.asked == ["bytes=1000-"]


def test_a_server_that_cannot_continue_starts_again(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    (tmp_path / "file.part").write_bytes(b"x" * 1000)
    assert download(server.url, tmp_path / "file").read_bytes() == CONTENT


def test_a_wrong_file_is_refused_and_removed(server: Server, tmp_path: Path) -> None:
    wrong = b"x" + CONTENT[1:]
    with pytest.raises(DownloadError, match="MD5 checksum .*; expected 1,048,576 bytes and .*Try again"):
        download(server.url, tmp_path / "file", wrong)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DownloadError, match="expected 1,000 bytes"):
        download(server.url, tmp_path / "file", CONTENT[:1000])
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_sends_nothing_more_is_given_up_but_what_came_is_kept(
    server: Server, tmp_path: Path
) -> None:
    longer = CONTENT + b"more"
    with pytest.raises(DownloadError, match="cannot be reached"):
        download(server.url, tmp_path / "file", longer)
    assert [path.name for path in tmp_path.iterdir()] == ["file.part"]
    assert len(server.asked) < 10


def test_an_error_page_is_no_file(server: Server, tmp_path: Path) -> None:
    with pytest.raises(
        DownloadError, match=r"nowhere answered 404 Not Found.*fetch the file by hand and give its path"
    ):
        download(server.url.replace("file", "nowhere"), tmp_path / "file")
    assert not (tmp_path / "file").exists()


def test_no_network_is_said(tmp_path: Path) -> None:
    with Server() as closed:
        url = closed.url
    with pytest.raises(DownloadError, match="cannot be reached: .*Check the network"):
        download(url, tmp_path / "file")


def test_the_cache_is_where_the_platform_keeps_caches(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("UNROLLED_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for platform, place in [("linux", ".cache"), ("darwin", "Library/Caches"), ("win32", "AppData/Local")]:
        monkeypatch.setattr("sys.platform", platform)
        assert fetch.cache_folder() == Path.home() / place / "unrolled"
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert fetch.cache_folder() == tmp_path / "unrolled"
    monkeypatch.setenv("UNROLLED_CACHE", str(tmp_path / "mine"))
    assert fetch.cache_folder() == tmp_path / "mine"
