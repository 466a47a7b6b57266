"""What the pages say is run: every `unrolled` command and every block of Python, on a few kilobytes of data."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from pathlib import Path

import pytest

from unrolled import cli

ROOT = Path(__file__).parents[1]
PAGES = [
    "README.md", "docs/lessons.md", "docs/sentiment.md", "docs/captioning.md", "docs/language.md", "docs/series.md",
    "docs/engine.md", "docs/bench.md",
]  # fmt: skip
# docs/cli.md is run by test_cli.py
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)

pytest.importorskip("torch", reason="torch is not installed (extra 'train')")
pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra 'plot')")


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return [body for kind, body in BLOCK.findall(text) if kind == language]


def commands(page: str) -> list[list[str]]:
    lines = [line for body in blocks(page, "") for line in body.splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("unrolled ")]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with the tiny files; IMDB is the real one where it is, else of a few reviews."""
    shutil.copytree(Path(__file__).parent / "tiny", tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def needs_reviews(text: str) -> bool:
    return "imdb" in text and not (Path(os.environ.get("UNROLLED_DATA", "")) / "imdb").is_dir()


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_run(page, here, capfdbinary):
    found = commands(page)
    assert len(found) >= 3
    for arguments in found:
        if needs_reviews(" ".join(arguments)):
            continue
        status = cli.run(arguments)
        said = capfdbinary.readouterr()
        assert status == 0, (arguments, said.err.decode("utf-8", "replace"))
        assert said.out or "-o" in arguments


@pytest.mark.parametrize(
    ("page", "number"), [(page, n) for page in PAGES for n in range(len(blocks(page, "python")))]
)
def test_the_python_of_a_page_runs(page, number, here, capsys):
    source = blocks(page, "python")[number]
    if needs_reviews(source):
        pytest.skip("the reviews are not here: set UNROLLED_DATA to the folder that holds imdb/")
    exec(compile(source, f"{page}, block {number}", "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", *PAGES, "docs/cli.md", "docs/design.md"]
)
def test_links_lead_somewhere(page):
    folder = (ROOT / page).parent
    for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text(encoding="utf-8")):
        assert target.startswith("https://") or (folder / target).exists(), target
