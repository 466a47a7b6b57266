"""The command line: what it prints and where, how it ends, and that it says what Python says."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import typer

import unrolled
from tiny_model import tiny_bundle
from unrolled import bundle, cli, shelf
from unrolled.datasets.files import read
from unrolled.evaluate import evaluate
from unrolled.explain import explain, strongest

Run = Callable[..., "tuple[int, str, str]"]
SOURCE = Path(unrolled.__file__).parents[1]


@pytest.fixture
def run(capsysbinary) -> Run:
    """Run a command in this process: exit status, stdout, stderr."""

    def call(*arguments: str) -> tuple[int, str, str]:
        status = cli.run([str(argument) for argument in arguments])
        said = (
            capsysbinary.readouterr()
        )  # answers keep their input's encoding, which need not be the console's
        return status, *(text.decode("utf-8", "replace") for text in said)

    return call


@pytest.fixture
def model(tmp_path) -> str:
    return str(tiny_bundle().save(tmp_path / "tiny"))


@contextmanager
def start(*arguments: str, **environment: str) -> Iterator[Any]:
    """The program as a process of its own."""
    pipe = subprocess.PIPE
    settings = {**os.environ, "PYTHONPATH": str(SOURCE), **environment}
    command = [sys.executable, "-m", "unrolled", *arguments]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=settings) as process:
        yield process


def verbs(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every verb, as the words that are typed."""
    yield path
    for name in getattr(group, "list_commands", lambda ctx: [])(None):
        yield from verbs(group.get_command(None, name), (*path, name))


def test_every_verbs_help_ends_in_two_examples_and_shows_defaults(run):
    seen = 0
    for path in verbs(typer.main.get_command(cli._application())):
        if not path:
            continue
        status, text, _ = run(*path, "--help")
        assert status == 0
        last = text.rstrip().splitlines()[-3:]
        assert last[0].strip() == "Examples:", path
        assert all(line.strip().startswith(" ".join(["unrolled", *path])) for line in last[1:]), path
        for entry in text.partition("Options:")[2].partition("Examples:")[0].split("\n  -")[1:]:
            told = " ".join(entry.split())
            takes_a_value = any(
                kind in told.split(">")[0] for kind in (" <", "TEXT", "INTEGER", "FLOAT", "PATH")
            )
            assert not takes_a_value or "[default: " in told or "[required]" in told, (path, told)
        seen += 1
    assert seen >= 12


def test_help_loads_neither_torch_nor_numpy_nor_rich(run_python):
    source = (
        "import sys; from unrolled import cli; status = cli.run(['--help']);"
        "print(status, [m for m in ('torch', 'numpy', 'rich') if m in sys.modules])"
    )
    out = run_python(source).stdout
    assert out.splitlines()[-1] == "0 []"
    assert "sentiment" in out


def test_sentiment_says_what_python_says(run, model):
    text = "A GREAT film, bad actors; fine 𝄞"
    status, out, err = run("sentiment", text, "--model", model, "--json")
    loaded = unrolled.load(model)
    (answer,) = loaded.predict([text])
    words = [asdict(word) for word in strongest(explain(loaded, text))]
    assert status == 0
    assert json.loads(out) == {"text": text, **asdict(answer), "words": words}
    assert err == f"model: {model}\n"


def test_sentiment_in_words(run, model):
    _, out, _ = run(
        "sentiment", "a great film", "", "never seen", "good " * 40, "--model", model, "--words", "2"
    )
    first, mattered, empty, unseen, long, *_ = out.splitlines()
    p = unrolled.load(model).predict(["a great film"])[0].confidence
    assert first == f"positive  {p:.1%}  a great film"
    assert mattered.startswith("  words that mattered: great (+")
    assert empty.rstrip() == "no answer: no words"
    assert unseen == "no answer: too few known words; is it in another language?  never seen"
    assert long.endswith("good good...")
    assert len(long) < 100


def test_sentiment_without_words_that_mattered(run, model):
    _, out, _ = run("sentiment", "great", "--model", model, "--words", "0")
    assert len(out.splitlines()) == 1


def test_an_argument_that_names_a_file_is_read_as_one(run, model, tmp_path):
    file = tmp_path / "reviews.txt"
    file.write_bytes("\ufeffgood film\r\n\r\nawful film\r\n".encode())
    _, out, _ = run("sentiment", "great", file, "--model", model, "--json")
    assert [json.loads(line)["text"] for line in out.splitlines()] == ["great", "good film", "awful film"]


def test_sentiment_reads_stdin(model):
    with start("sentiment", "-", "--model", model, "--json") as process:
        out, err = process.communicate(b"good\nawful\n")
    assert [json.loads(line)["label"] for line in out.splitlines()] == ["positive", "negative"]
    assert err.decode().splitlines()[0] == f"model: {model}"


TABLE = """\ufeffid;text;"the note"\r
1;"good; ""great""
film";x\r
2;;\r
\r
3;awful\r
4;never seen;z;more\r
"""


def test_predict_gives_every_row_back_with_pythons_answer(run, model, tmp_path):
    (tmp_path / "in.csv").write_bytes(TABLE.encode("utf-16-le"))
    status, out, err = run("predict", tmp_path / "in.csv", "-o", tmp_path / "out.csv", "--model", model)
    assert (status, out) == (0, "")
    texts = ['good; "great"\nfilm', "", "awful", "never seen"]
    bundle = unrolled.load(model)
    added = [";" + ";".join([a.label or "", f"{bundle.score(a):.4f}", f"{a.confidence:.4f}",
                             *(f"{p:.4f}" for p in a.probabilities.values()), a.status])
             for a in bundle.predict(texts)]  # fmt: skip
    lines = TABLE.split("\r\n")
    names = ";sentiment;score;confidence;p_negative;p_positive;status"
    expected = [lines[0] + names, lines[1] + added[0], lines[2] + added[1], "",
                lines[4] + ";" + added[2], lines[5] + added[3], ""]  # fmt: skip
    assert (tmp_path / "out.csv").read_bytes().decode("utf-16-le").split("\r\n") == expected
    assert (
        "rows: 4\nstatus: ok 2, empty 1, unknown_words 1\n2 of them are not as they should be; the first"
        in err
    )
    assert "row 3 (line 6) has 2 fields, but the header names 3 columns" in err


def test_predict_names_the_columns_when_the_wanted_one_is_missing(run, model, tmp_path):
    (tmp_path / "in.csv").write_text("review,stars\ngood,1\n", encoding="utf-8")
    status, _, err = run("predict", tmp_path / "in.csv", "-o", tmp_path / "out.csv", "--model", model)
    assert status == 2
    assert "has the columns review, stars. Say which one holds the texts: --text-column NAME." in err
    assert not (tmp_path / "out.csv").exists()


def test_predict_streams(model):
    """Answers come out while rows still come in, so that neither side is ever held as a whole."""
    rows = b"text,n\n" + b"".join(b"good film,%d\n" % n for n in range(20_000))
    with start("predict", "-", "-o", "-", "--model", model) as process:
        feed = threading.Thread(target=process.stdin.write, args=[rows])
        feed.start()
        early = process.stdout.read(20_000)
        rest: list[bytes] = []
        reader = threading.Thread(target=lambda: rest.append(process.stdout.read()))
        reader.start()
        feed.join()
        process.stdin.close()
        reader.join()
    answered = (early + rest[0]).splitlines()
    assert answered[0] == b"text,n,sentiment,score,confidence,p_negative,p_positive,status"
    assert [line.split(b",")[1] for line in answered[1:]] == [b"%d" % n for n in range(20_000)]


@pytest.fixture
def labelled(tmp_path) -> Path:
    """48 reviews of 8 films; what is said of a film decides its label."""
    rows = [
        f"{'good great' if film % 2 else 'bad awful'} film number {n},{'pos' if film % 2 else 'neg'},film {film}"
        for film in range(8)
        for n in range(6)
    ]
    file = tmp_path / "labelled.csv"
    file.write_text("\n".join(["review,stars,film", *rows, ""]), encoding="utf-8")
    return file


TRAIN = (
    *("--text-column", "review", "--label-column", "stars", "--learning-rate", "0.02", "--batch-size", "8"),
    *("--preset", "lesson"),
)


def test_train_evaluate_and_use(run, labelled, tmp_path):
    pytest.importorskip("torch", reason="torch is not installed (extra 'train')")
    folder = tmp_path / "mine"
    arguments = ["train", "sentiment", labelled, "-o", folder, "--split-by", "film", "--epochs", "6", *TRAIN]
    status, out, err = run(*arguments)
    assert status == 0, err
    heading, *rows = [line.split() for line in out.splitlines()]
    assert heading == ["epoch", "loss", "accuracy", "val_loss", "val_accuracy", "seconds"]
    assert [row[0] for row in rows] == list("123456")
    assert err.splitlines()[-1] == f"model: {folder}"

    status, out, err = run("evaluate", labelled, "--model", folder, "--json", *TRAIN[:4])
    flat = json.loads(out)
    assert (status, flat["n"], flat["accuracy"]) == (0, 48, 1.0)
    assert flat == evaluate(unrolled.load(folder), read(labelled, "review", "stars")).to_dict()
    assert f"{labelled}: utf-8, separated by commas, 3 columns" in err

    assert (
        json.loads(run("sentiment", "good great film number 9", "-m", folder, "--json")[1])["label"] == "pos"
    )
    assert run(*arguments)[0] == 2
    assert "holds a run already. Continue it with --resume" in run(*arguments)[2]
    assert run(*arguments, "--resume")[0] == 0


def test_training_stops_at_a_bad_row_unless_told_to_skip(run, labelled, tmp_path):
    pytest.importorskip("torch", reason="torch is not installed (extra 'train')")
    with labelled.open("a", encoding="utf-8") as file:
        file.write(",pos,film 1\n")
    arguments = ["train", "sentiment", labelled, "-o", tmp_path / "mine", "--epochs", "1", *TRAIN]
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert "row 49 (line 50) has nothing in the column 'review'." in err
    assert "--skip-bad" in err
    status, _, err = run(*arguments, "--skip-bad")
    assert status == 0, err
    assert "1 rows left out" in err


def test_evaluate_in_words_and_pictures(run, model, tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra 'plot')")
    (tmp_path / "t.jsonl").write_text(
        "".join(
            json.dumps({"text": text, "y": label}) + "\n"
            for text, label in [
                ("good film", "positive"),
                ("awful", "negative"),
                ("bad great", "negative"),
                ("xyz", "positive"),
            ]
        ),
        encoding="utf-8",
    )
    pictures = tmp_path / "new" / "pictures"
    status, out, err = run(
        "evaluate", tmp_path / "t.jsonl", "-m", model, "--label-column", "y", "--plots", pictures
    )
    assert status == 0, err
    first, _, *lines = out.splitlines()
    assert first == "n 4, of which 1 without a known word"
    figures = {line.split()[0]: line.split()[1] for line in lines if line and not line.startswith("true")}
    assert figures["accuracy"] == "0.5000"
    table = [line.split() for line in lines[-3:]]
    assert table == [
        ["true,", "predicted:", "negative", "positive"],
        ["negative", "1", "1"],
        ["positive", "1", "1"],
    ]
    assert {file.name for file in pictures.iterdir()} == {"confusion.png", "reliability.png"}
    assert f"picture: {pictures / 'confusion.png'}" in err


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are those of POSIX here")
def test_the_bar_is_on_the_terminal_and_the_rows_where_they_belong(labelled, tmp_path):
    pytest.importorskip("torch", reason="torch is not installed (extra 'train')")
    bar, terminal = os.openpty()
    command = [
        sys.executable,
        "-m",
        "unrolled",
        "train",
        "sentiment",
        labelled,
        "-o",
        tmp_path / "mine",
        *TRAIN,
    ]
    settings = {**os.environ, "PYTHONPATH": str(SOURCE), "TERM": "xterm"}
    settings.pop("NO_COLOR", None)
    shown: list[bytes] = []
    reader = threading.Thread(target=lambda: shown.extend(_until_closed(bar)))
    reader.start()
    done = subprocess.run(
        [*command, "--epochs", "2"], stdout=subprocess.PIPE, stderr=terminal, env=settings, check=True
    )
    os.close(terminal)
    reader.join()
    os.close(bar)
    assert [line.split()[0] for line in done.stdout.decode().splitlines()] == ["epoch", "1", "2"]
    assert b"training" in b"".join(shown)


def _until_closed(terminal: int) -> Iterator[bytes]:
    with suppress(OSError):  # which Linux gives where others give the end of a file
        while block := os.read(terminal, 1 << 16):
            yield block


@pytest.mark.parametrize(
    ("missing", "arguments", "purpose", "command"),
    [
        ("torch", ["train", "sentiment"], "Training", 'pip install "unrolled[train]" -c constraints.txt'),
        ("matplotlib", ["evaluate"], "Drawing", 'pip install "unrolled[plot]"'),
    ],
)
def test_a_missing_extra_is_named_before_any_work(
    run, labelled, tmp_path, monkeypatch, missing, arguments, purpose, command
):
    monkeypatch.setitem(
        sys.modules, missing, None
    )  # what Python itself takes for a package that is not there
    where = ["-o", tmp_path / "mine"] if missing == "torch" else ["--plots", tmp_path / "p"]
    sentence = f"{purpose} needs the package '{missing}', which is not installed. Install it with: {command}"
    assert run(*arguments, labelled, *where) == (2, "", f"Error: {sentence}\n")


def test_training_draws_its_history(run, labelled, tmp_path):
    pytest.importorskip("torch", reason="torch is not installed (extra 'train')")
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra 'plot')")
    run(
        "train",
        "sentiment",
        labelled,
        "-o",
        tmp_path / "mine",
        "--epochs",
        "2",
        "--plots",
        tmp_path / "p",
        *TRAIN,
    )
    assert (tmp_path / "p" / "history.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["sentiment", "good", "--model", "revews"], "There is no model called 'revews'."),
        (["lesson", "helo"], "There is no lesson called 'helo'. Did you mean 'hello'?"),
        (["bench", "leson"], "There is no bench called 'leson'. Did you mean 'lesson'?"),
        (["train", "sentimnt"], "There is no task called 'sentimnt'. Did you mean 'sentiment'?"),
        (["data", "imbd"], "There is no dataset called 'imbd'. Did you mean 'imdb'?"),
        (["list", "cell"], "There is no list called 'cell'. Did you mean 'cells'?"),
        (["evaluate", "imbd"], "There is no file, folder or dataset called 'imbd'. Did you mean 'imdb'?"),
        (["sentimnt"], "No such command 'sentimnt'."),
        (["sentiment", "good", "--wrds", "2"], "No such option"),
        (["sentiment"], "Missing argument"),
        (["lesson", "hello", "--seed", "-1"], "seed is -1; it must be at least 0."),
    ],
)
def test_asked_wrongly_is_2_and_one_sentence_on_stderr(run, model, arguments, sentence):
    if arguments[0] == "evaluate":
        arguments += ["--model", model]
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert sentence in err
    assert "Traceback" not in err


def test_python_and_the_command_line_say_the_same_sentence(run):
    with pytest.raises(unrolled.UnknownNameError) as caught:
        unrolled.load("revews")
    assert run("sentiment", "good", "--model", "revews")[2] == f"Error: {caught.value}\n"


def test_failed_is_1(run, model, monkeypatch):
    monkeypatch.setattr("unrolled.bundle.Bundle.predict", _fail(unrolled.EngineError("The engine refused.")))
    assert run("sentiment", "good", "--model", model)[::2] == (
        1,
        f"model: {model}\nError: The engine refused.\n",
    )
    monkeypatch.setattr(
        "unrolled.bundle.Bundle.predict", _fail(PermissionError(13, "Permission denied", "a.csv"))
    )
    assert run("sentiment", "good", "--model", model)[0] == 1
    assert run("sentiment", "good", "--model", model)[2].endswith("Error: a.csv: Permission denied.\n")


def _fail(error: Exception) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail


def test_nothing_that_a_console_cannot_show_ends_the_program(model):
    settings = {"PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"}
    with start("sentiment", "great \U0001d11e film \u2202", "--model", model, **settings) as process:
        out, err = process.communicate()
    assert process.returncode == 0, err
    assert b"great ? film ?" in out


def test_a_reader_that_goes_away_is_no_error(model):
    with start("sentiment", "-", "--model", model) as process:
        process.stdout.close()
        process.stdin.write(b"good film\n" * 50)
        process.stdin.close()
        err = process.stderr.read().decode()
        assert process.wait(60) == 1
    assert err.startswith(f"model: {model}\n")
    assert "Error" not in err
    assert "Traceback" not in err


@pytest.mark.skipif(sys.platform == "win32", reason="signals are those of POSIX here")
def test_an_interrupt_ends_quietly_with_130(model):
    with start("sentiment", "-", "--model", model) as process:
        assert process.stderr.readline() == f"model: {model}\n".encode()
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert process.stderr.read() == b""


def test_list_shows_each_shelf(run):
    everything = dict(line.split(maxsplit=1) for line in run("list")[1].splitlines())
    for kind in ("cells", "lessons", "tasks", "bench"):
        assert everything[kind].split() == shelf.names(kind)
        assert run("list", kind)[1].split() == shelf.names(kind)
    assert "imdb" in everything["datasets"].split()
    assert "files" not in everything["datasets"].split()


def test_info_tells_the_engine_and_the_places(run, monkeypatch, tmp_path):
    monkeypatch.setenv("UNROLLED_CACHE", str(tmp_path))
    facts = json.loads(run("info", "--json")[1])
    engine = unrolled.kernels.info()
    assert facts["cache"] == str(tmp_path)
    assert facts["threads"] == engine.threads
    assert facts["pool"] == engine.pool
    assert facts["engine"] == engine.isa if engine.available else engine.reason in facts["engine"]
    words = dict(line.split(maxsplit=1) for line in run("info")[1].splitlines() if " " in line.strip())
    assert words["cache"] == str(tmp_path)


def test_info_says_why_there_is_no_engine(run_python):
    source = "import sys; from unrolled import cli; sys.exit(cli.run(['info']))"
    out = run_python(source, UNROLLED_ENGINE="off").stdout
    assert "engine    not available: UNROLLED_ENGINE is 'off'." in out


def test_lessons_and_benches_are_listed_with_what_they_take(run):
    for verb, kind in (("lesson", "lessons"), ("bench", "bench")):
        heading, *lines = run(verb)[1].splitlines()
        assert heading.split() == ["name", "what", "takes", "needs"]
        assert [line.split()[0] for line in lines] == shelf.names(kind)


def test_columns_of_numbers_stand_to_the_right(capsys):
    cli.table(("name", "n"), [("a", "1,000"), ("long", 7)])
    assert capsys.readouterr().out == "name      n\na     1,000\nlong      7\n"
    cli.table(("name", "n"), [])
    assert capsys.readouterr().out == "name  n\n"


def commands_of_the_page() -> list[list[str]]:
    """Every command in a code block of docs/cli.md, in order."""
    page = (Path(__file__).parents[1] / "docs" / "cli.md").read_text(encoding="utf-8")
    blocks = page.split("```")[1::2]
    return [shlex.split(line) for block in blocks for line in block.strip().splitlines()]


@pytest.mark.skipif(cli.DEFAULT_MODEL not in bundle.names(), reason="the model is not in this package")
def test_the_commands_of_the_page_run(run, tmp_path, monkeypatch):
    pytest.importorskip("torch", reason="torch is not installed (extra 'train')")
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra 'plot')")
    shutil.copytree(Path(__file__).parent / "tiny", tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    commands = commands_of_the_page()
    assert len(commands) >= 17
    for program, *arguments in commands:
        assert program == "unrolled"
        status, out, err = run(*arguments)
        assert (status, bool(out) or "-o" in arguments) == (0, True), (arguments, err)
