"""The shelf of lessons keeps its contract, and what a lesson claims is so, for any seed."""

from __future__ import annotations

import dataclasses
import inspect
import io
import json
import webbrowser
from pathlib import Path

import numpy as np
import pytest

from unrolled import shelf
from unrolled.drawing import Drawing
from unrolled.errors import UnknownNameError, UnrolledError, UsageError
from unrolled.lessons import ClaimError, Lesson, Narrator, find, hello, numbers, option, unroll

BASE = [name for name in shelf.names("lessons") if not find(name).needs]
SMALL = {
    "gates": {"far": 30, "updates": 300},
    "order": {"generated": True, "reviews": 30},
    "series": {"updates": 300},
    "shapes": {"units": 40, "days": 200},
    "unroll": {"inputs": 1, "hidden": 2, "outputs": 1, "layers": 2, "phrases": 1, "window": 1, "units": 48},
}


class Keyboard(io.StringIO):
    """A stream of key presses that may be a terminal."""

    def __init__(self, keys: str, terminal: bool) -> None:
        super().__init__(keys)
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


@pytest.fixture
def said(tmp_path) -> Narrator:
    return Narrator(stream=io.StringIO(), folder=tmp_path)


def run(name: str, folder: Path, **options: object) -> tuple[dict[str, object], str, Narrator]:
    stream = io.StringIO()
    say = Narrator(stream=stream, folder=folder)
    return find(name)(**options).run(say), stream.getvalue(), say


@pytest.mark.parametrize("name", shelf.names("lessons"))
def test_every_lesson_keeps_the_contract(name):
    lesson = find(name)
    assert lesson.title
    assert lesson.minutes
    assert isinstance(lesson.needs, tuple)
    assert all(find(alias) is lesson for alias in lesson.aliases)
    assert inspect.getdoc(lesson)
    entries = dataclasses.fields(lesson)
    assert entries[0].name == "seed"
    for entry in entries:
        assert entry.metadata["help"], entry.name
        assert type(entry.default) in (int, float, str, bool), entry.name
        for bound in ("least", "most"):
            assert entry.metadata[bound] is None or isinstance(entry.metadata[bound], (int, float))


@pytest.mark.parametrize("name", BASE)
@pytest.mark.parametrize("seed", [0, 7])
def test_a_lesson_shows_what_it_claims(name, seed, tmp_path):
    figures, printed, say = run(name, tmp_path, seed=seed, **SMALL.get(name, {}))
    assert json.loads(json.dumps(figures)) == figures
    assert say.claims == printed.count("the text says") == printed.count("[ok]") > 2
    pictures = sorted(tmp_path.glob("*.svg"))
    assert pictures
    assert all(str(path) in printed for path in pictures)


@pytest.mark.parametrize("name", BASE)
def test_a_lesson_with_the_same_seed_says_the_same(name, tmp_path):
    first, again, other = (run(name, tmp_path, seed=seed, **SMALL.get(name, {}))[1] for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_lessons_of_the_base_install_load_no_torch(run_python):
    source = "import sys; from unrolled.lessons import find; find('unroll'); print('torch' in sys.modules)"
    assert run_python(source).stdout.strip() == "False"


def test_an_unknown_lesson_is_answered_with_the_nearest():
    with pytest.raises(UnknownNameError, match="There is no lesson called 'helo'. Did you mean 'hello'?"):
        find("helo")


def test_an_alias_is_as_good_as_a_name():
    assert find("MLP") is find("unroll")


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("hello", {"hidden": 1}, "hidden is 1; it must be at least 3."),
        ("unroll", {"phrases": 4}, "phrases is 4; it must be at most 3."),
        ("hello", {"seed": -1}, "seed is -1; it must be at least 0."),
    ],
)
def test_sizes_that_make_no_sense_are_refused(name, options, sentence):
    with pytest.raises(UsageError, match=sentence):
        find(name)(**options)


# ---- hello ----


def test_hello_gradients_agree_with_small_changes():
    network = hello.Network(4, np.random.default_rng(5))
    _, gradients = network.gradients("hell", "ello")
    for weights, gradient in zip((network.w_xh, network.w_hh, network.w_hy), gradients, strict=True):
        for place in np.ndindex(weights.shape):
            kept, losses = weights[place], []
            for nudge in (1e-6, -1e-6):
                weights[place] = kept + nudge
                losses.append(network.gradients("hell", "ello")[0])
            weights[place] = kept
            assert gradient[place] == pytest.approx((losses[0] - losses[1]) / 2e-6, abs=1e-8)


def test_hello_states_follow_the_formulas():
    network = hello.Network(3, np.random.default_rng(1))
    h = np.zeros(3)
    for letter, step in zip("hell", network.read(hello.one_hot("hell")), strict=True):
        h = np.tanh(network.w_hh @ h + network.w_xh[:, "helo".index(letter)])
        np.testing.assert_allclose(step.h, h, rtol=1e-14)
        np.testing.assert_allclose(step.y, network.w_hy @ h, rtol=1e-14)


def test_hello_refuses_to_call_a_network_right_that_is_not(said, monkeypatch):
    monkeypatch.setattr(hello, "train", lambda *_args, **_options: [1.0])
    with pytest.raises(ClaimError, match="after h, e, l, l comes o"):
        find("hello")(seed=0).run(said)


def test_hello_notices_a_network_without_memory(said, monkeypatch):
    monkeypatch.setattr(
        hello, "derivative_of_last_state", lambda network, _: np.zeros((len(network.w_hh), 4))
    )
    with pytest.raises(ClaimError, match="the last state still depends on the first letter"):
        find("hello")().run(said)


# ---- unroll ----


@pytest.fixture
def pair() -> tuple[unroll.NextWord, unroll.NextWord, np.ndarray]:
    """A recurrent network, a window MLP, and ids of sentences (B, T)."""
    rng = np.random.default_rng(2)
    made = unroll.make_sentences(rng, 1, 4)
    return (
        unroll.NextWord(rng, 5, 1, True),
        unroll.NextWord(rng, 5, 3, False),
        made.reshape(-1, made.shape[-1]),
    )


def test_unroll_sentences_end_as_they_begin():
    made = unroll.make_sentences(np.random.default_rng(0), 2, 30)
    assert made.shape == (30, 4, 10)
    for four in made:
        assert [unroll.SOUNDS[unroll.WORDS[sentence[0]]] for sentence in four] == list(
            unroll.WORDS[four[:, -1]]
        )
        assert (four[:, 1:-1] == four[0, 1:-1]).all(), "the middle is the same for all animals"
    assert len({tuple(four[0]) for four in made}) == 30


def test_unroll_next_word_learns_along_its_gradient(pair):
    for network in pair[:2]:
        before, squares = {k: v.copy() for k, v in network.weights.items()}, {}

        def loss(network: unroll.NextWord = network) -> float:
            p = network.probabilities(network.states(pair[2][:, :-1]))
            return -float(np.log(np.take_along_axis(p, pair[2][:, 1:, None], 2)).sum())

        network.learn(pair[2])
        squares = {k: np.sqrt(v / 0.1) for k, v in network.squares.items()}
        network.weights = before
        for name, weights in before.items():
            for place in list(np.ndindex(weights.shape))[:: max(1, weights.size // 12)]:
                kept, losses = weights[place], []
                for nudge in (1e-5, -1e-5):
                    weights[place] = kept + nudge
                    losses.append(loss())
                weights[place] = kept
                assert squares[name][place] == pytest.approx(abs(losses[0] - losses[1]) / 2e-5, abs=1e-5), (
                    name
                )


def test_unroll_window_sees_no_more_than_its_words(pair):
    _, mlp, sentences = pair
    changed = sentences.copy()
    changed[:, 0] = unroll.ID["the"]
    before, after = mlp.states(sentences), mlp.states(changed)
    assert (before[:, :3] != after[:, :3]).any()
    np.testing.assert_array_equal(before[:, 3:], after[:, 3:])


def test_unroll_layers_agree_with_their_experiment():
    rng = np.random.default_rng(4)
    layer, xs, h = unroll.new_layer(rng, 3, 5), list(rng.normal(size=(4, 2))), np.zeros(3)
    each = unroll.gradient_of_each_layer([layer] * 4, xs, h, np.ones(3))
    one = unroll.gradient_of_shared_layer(layer, lambda it: unroll.rolled(it, xs, h)[-1].sum())
    assert np.abs(sum(g.w for g in each) - one.w).max() < 1e-12
    assert np.abs(each[0].w - one.w).max() > 1e-3, "one layer's part is not the whole"


def test_unroll_notices_a_gradient_that_does_not_add_up(said, monkeypatch):
    right = unroll.gradient_of_each_layer
    monkeypatch.setattr(unroll, "gradient_of_each_layer", lambda *args: right(*args)[1:])
    with pytest.raises(ClaimError, match="the gradient of a shared weight is the sum"):
        find("unroll")(**SMALL["unroll"]).run(said)


def test_unroll_notices_a_window_that_sees_the_first_word(said, monkeypatch):
    build = unroll.NextWord.__init__
    monkeypatch.setattr(
        unroll.NextWord, "__init__", lambda it, rng, units, window, memory: build(it, rng, units, 9, memory)
    )
    with pytest.raises(ClaimError, match="cannot know"):
        find("unroll")(**SMALL["unroll"] | {"phrases": 1}).run(said)


# ---- the narrator ----


def test_a_claim_puts_text_and_run_beside_each_other(said):
    said.claim("two and two are four", "4", True)
    lines = said.stream.getvalue().splitlines()
    assert lines == ["  the text says  two and two are four", "  you see        4  [ok]"]


def test_a_claim_that_does_not_hold_ends_the_lesson(said):
    sentence = "The text says: two and two are five. But this run shows: 4."
    with pytest.raises(ClaimError, match=sentence) as raised:
        said.claim("two and two are five", "4", False)
    assert isinstance(raised.value, UnrolledError)
    assert isinstance(raised.value, AssertionError)
    assert "4  [NOT SO]" in said.stream.getvalue()


def test_a_stream_without_unicode_gets_plain_letters(tmp_path):
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="cp1252")
    say = Narrator(stream=stream, folder=tmp_path)
    say("∂h/∂x → 0 ≤ 1, a cat \N{CAT FACE}")
    stream.flush()
    assert raw.getvalue().decode("cp1252").strip() == "dh/dx -> 0 <= 1, a cat ?"


@pytest.mark.parametrize("name", BASE)
def test_lessons_survive_a_redirected_cp1252_console(name, run_python, tmp_path):
    source = (
        "import sys; from pathlib import Path; from unrolled.lessons import Narrator, find\n"
        f"find({name!r})(**{SMALL.get(name, {})}).run(Narrator(folder=Path(sys.argv[1])))"
    )
    assert "[ok]" in run_python(source, str(tmp_path), PYTHONIOENCODING="cp1252").stdout


@pytest.mark.parametrize(
    ("pause", "terminal", "pressed"), [(True, True, 2), (True, False, 0), (False, True, 0)]
)
def test_steps_wait_for_enter_only_where_someone_can_press_it(pause, terminal, pressed, tmp_path):
    keyboard = Keyboard("\n\n\n", terminal)
    say = Narrator(stream=io.StringIO(), folder=tmp_path, pause=pause, keyboard=keyboard)
    say.step("One")
    say.step("Two")
    assert keyboard.tell() == pressed
    assert say.stream.getvalue().count("[Enter]") == pressed


@pytest.mark.parametrize("show", [True, False])
def test_a_picture_is_saved_named_and_opened_on_request(show, tmp_path, monkeypatch):
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    say = Narrator(stream=io.StringIO(), folder=tmp_path / "new", show=show)
    path = say.picture("name", Drawing(10, 10, "empty"))
    assert path.read_text(encoding="utf-8").startswith("<svg")
    assert str(path) in say.stream.getvalue()
    assert opened == ([path.as_uri()] if show else [])


def test_paragraphs_are_filled_and_tables_aligned(said):
    said("word " * 60)
    said.table(["a", "longer"], [(1, "x"), ("wide", 2)])
    lines = said.stream.getvalue().splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[-3:] == ["  a     longer", "  1     x", "  wide  2"]


def test_numbers_are_one_line():
    assert numbers([0.123, -4]) == "[+0.12 -4.00]"


def test_an_option_carries_its_help_and_bounds():
    @dataclasses.dataclass
    class Short(Lesson):
        some_size: int = option(2, "A size.", least=1, most=3)

        def run(self, say: Narrator) -> dict[str, object]:
            return {}

    assert dataclasses.fields(Short)[1].metadata == {"help": "A size.", "least": 1, "most": 3}
    with pytest.raises(UsageError, match="some-size is 4; it must be at most 3."):
        Short(some_size=4)


def test_order_prints_gaps_as_measured(tmp_path):
    found, text, _ = run("order", tmp_path, generated=True, reviews=40)
    assert set(found["gaps"]) == {"reviews", "reviews-small", "bag of words"}
    assert found["gaps"]["bag of words"] == 0
    assert found["both_right"]["bag of words"] == 0
    assert "+0.0 points" in text
