"""Every benchmark runs at a tiny size and keeps its contract. No time is asserted."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import pytest

from unrolled import shelf
from unrolled.bench import Bench, Peer, alternate, machine, ratios
from unrolled.errors import UsageError

TINY = {
    "lesson": {
        "generated": True, "train_reviews": 24, "test_reviews": 10, "length": 9, "words": 20, "dimension": 4,
        "units": 3, "batch_size": 5, "rounds": 2, "threads": 1,
    },
    "engine": {
        "parts": "table,streaming", "sizes": "5", "batches": "3", "steps": "4", "threads": "1", "rounds": 2,
    },
    "sentiment": {"generated": True, "rounds": 1},
    "series": {"generated": True},
    "language": {"generated": True, "steps": 4, "units": 16},
}  # fmt: skip
NAMES = shelf.names("bench")

# A peer that answers, and on request dies with a word.
ECHO = """
import json, sys
for line in sys.stdin:
    if "die" in line:
        sys.exit("no such backend")
    print(json.dumps({"heard": json.loads(line)}), flush=True)
"""


def make(name: str, **options: object) -> Bench:
    return shelf.find("bench", name, Bench)(**(TINY[name] | options))  # type: ignore[type-abstract, arg-type]


@pytest.mark.parametrize("name", NAMES)
def test_options_explain_themselves(name: str) -> None:
    found = shelf.find("bench", name, Bench)  # type: ignore[type-abstract]
    assert found.title
    assert found.minutes
    for option in dataclasses.fields(found):
        assert option.metadata["help"].endswith("."), option.name
        assert option.default is not dataclasses.MISSING


@pytest.mark.parametrize("name", NAMES)
def test_it_runs_at_a_tiny_size_and_its_result_is_json(name: str) -> None:
    pytest.importorskip("torch")
    said: list[str] = []
    found = make(name).run(said.append)
    assert said
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_the_lesson_reports_both_sides_and_their_ratio() -> None:
    pytest.importorskip("torch")
    found = make("lesson").run(lambda line: None)
    for seconds, ratio in (("train_s", "train_ratio"), ("predict_per_s", "predict_ratio")):
        assert list(found[seconds]) == ["unrolled", "torch"]
        assert list(found[ratio]) == ["torch"]
        assert min(found[seconds].values()) > 0
    assert found["train_ratio"]["torch"] == found["train_s"]["torch"] / found["train_s"]["unrolled"]
    assert (
        found["predict_ratio"]["torch"]
        == found["predict_per_s"]["unrolled"] / found["predict_per_s"]["torch"]
    )
    assert found["share_of_limit"] == found["limit"]["seconds"] / found["train_s"]["unrolled"]


def test_both_sides_of_the_lesson_do_the_same_work() -> None:
    """Same reviews, weights, order and update: so the losses agree, and so do the probabilities after training."""
    torch = pytest.importorskip("torch")
    from unrolled.bench import lesson

    bench = make("lesson")
    reviews = bench.reviews()
    ours, theirs = lesson.Ours(bench, reviews), lesson.Torch(bench, reviews)
    for _ in range(2):  # the second round begins from the first weights again
        assert ours.train()[1] == pytest.approx(theirs.train()[1], abs=1e-5)
    with torch.no_grad():
        probability = torch.sigmoid(theirs.logits(torch.from_numpy(reviews.test_x))).numpy()
    assert ours.model.predict(reviews.test_x)[:, 0] == pytest.approx(probability, abs=1e-5)


def test_generated_reviews_are_padded_in_front_and_their_labels_can_be_learned() -> None:
    pytest.importorskip("torch")
    bench = make("lesson", train_reviews=500)
    x, y, test = bench.reviews()
    assert x.shape == (500, 9)
    assert test.shape == (10, 9)
    assert 0 <= x.min() < x.max() < bench.words
    assert (x[:, 0] == 0).any()
    assert not ((x[:, 1:] == 0) & (x[:, :-1] != 0)).any()
    assert ((x[:, -1] == 5) == y).all()


def test_the_limit_counts_words_without_padding_and_each_word_of_a_batch_once() -> None:
    pytest.importorskip("torch")
    from unrolled.bench.lesson import Reviews

    bench = make("lesson", train_reviews=2, batch_size=2)
    x, y, test = make("lesson", train_reviews=2).reviews()
    x[:] = 0
    x[:, -2:] = [[7, 8], [8, 8]]
    flop = (
        3 * 2 * 3 * (3 * 4 + 4 * 3)
    )  # 3 units: 4 words read, 3 different ids (with the padding's) of 4 numbers
    assert bench.limit(Reviews(x, y, test))["gflop"] == pytest.approx(flop / 1e9)


def test_sides_take_turns_and_the_first_round_does_not_count() -> None:
    calls: list[str] = []
    sides = {name: lambda name=name: calls.append(name) or len(calls) for name in ("a", "b")}
    assert alternate(sides, rounds=2) == {"a": [4, 5], "b": [3, 6]}
    assert "".join(calls) == "abbaab"


def test_ratios_say_how_many_times_better_we_are() -> None:
    assert ratios({"unrolled": 2.0, "torch": 30.0}, higher_is_better=False) == {"torch": 15.0}
    assert ratios({"unrolled": 30.0, "torch": 3.0}, higher_is_better=True) == {"torch": 10.0}


def test_the_machine_is_described() -> None:
    found = machine()
    assert found["cpu"]
    assert found["cores"] >= 1
    assert set(found) == {"cpu", "cores", "isa", "threads"}


@pytest.mark.parametrize(("load", "said"), [(0.1, False), (3.5, True)])
def test_a_busy_machine_is_mentioned(load: float, said: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    from unrolled.bench import lesson

    monkeypatch.setattr(lesson, "load", lambda: load)
    monkeypatch.setattr(lesson, "machine", lambda: {"cpu": "x", "cores": 2, "isa": "avx2", "threads": 2})
    lines: list[str] = []
    assert make("lesson").run(lines.append)["machine"]["load_before"] == load
    assert ("Other programs were running (load 3.5): do not quote these ratios." in lines) == said


def test_a_number_below_its_least_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^batch-size is 0; it must be at least 1\.$"):
        make("lesson", batch_size=0)


def test_a_peer_answers_and_its_last_words_are_quoted(tmp_path: Path) -> None:
    script = tmp_path / "echo.py"
    script.write_text(ECHO, encoding="utf-8")
    peer = Peer(sys.executable, script)
    assert peer.ask({"do": "train"}) == {"heard": {"do": "train"}}
    with pytest.raises(UsageError, match=r"ended without an answer\. Its last words: no such backend "):
        peer.ask({"do": "die"})
    peer.close()


def test_a_peer_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="The peer's Python 'nowhere/python' cannot be started"):
        Peer("nowhere/python", Path("x.py"))
