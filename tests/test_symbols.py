"""Text to symbols and back, at every level, with what the training text did not hold."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.data.symbols import Symbols
from unrolled.errors import BundleError, UsageError

TEXT = "The cat sat. The dog's cat, a Dog, sat!\nNaïve cats sat on naïve dogs.\n"


@given(st.text())
def test_bytes_give_back_every_text(text):
    symbols = Symbols("byte")
    assert symbols.unknown is None
    assert symbols.decode(symbols.encode(text)) == text.encode("utf-8", "surrogatepass").decode(
        "utf-8", "replace"
    )


@given(st.text(alphabet=st.characters(codec="utf-8"), min_size=1))
def test_characters_give_back_the_text_they_were_built_from(text):
    symbols = Symbols.build([text.replace("\ufffd", "")], "char")
    known = text.replace("\ufffd", "")
    assert symbols.decode(symbols.encode(known)) == known
    assert list(symbols.names[:-1]) == sorted(set(known))


def test_a_stranger_is_read_as_its_nearest_kin():
    symbols = Symbols.build(["abcE "], "char")
    assert symbols.decode(symbols.encode("Abé—\t")) == "abE\ufffd "
    assert symbols.strangers("a—b—☃") == ["—", "☃"]
    words = Symbols.build([TEXT], "word")
    assert words.decode(words.encode("the Cat sat")) == " The cat sat".strip()
    assert words.strangers("The cat yawned.") == ["yawned"]
    assert words.encode("yawned").tolist() == [words.unknown]


def test_words_that_occur_once_are_the_unknown_word():
    words = Symbols.build([TEXT], "word")
    assert set(words.names) == {"The", "cat", "sat", ".", ",", "\n", "<unk>"}
    assert words.names[-1] == "<unk>"
    assert Symbols.build([TEXT], "word", most=2).names == ("sat", "The", "<unk>")


def test_a_text_of_spaced_tokens_is_split_at_spaces_only():
    text = " the <unk> , which was 3 @.@ 5 , is gone . \n the <unk> , is gone . \n"
    symbols = Symbols.build([text], "word")
    assert symbols.rule == "spaced"
    assert symbols.pieces(text)[:8] == ["the", "<unk>", ",", "which", "was", "3", "@.@", "5"]
    assert symbols.decode(symbols.encode("the <unk> , is gone .\n")) == "the <unk> , is gone .\n"
    assert symbols.strangers("<unk>") == ["<unk>"]


def test_words_are_written_with_the_spaces_of_prose():
    symbols = Symbols("word", ["Well", ",", "(", "said", "he", ")", "don't", "!", "\n"], "words")
    text = "Well, (he said) don't!\nWell"
    assert symbols.decode(symbols.encode(text)) == text
    write = symbols.writer(symbols.encode("he")[0])
    assert write(int(symbols.encode("said")[0])) == " said"


def test_bytes_are_written_only_when_a_character_is_whole():
    symbols = Symbols("byte")
    assert list(symbols.stream(symbols.encode("é!"))) == ["", "é", "!", ""]
    assert list(symbols.stream([0xC3])) == ["", "\ufffd"]


def test_they_are_stored_as_plain_data():
    for level in ("char", "byte", "word"):
        symbols = Symbols.build([TEXT], level)
        again = Symbols.from_dict(symbols.to_dict())
        assert (again.names, again.level, again.rule) == (symbols.names, symbols.level, symbols.rule)
        np.testing.assert_array_equal(again.encode(TEXT), symbols.encode(TEXT))


def test_what_cannot_be_is_refused():
    with pytest.raises(UsageError, match="The level is 'chars'; it must be one of char, byte, word"):
        Symbols("chars")
    with pytest.raises(UsageError, match="A symbol stands twice"):
        Symbols("char", "aa")
    with pytest.raises(UsageError, match="The rule '' does not fit the level word"):
        Symbols("word", ["a"])
    with pytest.raises(BundleError, match="'names' are 'None'; a list of texts was expected"):
        Symbols.from_dict({"level": "char"})
    with pytest.raises(BundleError, match="The symbols cannot be read: The level is ''"):
        Symbols.from_dict({"names": []})
