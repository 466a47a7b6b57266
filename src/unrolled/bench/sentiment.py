"""Raw text to label: `unrolled` against fastText with its text cleaning, the same reviews, in turn.

fastText (Joulin et al., 2017) as its own tutorial cleans and trains it: 2-grams, 10 numbers a word, on the training
half, in an environment of its own. Its prediction uses one thread, which is what `ratio` compares with; as many
processes of it as we have threads stand beside.
"""

from __future__ import annotations

import json
import random
import statistics
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from ..bundle import Bundle
from ..datasets import Examples, imdb
from . import Bench, Peer, Say, alternate, load, machine, option, say_machine, timed


@dataclass
class SentimentBench(Bench):
    """`model` and `reviews-small` against fastText (with `peer_python`) on test reviews, all threads."""

    title = "raw text to label: reviews a second against fastText"
    minutes = "1 minute"

    data: str = option("", "IMDB: the archive or its folder; by default it is looked for and downloaded.")
    generated: bool = option(False, "Use a few generated texts instead.")
    model: str = option("general", "The other model that is measured.")
    reviews: int = option(5_000, "Reviews a round.", least=1)
    peer_python: str = option("", "The python of an environment with fasttext.")

    def run(self, say: Say) -> dict[str, Any]:
        """Texts a second of each side, their ratios to fastText, and each side's accuracy on these reviews."""
        busy, (training, test) = load(), self.examples()
        step = max(1, len(test) // self.reviews)
        texts, labels = test.texts[::step][: self.reviews], (test.labels or [])[::step][: self.reviews]
        models = {"unrolled": Bundle.load(self.model), "unrolled_small": Bundle.load("reviews-small")}
        sides = {name: partial(_judge, bundle, texts) for name, bundle in models.items()}
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            peers = self._peers(Path(folder), texts, training, stack)
            if peers:
                sides["fasttext"] = partial(_asked, peers[:1], len(texts))
                sides["fasttext_processes"] = partial(_asked, peers, len(texts))
            found = alternate(sides, self.rounds)
        per_s = {name: len(texts) / statistics.median(s for s, _ in runs) for name, runs in found.items()}
        right = {name: _share(runs[-1][1], labels) for name, runs in found.items()}
        result: dict[str, Any] = {"texts_per_s": per_s, "accuracy": right}
        if peers:
            result["ratio"] = per_s["unrolled"] / per_s["fasttext"]
            result["ratio_small"] = per_s["unrolled_small"] / per_s["fasttext"]
        result["machine"] = {**machine(), "load_before": busy}
        self._report(result, say)
        return result

    def examples(self) -> tuple[Examples, Examples]:
        """What fastText is trained on, and what is judged."""
        if self.generated:
            few = Examples(["A quiet, lovely film.", "Dull from start to end!"] * 5, ["positive", "negative"] * 5)
            return few, few
        dataset = imdb.IMDB(self.data or None)
        return dataset.load("train"), dataset.load("test")

    def _peers(self, folder: Path, texts: list[str], training: Examples, stack: ExitStack) -> list[Peer]:
        """fastText, trained, as often as we have threads: its prediction itself uses one."""
        if not self.peer_python:
            return []
        pairs = list(zip(training.labels or [], training.texts, strict=True))
        random.Random(0).shuffle(pairs)  # fastText reads them in their order
        given = {"texts": texts, "training": pairs}
        (folder / "given.json").write_text(json.dumps(given), encoding="utf-8")
        peers = []
        for number in range(machine()["threads"]):
            peers.append(Peer(self.peer_python, Path(__file__).with_name("_fasttext.py"), folder))
            stack.callback(peers[-1].close)
            peers[-1].ask({"do": "load" if number else "train"})
        return peers

    def _report(self, found: dict[str, Any], say: Say) -> None:
        names = {"unrolled": self.model, "unrolled_small": "reviews-small", "fasttext": "fastText, as it is"}
        names["fasttext_processes"] = f"fastText, {found['machine']['threads']} processes"
        say(f"{'':24}{'texts/s':>12}{'of fastText':>14}{'right':>9}")
        for name, per_s in found["texts_per_s"].items():
            ratio = found.get({"unrolled": "ratio", "unrolled_small": "ratio_small"}.get(name, ""))
            times = "" if ratio is None else f"{ratio:.2f} x"
            say(f"{names[name]:24}{per_s:12,.0f}{times:>14}{found['accuracy'][name]:9.1%}")
        say_machine(found["machine"], say)


def _judge(bundle: Bundle, texts: list[str]) -> tuple[float, list[str]]:
    seconds, p = timed(lambda: bundle.probabilities(texts))
    return seconds, [bundle.labels[k] for k in p.argmax(1).tolist()]


def _asked(peers: Sequence[Peer], count: int) -> tuple[float, list[str]]:
    """Each of `peers` answers its part at the same time; the seconds of the slowest."""
    edges = [count * i // len(peers) for i in range(len(peers) + 1)]
    requests = [{"do": "predict", "first": a, "last": b} for a, b in pairwise(edges)]
    with ThreadPoolExecutor(len(peers)) as pool:
        answers = list(pool.map(lambda peer, request: peer.ask(request), peers, requests))
    return max(answer["seconds"] for answer in answers), [
        label for answer in answers for label in answer["labels"]
    ]


def _share(said: list[str], labels: list[str]) -> float:
    """Share right; an answer that is neither of the two classes is wrong."""
    return sum(a == b for a, b in zip(said, labels, strict=True)) / len(labels)
