"""Language models end to end: learned, written, scored, refused; through Python and the command line."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from unrolled import cli
from unrolled.bundle import Bundle
from unrolled.errors import BundleError, DataError, UsageError
from unrolled.language import LanguageModel, corpus, scoring, writing
from unrolled.language.copied import copied
from unrolled.language.plan import plan
from unrolled.tasks.language import Language

RHYME = "the cat sat on the mat and the dog sat on the log\nall of them sang a song the whole day long\n"


def text(rng: np.random.Generator, lines: int) -> str:
    """Lines of a small grammar: some of it can be learned, some cannot."""
    who, what = ("cat", "dog", "hen", "old cow"), ("sat on", "ran to", "saw")
    return "".join(f"the {rng.choice(who)} {rng.choice(what)} the {rng.choice(who)}.\n" for _ in range(lines))


@pytest.fixture
def story(rng: np.random.Generator, tmp_path: Path) -> Path:
    path = tmp_path / "story.txt"
    path.write_text(text(rng, 800))
    return path


@pytest.fixture
def counted() -> LanguageModel:
    return LanguageModel().fit([RHYME * 3])


def trained(path: Path, level: str = "char", steps: int = 60, **options: object) -> LanguageModel:
    pytest.importorskip("torch", reason="torch is not installed (extra 'train')")
    return LanguageModel(level, steps=steps, units=32).fit(path, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("level", ["char", "byte", "word"])
def test_the_network_learns_and_answers_alike_on_disk(
    level: str, story: Path, rng: np.random.Generator
) -> None:
    model = trained(story, level, 40)
    new = text(rng, 60)
    network, counting, both = model.score(new)
    assert [s.method for s in (network, counting, both)] == ["network", "counting", "network and counting"]
    assert network.nats < 0.9 * np.log(len(model.task.symbols))
    assert model.bundle
    assert "| pass over the text | loss in training | held out |\n|---|---|---|\n| 1 |" in model.bundle.card
    model.save(story.parent / "run")
    loaded = LanguageModel.load(story.parent / "run")
    np.testing.assert_array_equal(loaded.score(new)[0].logs, network.logs)
    assert loaded.generate("the ", seed=3) == model.generate("the ", seed=3)


def test_the_state_is_carried_over_the_whole_text(story: Path) -> None:
    """Scoring reads in chunks; stepping and torch say the same of every symbol."""
    torch = pytest.importorskip("torch")
    from unrolled.language import learn
    from unrolled.language.reading import CHUNK

    model = trained(story)
    said = story.read_text()[: CHUNK + 200]
    logs = model.score(said)[0].logs
    tokens = model.task.symbols.encode(said)
    voice = model._voice(tokens[:1].tolist())
    stepped = []
    for token in tokens[1:].tolist():
        stepped.append(float(np.log(voice.following()[token])))
        voice = voice.after(token)
    np.testing.assert_allclose(logs, stepped, atol=2e-4)
    assert model.bundle
    reader = learn.reader(model.task.network, model.bundle.weights, np.ones(len(model.task.symbols))).eval()
    with torch.no_grad():
        losses = [
            float(reader.loss(reader.logits(x), y)) * y.numel()
            for x, y in learn.streams(tokens, 1, 100).batches(1)
        ]
    assert sum(losses) == pytest.approx(-logs.sum(), rel=1e-4)


def test_windows_are_read_from_nothing(story: Path) -> None:
    model = trained(story)
    said = story.read_text()[:321]
    (found,) = model.score(said, window=64)
    apart = [model.score(said[i : i + 65])[0].logs for i in range(0, 320, 64)]
    np.testing.assert_allclose(found.logs, np.concatenate(apart), atol=1e-4)


def test_streams_meet_every_symbol_once_an_epoch() -> None:
    pytest.importorskip("torch")
    from unrolled.language.learn import streams

    cut = streams(np.arange(1001), 4, 64)
    for epoch in (0, 5):
        seen = [(x, y) for x, y in cut.batches(4, cut.order(1, epoch))]
        assert len(seen) == cut.count(4)
        assert sorted(np.concatenate([x.numpy().ravel() for x, _ in seen])) == list(range(1000))
        assert all(bool((y == x + 1).all()) for x, y in seen)
        for (x, _), (after, _) in itertools.pairwise(seen):
            np.testing.assert_array_equal((x[:, -1] + 1) % 1000, after[:, 0])
    first, again = (next(iter(cut.batches(4, cut.order(1, 5), n)))[0] for n in (0, 2))
    np.testing.assert_array_equal((first[:, 0] + 128) % 1000, again[:, 0])


def test_sampled_loss_estimates_the_whole_sum() -> None:
    torch = pytest.importorskip("torch")
    from unrolled.language.learn import CHOICES, reader
    from unrolled.tasks.language import layers_of

    torch.manual_seed(0)
    size = 3 * CHOICES
    network = layers_of(size, 8, 16, words=True)
    made = reader(network, network.initial(0), np.arange(size))
    assert made[0].weight is made[-1].weight
    x, y = torch.randint(size, (4, 8)), torch.randint(size, (4, 8))
    with torch.no_grad():
        h = made.eval().logits(x)
        whole = float(made.loss(h, y))
        sampled = np.mean([float(made.train().loss(h, y)) for _ in range(30)])
    assert sampled == pytest.approx(whole, abs=0.01)


def test_an_interrupted_run_ends_as_one_left_alone(story: Path, tmp_path: Path) -> None:
    whole = trained(story, steps=30)

    class Stop(Exception):
        pass

    def stop(now, config, symbols):  # type: ignore[no-untyped-def]
        if now.steps == 17:
            raise Stop

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("unrolled.train.SAVE_EVERY", 0.0)
        with pytest.raises(Stop):
            trained(story, steps=30, folder=tmp_path / "run", on_batch=stop)
    with pytest.raises(UsageError, match=r"holds a run already\. Continue it with --resume"):
        trained(story, steps=30, folder=tmp_path / "run")
    resumed = trained(story, steps=30, folder=tmp_path / "run", resume=True)
    assert whole.bundle
    assert resumed.bundle
    for name, value in whole.bundle.weights.items():
        np.testing.assert_array_equal(resumed.bundle.weights[name], value)
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == [
        "card.md",
        "config.toml",
        "task.json",
        "weights.safetensors",
    ]


def test_a_trained_model_goes_on_with_new_text(story: Path, tmp_path: Path) -> None:
    model = trained(story)
    before, symbols = model.score(RHYME * 3)[0].nats, model.task.symbols
    model.fit([RHYME * 60])
    assert model.task.symbols is symbols
    assert model.score(RHYME * 3)[0].nats < before


def test_a_tiny_text_is_counted(counted: LanguageModel) -> None:
    assert counted.note == (
        "The text has 271 symbols, too few for a network to learn from (it takes 5,000): a model that counts answers."
    )
    assert [s.method for s in counted.score(RHYME)] == ["counting"]
    assert counted.generate("the cat", length=12, temperature=0) == [" sat on the "]
    assert [word for word, _ in counted.predict_next("the ", 2)] == ["cat", "dog"]


@pytest.mark.parametrize(
    ("given", "message"), [([""], "fewer than two symbols"), ([], "fewer than two symbols")]
)
def test_no_text_is_refused(given: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        LanguageModel().fit(given)


def test_files_that_hold_no_text_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"")
    (tmp_path / "b.bin").write_bytes(b"\x00\x01\x02" * 50)
    with pytest.raises(DataError, match=r"a\.txt is empty\. Give a file or a folder with text\."):
        list(corpus.blocks(tmp_path / "a.txt"))
    with pytest.raises(
        DataError, match=r"b\.bin holds a NUL character\. A language model reads plain text\."
    ):
        list(corpus.blocks(tmp_path / "b.bin"))
    (tmp_path / "c").mkdir()
    with pytest.raises(DataError, match=r"holds no text files \(\.txt, \.text, \.md\)"):
        list(corpus.blocks(tmp_path / "c"))
    with pytest.raises(DataError, match=r"There is no file or folder .*nowhere"):
        list(corpus.blocks(tmp_path / "nowhere"))


def test_a_folder_is_read_by_name_and_line_ends_are_one(tmp_path: Path) -> None:
    (tmp_path / "2.txt").write_bytes(b"two\r\n")
    (tmp_path / "1.txt").write_bytes(b"one\n")
    assert "".join(corpus.blocks(tmp_path)) == "one\ntwo\n"


def test_drawing_keeps_what_it_is_told() -> None:
    p, rng = np.array([0.5, 0.3, 0.15, 0.05]), np.random.default_rng(0)

    def drawn(**options: float) -> set[int]:
        way = writing.Drawing(**options)  # type: ignore[arg-type]
        return {way.choose(p, [0], rng) for _ in range(300)}

    assert drawn(temperature=1) == {0, 1, 2, 3}
    assert drawn(temperature=1, top_k=2) == {0, 1}
    assert drawn(temperature=1, top_p=0.75) == {0, 1}
    assert drawn(temperature=1, top_p=0) == {0}
    assert drawn(temperature=0) == {0}
    assert drawn(temperature=0, repetition_penalty=2) == {1}
    with pytest.raises(UsageError, match=r"top-p is 1\.5; it must be at most 1\."):
        writing.Drawing(top_p=1.5)


def test_chance_follows_probabilities_and_temperature() -> None:
    p, rng = np.array([0.6, 0.3, 0.1]), np.random.default_rng(1)
    for temperature, wanted in ((1.0, p), (0.5, p**2 / (p**2).sum())):
        way = writing.Drawing(temperature=temperature)
        found = np.bincount([way.choose(p, [], rng) for _ in range(4000)], minlength=3) / 4000
        np.testing.assert_allclose(found, wanted, atol=0.03)


def test_writing_ends_before_the_stop() -> None:
    assert list(writing.until("END", iter(["ab", "cE", "N", "x", "EN", "D", "no"]))) == ["ab", "c", "ENx", ""]
    assert "".join(writing.until("", iter(["a", "b"]))) == "ab"
    assert "".join(writing.until("ab", iter(["xa"]))) == "xa"


def test_unknown_symbols_are_read_and_never_written(counted: LanguageModel) -> None:
    (out,) = counted.generate("the \u4e16 cat", length=200, temperature=3, seed=1)
    assert "\ufffd" not in out
    assert len(out) == 200


def test_words_that_characters_may_become(story: Path) -> None:
    """Beam search finds what spelling out every word by the network gives."""
    model = trained(story)
    found = dict(model.predict_next("the ", 3))
    voice = model._voice(model.task.symbols.encode("the ").tolist())
    for word, probability in found.items():
        p, at = 1.0, voice
        for token in model.task.symbols.encode(word).tolist():
            p, at = p * float(at.following()[token]), at.after(token)
        ends = [i for i, name in enumerate(model.task.symbols.names) if not name.isalpha()]
        assert probability == pytest.approx(p * at.following()[ends].sum(), rel=1e-4)
    assert model.predict_next("the", 3) == model.predict_next("the ", 3)
    assert list(found.values()) == sorted(found.values(), reverse=True)


def test_what_is_copied_is_found() -> None:
    training = np.array([1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 0, 0])
    report = copied(np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9]), training)
    assert (report.longest, report.begins, report.share) == (9, 1, 0.5)
    assert str(report) == (
        "longest run copied from the training text: 9 of 11 symbols; 50.0% of its runs of 8 symbols stand there"
    )
    assert copied(np.array([], int), training).longest == 0


def test_shares_of_mixtures() -> None:
    rng = np.random.default_rng(0)
    good, bad = np.log(rng.uniform(0.3, 0.9, 2000)), np.log(rng.uniform(0.01, 0.2, 2000))
    assert scoring.fitted_share(good, bad) > 0.99
    half = np.where(np.arange(2000) % 2, good, bad), np.where(np.arange(2000) % 2, bad, good)
    assert scoring.fitted_share(*half) == pytest.approx(0.5, abs=0.02)
    assert scoring.followed((good, bad), (0.5, 0.5)).mean() > scoring.mixed((good, bad), (0.5, 0.5)).mean()


def test_adapting_learns_what_repeats_and_leaves_the_model_alone(story: Path) -> None:
    model = trained(story)
    assert model.bundle
    before = {name: value.copy() for name, value in model.bundle.weights.items()}
    said = "the hen and the dog and the hen and the dog.\n" * 20
    static, adaptive = model.score(said), model.score(said, adaptive=True)
    assert [s.adaptive for s in adaptive] == [True] * 3
    for still, moved in zip(static, adaptive, strict=True):
        assert moved.method == still.method
        assert moved.nats < still.nats
    for name, value in before.items():
        np.testing.assert_array_equal(model.bundle.weights[name], value)


def test_a_weight_whose_usual_gradient_is_nothing_is_not_thrown_far(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    """As those of rare words are in the part of the training text that is measured."""
    rare = [f"name{i}" for i in range(300)]
    (tmp_path / "long.txt").write_text(text(rng, 1300) + " ".join(2 * rare))
    model = trained(tmp_path / "long.txt", "word")
    from unrolled.language import adapt, learn

    assert model.bundle
    tokens = model.task.arrays["tokens"]
    reader = learn.reader(model.task.network, model.bundle.weights, np.bincount(tokens, minlength=400))
    roots = adapt._roots(reader, list(reader.parameters()), tokens)
    found = np.concatenate([root.numpy().ravel() for root in roots])
    usual = np.sqrt(((found - found.min()) ** 2).mean())
    assert found.min() > 0.9 * usual
    assert found.max() > 2 * found.min()


def test_without_torch_only_counting_adapts(story: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network's row is left out then: it would be a static figure among adaptive ones."""
    model = trained(story)
    monkeypatch.setattr(scoring, "find_spec", lambda name: None)
    assert [s.method for s in model.score(RHYME, adaptive=True)] == ["counting", "network and counting"]


def test_scoring_predicts_no_symbol_from_itself(story: Path) -> None:
    """What comes later changes nothing of what was said before, also of what adapts."""
    model = trained(story)
    said = story.read_text()[:200]
    for adaptive in (False, True):
        for one, other in zip(
            model.score(said, adaptive=adaptive),
            model.score(said[:150] + "qqq", adaptive=adaptive),
            strict=True,
        ):
            np.testing.assert_allclose(one.logs[:149], other.logs[:149], atol=1e-5)


def test_figures(counted: LanguageModel) -> None:
    score = scoring.Score("x", False, np.log([0.5, 0.25]), 6)
    assert score.figures() == pytest.approx(
        {"nats": 1.5 * np.log(2), "perplexity": 2**1.5, "bits_per_character": 0.5}
    )
    with pytest.raises(DataError, match="The text has 1 symbols; scoring needs at least 2"):
        counted.score("a")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": "letter"}, r"The level is 'letter'; it must be one of char, byte, word\."),
        ({"minutes": 0}, r"minutes is 0; it must be more than 0, or give steps\."),
        ({"vocabulary": 0}, r"vocabulary is 0; it must be at least 1\."),
    ],
)
def test_options_that_make_no_sense(options: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        LanguageModel(**options)


def test_questions_that_make_no_sense(counted: LanguageModel) -> None:
    for call, message in (
        (lambda: LanguageModel().score("abc"), "has not been trained. Call fit, or load one."),
        (lambda: counted.generate("a", length=0), "length is 0; it must be at least 1."),
        (lambda: counted.predict_next("a", 0), "k is 0; it must be at least 1."),
        (lambda: LanguageModel.load("reviews"), "is a model of the task 'sentiment', not of language."),
        (lambda: plan(9, 9, 0, words=False, units=-1), "units is -1; it must be at least 1"),
    ):  # fmt: skip
        with pytest.raises(UsageError) as caught:
            call()
        assert message in str(caught.value)


def test_the_size_follows_budget_and_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unrolled.language.plan.measured_speed", lambda: 1e11)

    def units(tokens: int, minutes: float, words: bool = False) -> int:
        made = plan(60, tokens, 60 * minutes, words=words)
        return made.network.layers[2].units  # type: ignore[attr-defined]

    assert [units(10**6, m) for m in (0.1, 1, 5, 15)] == [128, 256, 384, 512]
    assert units(10_000, 15) == 64
    assert units(2 * 10**6, 15, words=True) == 384


def test_more_is_dropped_of_a_text_that_is_read_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unrolled.language.plan.measured_speed", lambda: 1e11)

    def dropped(tokens: int, seconds: float, **options: object) -> list[float]:
        made = plan(60, tokens, seconds, words=False, **options)  # type: ignore[arg-type]
        return [layer.rate for layer in made.network.layers if layer.kind == "dropout"]  # type: ignore[attr-defined]

    assert dropped(10**6, 900) == dropped(100, 0, steps=10) == [0.1, 0.4]
    assert dropped(10**8, 900) == dropped(10**6, 0, steps=10) == [0.05, 0.2]
    assert dropped(10**6, 900, dropout=0.6) == pytest.approx([0.15, 0.6])


def test_a_damaged_model_is_refused(counted: LanguageModel, tmp_path: Path) -> None:
    counted.save(tmp_path)
    described = json.loads((tmp_path / "task.json").read_text())
    described["settings"]["symbols"]["names"].append("new")
    (tmp_path / "task.json").write_text(json.dumps(described))
    with pytest.raises(
        BundleError, match=r"The network answers \d+ symbols, but \d+ are listed\. Train again\."
    ):
        Bundle.load(tmp_path)
    with pytest.raises(BundleError, match="The language model's array 'tokens' is missing or damaged"):
        counted.task.with_arrays({})
    with pytest.raises(BundleError, match="settings are damaged"):
        Language.from_settings({}, counted.task.network)
    with pytest.raises(UsageError, match=r"does not label examples\. It continues texts"):
        counted.task.encode(["x"])


def test_the_command_line(story: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    run, out = str(tmp_path / "run"), tmp_path / "out.txt"
    assert cli.run(["train", "language", str(story), "--steps", "20", "--units", "16", "-o", run]) == 0
    assert "| network and counting |" in capsys.readouterr().out
    assert (
        cli.run(
            ["generate", "the \u4e16", "-m", run, "-n", "2", "--length", "20", "--seed", "1", "-o", str(out)]
        )
        == 0
    )
    said = capsys.readouterr()
    assert "not known to the model, read as such: '\u4e16'" in said.err
    assert "1: longest run copied from the training text:" in (tmp_path / "out.txt.copied.txt").read_text()
    assert out.read_text() == said.out
    assert cli.run(["next", "the", "-m", run, "-k", "2", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) <= 2
    each = tmp_path / "each.csv"
    assert cli.run(["score", str(story), "-m", run, "--each", str(each), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["method"] for row in rows] == ["network", "counting", "network and counting"]
    assert len(each.read_text().splitlines()) >= rows[0]["symbols"]
    assert cli.run(["score", str(story), "-m", run, "--adaptive"]) == 0
    assert capsys.readouterr().out.startswith("while reading, the methods learn from the text:")
    assert cli.run(["generate", "-m", run, "-o", str(tmp_path / "no" / "x.txt")]) == 2
    assert "There is no folder" in capsys.readouterr().err
