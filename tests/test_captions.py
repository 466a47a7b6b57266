"""Figures of captions, against those of the COCO caption evaluation and its tokenizer."""

import hashlib
import math
import os
import shutil
import sys
from pathlib import Path

import pytest

from unrolled.errors import UsageError
from unrolled.metrics import captions

# pycocoevalcap 1.2 (its tokenizer on OpenJDK 17) on the captions of Flickr8k, November 2026: a digest of the words of
# all 40,455 captions, and the first caption of each of the 1,000 test pictures against the other four.
WORDS = "040c964935b9501fcf3322c186336ba57b8a465f387952dc68969c2deb652a17"
BLEU = [0.6364127012682705, 0.4457777185666552, 0.30549035362497284, 0.20945675889555992]
ROUGE_L, CIDER = 0.4875475010364561, 0.7885967975248741


def test_words_are_split_as_the_treebank_splits_them():
    said = """A man's dog (the "big" one) doesn't wear T-shirt #28, cannot at&t; U.S. Mr. Smith o'clock..."""
    words = " ".join(captions.tokens(said))
    expected = "a man 's dog -lrb- the big one -rrb- does n't wear t-shirt # 28 can not at & t u.s. mr. smith"
    assert words == expected + " o'clock"
    assert captions.tokens(" . ") == []


@pytest.fixture(scope="module")
def flickr8k():
    folder = Path(os.environ.get("UNROLLED_DATA", "")) / "flickr8k"
    if not os.environ.get("UNROLLED_DATA") or not folder.is_dir():
        pytest.skip("UNROLLED_DATA names no folder with flickr8k")
    found: dict[str, list[list[str]]] = {}
    for line in (folder / "Flickr8k.token.txt").read_text(encoding="utf-8").splitlines():
        name, caption = line.split("\t")
        found.setdefault(name.partition("#")[0], []).append(captions.tokens(caption))
    return found, (folder / "Flickr_8k.testImages.txt").read_text().split()


def test_the_words_of_all_captions_are_those_of_the_java_program(flickr8k):
    words = [" ".join(caption) for name in sorted(flickr8k[0]) for caption in flickr8k[0][name]]
    assert len(words) == 40_455
    assert hashlib.sha256("\n".join(words).encode()).hexdigest() == WORDS


def test_figures_are_those_of_pycocoevalcap(flickr8k):
    found, names = flickr8k
    said, references = [found[name][0] for name in names], [found[name][1:] for name in names]
    assert captions.bleu(said, references) == pytest.approx(BLEU, abs=1e-9)
    assert captions.rouge_l(said, references) == pytest.approx(ROUGE_L, abs=1e-9)
    assert captions.cider(said, references) == pytest.approx(CIDER, abs=1e-9)


def test_bleu_by_hand():
    """Two of three words right, one pair of two; the nearest reference is one word longer: exp(1 - 4/3)."""
    one, two = captions.bleu([["a", "dog", "sat"]], [[["a", "dog", "ran", "home"], ["b"] * 9]], order=2)
    assert one == pytest.approx(math.exp(-1 / 3) * 2 / 3)
    assert two == pytest.approx(math.exp(-1 / 3) * math.sqrt(2 / 3 * 1 / 2))


def test_of_two_references_as_near_the_shorter_counts():
    words = ["a", "b", "c"]
    assert captions.bleu([words], [[["a", "b"], ["a", "b", "c", "d"]]], 1)[0] == pytest.approx(1.0)


def test_rouge_by_hand():
    f = captions.rouge_l([["a", "x", "b"]], [[["a", "b", "c", "d"]]])
    p, r = 2 / 3, 2 / 4
    assert f == pytest.approx((1 + 1.44) * p * r / (r + 1.44 * p))
    assert captions.rouge_l([["x"]], [[["a"]]]) == 0.0


def test_cider_rewards_what_is_rare_and_punishes_length():
    references = [[["a", "red", "dog"]], [["a", "blue", "cat"]], [["a", "green", "bird"]]]
    scorer = captions.Cider(references)
    exact, common, repeated = scorer.each([["a", "red", "dog"], ["a", "a", "a"], ["red"] * 9], [0, 0, 0])
    # Nobody has four words, so one of the four orders is 0 for everybody.
    assert exact == pytest.approx(7.5)
    assert common == 0.0
    assert 0 < repeated < 1.0


def test_empty_captions_count_as_wrong():
    assert captions.bleu([[]], [[["a"]]])[0] == pytest.approx(0.0, abs=1e-9)
    assert captions.rouge_l([[]], [[["a"]]]) == captions.cider([[]], [[["a"]]]) == 0.0


@pytest.mark.parametrize("figure", [captions.bleu, captions.rouge_l])
def test_what_does_not_fit_is_refused(figure):
    with pytest.raises(UsageError, match="There are 2 captions and 1 lists of references; give one list for each"):
        figure([["a"], ["b"]], [[["a"]]])
    with pytest.raises(UsageError, match="Picture 1 has no reference caption; give at least one"):
        figure([["a"], ["b"]], [[["a"]], []])


def test_cider_wants_a_caption_for_each_picture():
    with pytest.raises(UsageError, match="There are 2 captions for 1 pictures; give one for each"):
        captions.Cider([[["a"]]]).each([["a"], ["b"]])


def test_meteor_is_its_authors_and_none_where_their_program_is_missing(monkeypatch):
    said = ["a", "dog", "running", "on", "grass"], ["two", "children", "play"]
    references = [[["a", "brown", "dog", "runs"], ["a", "dog", "on", "the", "grass"]], [["two", "kids", "play"]]]
    with monkeypatch.context() as patch:
        patch.setattr(captions.shutil, "which", lambda name: None)
        assert captions.meteor(said, references) is None
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "pycocoevalcap.meteor.meteor", None)
        assert captions.meteor(said, references) is None
    pytest.importorskip("pycocoevalcap", reason="pycocoevalcap is not installed (extra 'meteor')")
    if not shutil.which("java"):
        pytest.skip("there is no Java")
    exact = [[words] for words in said]
    assert captions.meteor(said, exact) == pytest.approx(1, abs=0.01)
    assert 0.2 < captions.meteor(said, references) < 0.9  # "kids" is known as "children", "runs" as "running"
