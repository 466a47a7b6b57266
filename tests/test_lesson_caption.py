"""The lesson on captions: its claims hold, and what it holds out never enters training."""

from __future__ import annotations

import io

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed (extra 'train')")

from unrolled.lessons import ClaimError, Narrator, find
from unrolled.lessons import caption as lesson


def told(folder, **options):
    out = io.StringIO()
    narrator = Narrator(stream=out, folder=folder)
    return find("caption")(**options).run(narrator), out.getvalue(), narrator


def test_it_describes_things_that_it_has_never_seen(tmp_path):
    figures, text, narrator = told(tmp_path)
    assert narrator.claims == text.count("[ok]") == 5
    assert figures["known"] > 0.9
    assert figures["new"] > 0.8
    assert (tmp_path / "caption-attention.svg").read_text().startswith("<svg")


def test_a_network_that_has_learned_too_little_is_not_praised(tmp_path):
    with pytest.raises(ClaimError, match="it learns the next word"):
        told(tmp_path, pictures=200, epochs=1, units=16)


def test_pictures_show_what_their_sentences_say():
    rng = np.random.default_rng(0)
    assert {*lesson.KNOWN} & {*lesson.NEW} == set()
    assert len({color for color, _ in lesson.KNOWN}) == 6  # every colour and every shape is seen
    assert len({shape for _, shape in lesson.KNOWN}) == 4
    for new in (False, True):
        for _ in range(50):
            one = lesson.Picture.draw(rng, new)
            assert any(pair in lesson.NEW for pair in one.pairs) == new
            inked = (one.pixels < 0.75).any(-1).sum((1, 2))
            assert [i for i in range(lesson.CELLS) if inked[i] > 8] == one.where
            assert " ".join(one.sentence()).count(" and ") == len(one.where) - 1
            assert one.regions().shape == (3, 246)
