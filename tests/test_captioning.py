"""Captions from end to end: pictures drawn here, an encoder of a few bytes, training, sentences, figures, errors."""

from __future__ import annotations

import csv
import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tiny_encoder import PATH as ENCODER
from unrolled import cli
from unrolled.bundle import Bundle
from unrolled.errors import BundleError, DataError, UsageError

Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed (extra 'caption')")
pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed (extra 'caption')")
torch = pytest.importorskip("torch", reason="torch is not installed (extra 'train')")

from unrolled.captions import Captioner, Described, learn, make, score  # noqa: E402
from unrolled.captions.plan import Plan  # noqa: E402
from unrolled.datasets.files import captions  # noqa: E402
from unrolled.encoder import Encoder  # noqa: E402

COLORS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (40, 50, 230), "white": (250, 250, 250)}
SMALL = ["--epochs", "3", "--reward-epochs", "1", "--batch-size", "4", "--units", "16", "--embedding", "12",
         "--attention", "8", "--heads", "2", "--least", "1", "--samples", "3"]  # fmt: skip


def drawn(folder: Path) -> Path:
    """A picture for each pair of colours, half and half, and a table with two captions of each."""
    folder.mkdir(parents=True)
    rows = [("image", "caption")]
    for left, right in itertools.product(COLORS, COLORS):
        pixels = np.empty((32, 32, 3), np.uint8)
        pixels[:, :16], pixels[:, 16:] = COLORS[left], COLORS[right]
        Image.fromarray(pixels).save(folder / f"{left}-{right}.png")
        rows += [
            (f"{left}-{right}.png", text)
            for text in (f"{left} beside {right}.", f"A {left} half, then {right}")
        ]
    with open(folder / "captions.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return drawn(tmp_path_factory.mktemp("drawn") / "pictures")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def own_cache(cache, monkeypatch):
    monkeypatch.setenv("UNROLLED_CACHE", str(cache))


@pytest.fixture(scope="module")
def trained(pictures, cache, tmp_path_factory):
    """A run by the command line."""
    folder = tmp_path_factory.mktemp("runs") / "halves"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNROLLED_CACHE", str(cache))
        arguments = [
            "train",
            "captioning",
            str(pictures),
            "--encoder",
            str(ENCODER),
            "-o",
            str(folder),
            *SMALL,
        ]
        assert cli.run(arguments) == 0
    return folder


def test_a_run_leaves_a_bundle_and_no_checkpoint(trained):
    assert sorted(path.name for path in trained.iterdir()) == [
        "card.md",
        "config.toml",
        "task.json",
        "weights.safetensors",
    ]
    card = (trained / "card.md").read_text()
    assert "Trained on 14 pictures; 2 others chose the epoch and the length penalty" in card
    assert "| words, 3 |" in card
    assert "| reward, 1 |" in card


def test_a_caption_of_the_command_line_is_that_of_python(trained, pictures, capsys):
    one = Captioner.load(trained).caption([pictures / "red-blue.png"])[0][0]
    assert cli.run(["caption", str(pictures / "red-blue.png"), "--model", str(trained)]) == 0
    assert capsys.readouterr().out == (
        f"{pictures / 'red-blue.png'}: {one.text}  (confidence per word {one.confidence:.2f})\n"
    )
    assert 0 < one.confidence < 1
    assert one.text == " ".join(one.words)


def test_a_folder_becomes_a_table_and_bad_pictures_are_named_in_it(trained, tmp_path, capsys):
    folder = drawn(tmp_path / "photos")
    (folder / "a.jpg").write_bytes(b"no picture")
    table = tmp_path / "said.csv"
    assert (
        cli.run(["caption", str(folder), str(folder / "gone.png"), "--model", str(trained), "-o", str(table)])
        == 0
    )
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [*rows[0]] == ["picture", "caption", "confidence", "status"]
    assert [row["status"] for row in rows].count("ok") == 16
    assert [Path(row["picture"]).name for row in rows if row["status"] == "unreadable"] == [
        "a.jpg",
        "gone.png",
    ]
    said = capsys.readouterr()
    assert "a.jpg is no picture that can be read" in said.err
    assert "2 of 18 pictures could not be read" in said.err
    assert said.out == ""
    assert cli.run(["caption", str(folder / "a.jpg"), "--model", str(trained)]) == 2
    assert "None of 1 pictures could be read." in capsys.readouterr().err


def test_several_sentences_come_best_first_and_as_json(trained, pictures, capsys):
    arguments = ["caption", str(pictures / "red-red.png"), "--model", str(trained), "--number", "4", "--json"]
    assert cli.run(arguments) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len({row["caption"] for row in rows}) == 4
    task = Bundle.load(trained).task
    found = Captioner.load(trained).caption([pictures / "red-red.png"], number=4)[0]
    assert [row["caption"] for row in rows] == [one.text for one in found]
    scores = [one.sentence.score(task.length_penalty) for one in found]
    assert scores == sorted(scores, reverse=True)


def test_sentences_are_drawn_by_chance_on_request(trained, pictures, capsys):
    arguments = ["caption", str(pictures / "red-red.png"), "--model", str(trained), "--number", "5", "--json"]
    said = []
    for seed in ("3", "3", "9"):
        assert cli.run([*arguments, "--temperature", "2", "--seed", seed]) == 0
        said.append([json.loads(line)["caption"] for line in capsys.readouterr().out.splitlines()])
    assert said[0] == said[1] != said[2]
    assert len({*said[0]}) > 1
    assert cli.run([*arguments, "--temperature", "2", "--top-p", "0.000001"]) == 0
    sure = {json.loads(line)["caption"] for line in capsys.readouterr().out.splitlines()}
    assert sure == {Captioner.load(trained).caption([pictures / "red-red.png"], num_beams=1)[0][0].text}


def test_where_it_looked_is_drawn(trained, pictures, tmp_path, capsys):
    sheet = tmp_path / "looked.png"
    arguments = ["caption", str(pictures / "red-red.png"), "--model", str(trained), "--attention", str(sheet)]
    assert cli.run(arguments) == 0
    words = len(capsys.readouterr().out.split("  (")[0].split(": ", 1)[1].split())
    with Image.open(sheet) as picture:
        assert picture.size == (min(words + 1, 6) * 180, -(-(words + 1) // 6) * 202)
    assert cli.run([*arguments[:-1], str(tmp_path)]) == 1  # a folder stands there


def test_figures_stand_beside_those_of_one_caption_and_of_a_person(trained, pictures, tmp_path, capsys):
    page = tmp_path / "page.html"
    arguments = ["evaluate", str(pictures), "--model", str(trained), "--json", "--report", str(page)]
    assert cli.run(arguments) == 0
    found = json.loads(capsys.readouterr().out)
    captioner, examples = Captioner.load(trained), captions(pictures)
    scores = score.evaluate(captioner, examples)
    assert found["n"] == 16
    assert found["cider"] == pytest.approx(scores.model["cider"])
    assert found["constant_distinct"] == pytest.approx(100 / 16)
    assert 0 < found["human_bleu1"] < 100
    assert scores.model["cider"] == pytest.approx(scores.each.mean())
    assert {"bleu1", "bleu2", "bleu3", "bleu4", "rouge_l", "cider", "distinct"} < {*found}
    text = page.read_text()
    for heading in ("The best", "The worst", "At random", "What people said".lower()):
        assert heading in text
    assert text.count("data:image/jpeg;base64,") == 3 * 12
    assert "http" not in text
    assert cli.run(arguments[:4]) == 0
    assert "one caption for all" in capsys.readouterr().out


def test_figures_are_those_of_the_metrics():
    found = score.figures(
        [["a", "dog", "runs"]] * 2, [[["a", "dog", "runs"]], [["a", "cat"], ["no", "dog", "runs"]]]
    )
    assert found["bleu1"] == pytest.approx(100)
    assert found["distinct"] == 50
    assert found["n"] == 2


def test_an_interrupted_run_goes_on_to_the_same_end(pictures, tmp_path, monkeypatch):
    examples = captions(pictures)
    halves = examples.take(range(0, 24)), examples.take(range(24, 32))
    plan = Plan(
        epochs=2,
        reward_epochs=2,
        batch_size=4,
        units=12,
        embedding=8,
        attention=8,
        heads=2,
        least=1,
        samples=2,
        mirror=True,
    )
    encoder = Encoder(ENCODER)
    whole = make.make(*halves, encoder, plan, tmp_path / "whole")

    class Stop(Exception):
        pass

    for stop in (1, 2, 3):  # after the first epoch of each phase, and at the end of the first phase

        def on_epoch(row, left=[stop]):  # noqa: B006
            left[0] -= 1
            if not left[0]:
                raise Stop

        folder = tmp_path / str(stop)
        with pytest.raises(Stop):
            make.make(*halves, encoder, plan, folder, told=make.Told(epoch=on_epoch))
        with pytest.raises(
            UsageError, match="holds a run already. Continue it with --resume, or give another folder."
        ):
            make.make(*halves, encoder, plan, folder)
        again = make.make(*halves, encoder, plan, folder, resume=True)
        for name, weight in whole.bundle.weights.items():
            assert np.array_equal(weight, again.bundle.weights[name]), (stop, name)
    finished = make.make(*halves, encoder, plan, tmp_path / "whole", resume=True)
    assert finished.task == whole.task


def test_a_sentence_is_worth_what_it_scores_above_the_others():
    found = learn.advantages(np.array([[1.0, 2.0, 6.0]]))
    assert found.tolist() == [[1 - 4.0, 2 - 3.5, 6 - 1.5]]
    logits = torch.tensor([[0.0, 0.0, 2.0], [1.0, 0.0, 0.0]], requires_grad=True)
    loss = learn.weighed(logits, torch.tensor([[2.0, 1.5], [1.0, -0.5]]))
    chance = torch.softmax(logits, -1).detach()
    assert loss.item() == pytest.approx(
        float(-(1.5 * chance[0, 2].log() - 0.5 * chance[1, 1].log()) / 2), abs=1e-6
    )


def test_a_network_learns_to_say_what_scores(pictures, tmp_path):
    """From the same first phase: the reward phase raises the reward of what is drawn."""
    examples = captions(pictures)
    rows = []
    plan = Plan(epochs=1, reward_epochs=12, batch_size=2, units=24, embedding=16, attention=8, heads=2, least=1,
                samples=8, reward_rate=5e-3, full=True)  # fmt: skip
    make.make(examples, examples, Encoder(ENCODER), plan, tmp_path / "run", told=make.Told(epoch=rows.append))
    assert rows[-1]["val_score"] > 1.5 * rows[0]["val_score"] + 5


def test_pictures_that_cannot_be_read_are_left_out_on_request(pictures, tmp_path, capsys):
    folder = tmp_path / "photos"
    shutil.copytree(pictures, folder)
    (folder / "red-blue.png").write_bytes(b"no picture")
    examples, skipped = captions(folder), []
    plan = Plan(epochs=1, reward_epochs=0, units=8, embedding=8, attention=8, heads=0, cell="gru", least=1)
    with pytest.raises(DataError, match="red-blue.png is no picture that can be read"):
        make.make(examples, examples, Encoder(ENCODER), plan, tmp_path / "run")
    told = make.Told(skipped=skipped.append)
    made = make.make(examples, examples, Encoder(ENCODER), plan, tmp_path / "run", resume=True, told=told)
    assert len(skipped) == 2
    assert made.task.network.layers[0].cell == "gru"
    sheet = ["--attention", str(tmp_path / "x.png"), "--encoder", str(ENCODER)]
    assert cli.run(["caption", str(pictures / "red-red.png"), "--model", str(tmp_path / "run"), *sheet]) == 2
    assert "This model reads pooled features and looks nowhere in particular" in capsys.readouterr().err
    with pytest.raises(UsageError, match="These examples have no pictures."):
        Described.of(examples.__class__(["a text"]))


def test_a_captioner_takes_its_own_encoder_alone(trained, tmp_path, capsys):
    other = tmp_path / "other.onnx"
    other.write_bytes(ENCODER.read_bytes())
    assert Captioner.load(trained, other).encoder.path == other
    pytest.importorskip("onnx", reason="onnx is not installed (extra 'onnx')")
    from tiny_encoder import build

    other.write_bytes(build(kind=2))
    wanted = Bundle.load(trained).task.encoder
    with pytest.raises(
        DataError, match=f"trained with the encoder {wanted[:16]} and understands no other; found .*other"
    ):
        Captioner.load(trained, other)
    (trained / "encoder.onnx").write_bytes(ENCODER.read_bytes())
    try:
        assert Captioner.load(trained).encoder.path == trained / "encoder.onnx"
    finally:
        (trained / "encoder.onnx").unlink()
    assert Captioner.load(trained).encoder.path.parent.name == "encoders"


def test_a_model_of_another_task_is_refused(trained, tmp_path, capsys):
    from tiny_model import tiny_bundle

    tiny_bundle().save(tmp_path / "tiny")
    with pytest.raises(UsageError, match="'tiny' is a sentiment model; a captioning model was expected."):
        Captioner.load(tmp_path / "tiny")
    assert cli.run(["sentiment", "good", "--model", str(trained)]) == 2
    assert "It says what is in pictures: unrolled caption PICTURE --model RUN." in capsys.readouterr().err


def test_a_damaged_task_is_named(trained, tmp_path):
    folder = tmp_path / "damaged"
    shutil.copytree(trained, folder)
    described = json.loads((folder / "task.json").read_text())
    for change, sentence in (
        ({"max_length": "9"}, "task.json: 'max_length' is '9', but int was expected."),
        ({"words": ["<pad>"]}, "task.json: 1 words do not belong to the layers"),
    ):
        bad = described | {"settings": described["settings"] | change}
        (folder / "task.json").write_text(json.dumps(bad))
        with pytest.raises(BundleError, match=sentence):
            Bundle.load(folder)


def test_captioning_loads_no_torch(trained, pictures, run_python, cache):
    source = (
        "import sys; from unrolled import cli; status = cli.run(sys.argv[1:]); assert 'torch' not in sys.modules; "
        "sys.exit(status)"
    )
    arguments = ["caption", str(pictures / "red-red.png"), "--model", str(trained)]
    assert run_python(source, *arguments, UNROLLED_CACHE=str(cache)).stdout.startswith(str(pictures))


def test_words_that_are_too_rare_leave_nothing(pictures, tmp_path):
    examples = captions(pictures)
    with pytest.raises(
        DataError, match="No word of the captions occurs 90 times. Give more captions, or fewer times"
    ):
        make.make(examples, examples, Encoder(ENCODER), Plan(least=90), tmp_path / "run")


def test_a_sentence_is_joined_as_people_write_it():
    from unrolled.tasks.captioning import Captioning

    task = Captioning.of_captions(
        [["a", "man", "'s", "dog", "does", "n't", "run"]], "0" * 64, (4, 3), least=1
    )
    ids = task.numbers(["a", "man", "'s", "dog", "does", "n't", "fly"])
    assert task.text(ids[:6]) == "a man's dog doesn't"
    assert task.spoken([*ids[:2], 1, 5]) == ["a", "man"]
