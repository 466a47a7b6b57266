"""Shelves: things are found by the name of their file, and a wrong name is answered with the nearest."""

from __future__ import annotations

import pytest

from unrolled import errors, shelf
from unrolled.datasets import Dataset
from unrolled.lessons import Lesson


def test_names_are_file_names():
    assert {"hello", "imdb", "unroll"} <= set(shelf.names("lessons"))
    assert not any(name.startswith("_") for name in shelf.names("bench"))


def test_a_thing_is_found_by_its_name_in_any_case():
    assert shelf.find("lessons", " Hello ", Lesson).__name__ == "Hello"


@pytest.mark.parametrize(
    ("shelf_name", "name", "contract", "sentence"),
    [
        (
            "lessons",
            "helo",
            Lesson,
            "There is no lesson called 'helo'. Did you mean 'hello'? "
            "Known: caption, gates, hello, imdb, order, series, shapes, unroll.",
        ),
        ("datasets", "xyz", Dataset, "There is no dataset called 'xyz'. Known: files, flickr8k, imdb."),
    ],
)
def test_a_wrong_name_is_answered_with_the_nearest(shelf_name, name, contract, sentence):
    with pytest.raises(errors.UnknownNameError) as caught:
        shelf.find(shelf_name, name, contract)
    assert str(caught.value) == sentence


def test_a_file_with_no_such_class_is_a_mistake_of_ours():
    with pytest.raises(TypeError, match="must define exactly one Dataset, found 0"):
        shelf.find("lessons", "hello", Dataset)


def test_a_missing_extra_names_the_command():
    with pytest.raises(errors.MissingExtraError) as caught:
        errors.need("no_such_package", "train", "Training")
    assert str(caught.value) == (
        "Training needs the package 'no_such_package', which is not installed. "
        'Install it with: pip install "unrolled[train]" -c constraints.txt'
    )
    assert isinstance(caught.value, ImportError)
    assert isinstance(caught.value, errors.UsageError)


def test_a_package_that_is_there_is_imported():
    assert errors.need("json", "train", "Reading").loads("1") == 1
