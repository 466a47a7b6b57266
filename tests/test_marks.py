"""The rule "words-marks-1": the engine, the definition and the places in the text agree; rows of steps and pooling."""

from itertools import pairwise

import numpy as np
import pytest

from unrolled.data.marks import SPECIAL, MarkTokenizer, count_tokens
from unrolled.errors import BundleError, ShapeError, UsageError
from unrolled.kernels import marks, words
from unrolled.kernels.reading import RowTable, pool

EXAMPLES = {
    "I don't LIKE it!!!!": ["i", "don't", "like", "it", "!!!"],
    "a<br />b <br>c<b>": ["a", "<br>", "b", "<br>", "c", "<", "b", ">"],
    "See https://x.org/a?b and www.y.de<br>": ["see", "<url>", "and", "<url>", "<br>"],
    "@Bob_1 mailed me@home @": ["<user>", "mailed", "me", "<user>", "@"],
    "It\u2019s \u201cgood\u201d\u2026 10\u20132": ["it's", '"', "good", '"', "...", "10", "-", "2"],
    "caf\u00e9 \u041c\u0438\u0440 \u4f60\u597d \U0001f600\U0001f600 \u2764\ufe0f": [
        "caf\u00e9", "\u041c\u0438\u0440", "\u4f60\u597d", "\U0001f600", "\U0001f600", "\u2764",
    ],
    "rock'n'roll 'tis x''y '": ["rock'n'roll", "'", "tis", "x", "'", "'", "y", "'"],
    "": [],
    " \t\n\0": [],
}  # fmt: skip


def random_text(rng) -> str:
    pieces = [*"aZ09 .!?'`<>/@_#\t\n\0", "<br", "<br />", "http://", "https://a", "www.", "\u2019", "\u2026", "\u0085",
              "\u00a0", "\ufe0f", "\u00e9", "\u00df", "\u0416", "\u4f60", "\u2603", "\U0001f600", "\ufffd", "\u07ff",
              "\u0800", "\udc80"]  # fmt: skip
    return "".join(rng.choice(pieces, rng.integers(0, 40)))


@pytest.mark.parametrize("text", EXAMPLES)
def test_examples_are_split_as_the_rule_says(text):
    assert [token.decode() for token in marks.tokens(text.encode())] == EXAMPLES[text]


def test_engine_and_definition_agree():
    rng = np.random.default_rng(0)
    texts = [random_text(rng).encode("utf-8", "surrogatepass") for _ in range(3000)]
    found = marks.rewrite(texts).texts()
    assert found == [b"".join(token + b" " for token in marks.tokens(text)) for text in texts]


def test_ids_at_once_are_those_of_the_rewritten_texts():
    rng = np.random.default_rng(1)
    texts = [random_text(rng).encode("utf-8", "surrogatepass") for _ in range(2000)]
    texts += [(b"Plain Text, as long as thirty-two bytes and more; `quoted` " * 3)[k:] for k in range(60)]
    listed = sorted({token for text in texts for token in marks.tokens(text)})[::2]
    table = words.WordTable(listed, np.arange(5, 5 + len(listed), dtype=np.int32), marks.FOLD)
    ids, offsets = marks.encode(table, texts, unseen=1)
    wanted, places = table.encode(marks.rewrite(texts), unseen=1)
    np.testing.assert_array_equal(offsets, places)
    np.testing.assert_array_equal(ids, wanted)
    known = {token: 5 + i for i, token in enumerate(listed)}
    assert ids.tolist() == [known.get(token, 1) for text in texts for token in marks.tokens(text)]


def test_bytes_that_are_no_text_end_nowhere_else():
    broken = [
        b"\xe2",
        b"\xe2\x80",
        b"a\xc3",
        b"\xf0\x9f",
        b"\xff\xfe a",
        b"<br",
        b"http:/",
        b"@",
        b"x'",
        b"\xef\xb8",
    ]
    assert marks.rewrite(broken).texts() == [
        b"".join(token + b" " for token in marks.tokens(text)) for text in broken
    ]


def test_spans_point_at_what_was_written():
    rng = np.random.default_rng(1)
    tokenizer = MarkTokenizer(SPECIAL)
    for text in [*EXAMPLES, *(random_text(rng) for _ in range(300))]:
        spans = tokenizer.token_spans(text)
        assert len(spans) == len(tokenizer.encode([text])[0])
        assert all(a.end <= b.start for a, b in pairwise(spans))
    span = tokenizer.token_spans("No, it\u2019s \U0001f600 BAD")[-1]
    assert span == ("bad", 11, 14)
    assert [s.word for s in tokenizer.token_spans("It\u2019s\u2026")] == ["it's", "..."]


def test_ids_are_places_in_the_list_and_aliases_lead_there():
    tokenizer = MarkTokenizer([*SPECIAL, ".", "good", "<url>"], {"http": "<url>"})
    assert tokenizer.encode(["Good film. http www.a.b", ""])[0].tolist() == [4, 1, 3, 5, 5]
    again = MarkTokenizer.from_dict(tokenizer.to_dict())
    assert again.encode(["http"])[0].tolist() == [5]
    assert tokenizer.says.tolist() == [False, False, False, False, True, False]
    with pytest.raises(BundleError, match="The words begin with a, b; expected <pad>, <unk>, <start>"):
        MarkTokenizer(["a", "b"])
    with pytest.raises(BundleError, match="An alias leads to 'x'"):
        MarkTokenizer(SPECIAL, {"y": "x"})
    with pytest.raises(BundleError, match="needs 'words', a list of texts"):
        MarkTokenizer.from_dict({"words": [1]})


def test_a_vocabulary_is_counted_by_frequency():
    texts = ["b b. a", "b a!", "c"]
    assert list(count_tokens(texts).items()) == [("b", 3), ("a", 2), ("!", 1), (".", 1), ("c", 1)]
    assert MarkTokenizer.build(texts, num_words=5).words == (*SPECIAL, "b", "a")
    assert MarkTokenizer.build(texts, num_words=50, least=2).words == (*SPECIAL, "b", "a")


def table(rng, size=5, step=3, listed=True):
    pairs = np.sort(rng.choice(81, 30 * listed, replace=False)).astype(np.uint32)
    rows = rng.integers(-127, 128, (9 + len(pairs), size)).astype(np.int8)
    scale, weights = rng.random(len(rows)).astype(np.float32), rng.random((len(rows), 2)).astype(np.float32)
    return RowTable(rows, scale, weights, pairs, step), rows * scale[:, None], weights, pairs.tolist()


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("engine", [True, False])
def test_steps_are_sums_of_the_rows_of_tokens_and_pairs(engine, listed, monkeypatch):
    if not engine:
        monkeypatch.setattr("unrolled.kernels.reading.engine", lambda: None)
    rng = np.random.default_rng(2)
    rows, values, weights, pairs = table(rng, listed=listed)
    texts = [rng.integers(0, 9, n) for n in (7, 0, 1, 3, 200)]
    found = rows.read(np.concatenate(texts), np.cumsum([0, *map(len, texts)]))
    assert found.lengths.tolist() == [3, 0, 1, 1, 67]
    for text, ids in enumerate(texts):
        x, total = np.zeros((67, 5)), np.zeros(2)
        for i, token in enumerate(ids.tolist()):
            asked = [token]
            key = int(ids[i - 1]) * 9 + token
            if i and key in pairs:
                asked.append(9 + pairs.index(key))
            for row in asked:
                x[i // 3] += values[row]
                total += weights[row]
        n = found.lengths[text]
        np.testing.assert_allclose(found.x[text, :n], x[:n], rtol=1e-5, atol=1e-4)
        np.testing.assert_allclose(found.weights[text], total, rtol=1e-5)
    with pytest.raises(UsageError, match="A token id is outside 0 to 8"):
        rows.read(np.array([9]), np.array([0, 1]))


def test_a_table_whose_arrays_do_not_fit_is_refused():
    with pytest.raises(ShapeError, match=r"scale \(3,\).*expected \(V \+ M, D\)"):
        RowTable(np.zeros((4, 2), np.int8), np.ones(3), np.ones((4, 1)), np.zeros(1, np.uint32), 2)


def test_pooling_is_mean_and_maximum_of_the_steps_that_exist():
    x = np.random.default_rng(3).normal(size=(4, 6, 37)).astype(np.float32)
    lengths = np.array([6, 0, 1, 4])
    mean, most = pool(x, lengths)
    for row, n in enumerate(lengths):
        np.testing.assert_allclose(mean[row], x[row, :n].mean(0) if n else 0, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(most[row], x[row, :n].max(0) if n else 0)
    np.testing.assert_array_equal(pool(x)[1], x.max(1))
    with pytest.raises(UsageError, match="A length is outside 0 to 6"):
        pool(x, np.array([1, 2, 3, 7]))


def test_joined_texts_come_apart_again():
    texts = [b"ab", b"", b"c d"]
    assert words.join(texts).texts() == texts
