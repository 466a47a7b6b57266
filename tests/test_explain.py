"""The words that mattered, against a network whose answers can be written down."""

from __future__ import annotations

import numpy as np
import pytest

from tiny_model import logit, tiny_bundle
from unrolled import load
from unrolled.data.text import Tokenizer
from unrolled.errors import UsageError
from unrolled.explain import Influence, explain, strongest
from unrolled.tasks.sentiment import Sentiment

TEXT = "Good, GREAT film - but 𝄞 awful bad fine!"


def test_each_known_word_is_left_out_once_and_stands_where_it_was_written():
    found = explain(tiny_bundle(maxlen=20), TEXT, label="positive")
    words = ["good", "great", "film", "but", "𝄞", "awful", "bad", "fine"]
    known = [0, 1, 2, 5, 6, 7]
    assert [influence.word for influence in found] == [words[i] for i in known]
    assert [TEXT[f.start : f.end].lower() for f in found] == [words[i] for i in known]
    for influence, i in zip(found, known, strict=True):
        fall = logit(words, 20) - logit([*words[:i], "unknown", *words[i + 1 :]], 20)
        assert influence.contribution == pytest.approx(fall, abs=2e-5)


def test_the_sign_follows_the_answer():
    bundle = tiny_bundle()
    assert bundle.predict(["film bad good"])[0].label == "positive"
    bad, good = (f.contribution for f in explain(bundle, "film bad good")[1:])
    assert bad < 0 < good
    against = explain(bundle, "film bad good", label="negative")
    assert [f.contribution for f in against[1:]] == pytest.approx([-bad, -good], abs=1e-6)


def test_only_words_that_the_network_reads_are_looked_at():
    found = explain(tiny_bundle(maxlen=3), "awful awful awful good fine film")
    assert [f.word for f in found] == ["good", "fine", "film"]
    assert found[0].start == len("awful awful awful ")


def test_the_limit_takes_the_last_known_words():
    bundle = tiny_bundle(maxlen=20)
    everything = explain(bundle, TEXT)
    assert explain(bundle, TEXT, limit=2) == everything[-2:]
    assert explain(bundle, TEXT, limit=0) == []
    long = explain(tiny_bundle(maxlen=1000), "good " * 900)
    assert len(long) == 200
    assert long[0].start == 5 * 700


@pytest.mark.parametrize("text", ["", "  ...", "never seen words"])
def test_a_text_without_known_words_has_no_influences(text):
    assert explain(tiny_bundle(), text) == []


@pytest.mark.parametrize(("start_id", "unseen_id"), [(None, 2), (1, None), (None, None)])
def test_places_are_right_without_a_start_mark_and_where_unseen_words_are_left_out(start_id, unseen_id):
    bundle = tiny_bundle(maxlen=3)
    task = bundle.task
    tokenizer = Tokenizer(task.tokenizer.vocabulary, start_id=start_id, unseen_id=unseen_id)
    bundle.task = Sentiment(task.labels, tokenizer, task.network)
    text = "great what good xyz bad"
    found = explain(bundle, text)
    read = ["good", "bad"] if unseen_id is not None else ["great", "good", "bad"]
    assert [(f.word, text[f.start : f.end]) for f in found] == [(word, word) for word in read]


def test_a_certain_answer_still_has_finite_contributions():
    bundle = tiny_bundle()
    bundle.weights["2.weight"][:] = 1000
    assert [abs(f.contribution) < 40 for f in explain(bundle, "great great")] == [True, True]


def test_strongest_sorts_by_size_and_keeps_the_order_of_the_text_in_ties():
    found = [
        Influence(word, 0, 1, value) for word, value in (("a", 0.1), ("b", -2.0), ("c", 0.5), ("d", -0.5))
    ]
    assert [f.word for f in strongest(found, 3)] == ["b", "c", "d"]
    assert [f.word for f in strongest(found)] == ["b", "c", "d", "a"]


def test_wrong_requests_say_what_exists():
    with pytest.raises(UsageError, match="The model has no label 'neutral'. Its labels: negative, positive."):
        explain(tiny_bundle(), "good", label="neutral")
    with pytest.raises(UsageError, match="limit is -1; it must be 0 or more"):
        explain(tiny_bundle(), "good", limit=-1)


@pytest.mark.parametrize("name", ["reviews-small", "general"])
def test_without_its_strongest_words_the_answer_changes_more_than_without_others(data_folder, name):
    """Training reviews; five words of each replaced by the mark for unknown words: the strongest, or any five."""
    from unrolled.datasets.imdb import IMDB

    bundle, rng = load(name), np.random.default_rng(0)
    texts = IMDB(data_folder).load("train").texts[::500]
    change: dict[str, list[float]] = {"strongest": [], "any": []}
    for text in texts:
        found = explain(bundle, text)
        chosen = {"strongest": strongest(found, 5), "any": [found[i] for i in rng.permutation(len(found))[:5]]}
        (answer,) = bundle.predict([text])
        before = np.log(answer.confidence / (1 - answer.confidence))
        for how, words in chosen.items():
            less = text
            for word in sorted(words, key=lambda word: -word.start):
                less = f"{less[: word.start]}qwrtzu{less[word.end :]}"
            p = bundle.predict([less])[0].probabilities[answer.label]
            change[how].append(abs(before - np.log(p / (1 - p))))
    assert len(texts) == 50
    assert np.mean(change["strongest"]) > 3 * np.mean(change["any"])
