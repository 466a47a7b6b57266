"""The program that trained the model `general`: `python docs/general.py DATA FOLDER`. docs/sentiment-log.md says why.

DATA holds `tweets/train.csv`, `sst/sst_fine_{train,dev}.csv`, `imdb/`, `text/wikitext-2/` and `flickr8k/`. FOLDER
gets the model, and keeps what is done after each epoch, so that the same command goes on after it.
"""

import csv
import gzip
import re
import sys
from pathlib import Path

import numpy as np
import torch

from unrolled import metrics
from unrolled.bundle import Bundle
from unrolled.config import RunConfig
from unrolled.data.marks import MarkTokenizer, count_tokens
from unrolled.datasets.imdb import IMDB
from unrolled.distil.begin import begin, words_of
from unrolled.distil.corpus import Corpus, fold_of, frequent_pairs
from unrolled.distil.steps import Course, Reading, Shape, Steps, fit, linear_start
from unrolled.tasks.sentiment import Sentiment

LABELS = ("negative", "neutral", "positive")
FINE = {"0": 0, "1": 0, "2": 1, "3": 2, "4": 2}
SEED, STEP, PAIRS = 7, 4, 95_000
COURSE = Course(4, seed=SEED, drop=(0.2, 0.1, 0.4))
TOLD = (("tweet", None, 1), ("sentence", None, 2), ("film", 6000, 1), ("article", 3000, 1), ("caption", 1500, 1))
"""Of each kind of text how many are read, and how often an epoch; negative tweets, which are few, twice."""


def table(path):
    """The rows of a CSV table by the names of its columns."""
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def natural(text):
    """Sentences that were cut into tokens, as people write them: "does n't" is one word."""
    for token, mark in (("-lrb-", "("), ("-rrb-", ")"), ("``", '"'), ("''", '"')):
        text = text.replace(token, mark)
    text = re.sub(r" @(.)@ ", r"\1", text)
    return re.sub(r" ([.,;:!?]|n't\b|'(?:s|re|ve|ll|d|m)\b)", r"\1", text)


def encyclopaedia(path):
    """Sentences of 4 to 30 words of which none was replaced, and the article of each."""
    found, article = [], 0
    for line in gzip.decompress(path.read_bytes()).decode("utf-8").splitlines():
        if line.startswith(" = "):
            article += line[3] != "="
            continue
        whole = [s for s in re.split(r"(?<= \.) ", line.strip()) if s.endswith(" .") and "<unk>" not in s]
        found += [(natural(s), str(article)) for s in whole if 4 <= len(s.split()) <= 30]
    return found


def captions(folder):
    """Captions of the training pictures, and the picture of each."""
    pictures = set((folder / "Flickr_8k.trainImages.txt").read_text().split())
    lines = (folder / "Flickr8k.token.txt").read_text(encoding="utf-8").splitlines()
    rows = [(line.partition("#")[0], natural(line.partition("\t")[2])) for line in lines]
    return [(text, picture) for picture, text in rows if picture in pictures]


class Texts:
    """All texts with their classes, kinds, and whether they are held out: a tenth of the tweets, of the films, ..."""

    def __init__(self, data):
        films = IMDB(data).load("train")
        tweets, sentences = table(data / "tweets/train.csv"), table(data / "sst/sst_fine_train.csv")
        rows = [("tweet", row["text"], LABELS.index(row["label"]), row["id"]) for row in tweets]
        rows += [("sentence", natural(row["text"]), FINE[row["label"]], "") for row in sentences]
        rows += [("dev", natural(row["text"]), FINE[row["label"]], "") for row in table(data / "sst/sst_fine_dev.csv")]
        judged = [2 * (label == "positive") for label in films.labels]
        rows += [("film", *row) for row in zip(films.texts, judged, films.groups, strict=True)]
        (path,) = (data / "text/wikitext-2").glob("*train*.gz")
        for kind, facts in (("article", encyclopaedia(path)), ("caption", captions(data / "flickr8k"))):
            rows += [(kind, text, 1, group) for text, group in facts]
        kind, self.texts, y, group = zip(*rows, strict=True)
        self.kind, self.y, group = np.array(kind), np.array(y), np.array(group)
        self.held_out = self.kind == "dev"
        for name in ("tweet", "film", "article", "caption"):
            of = np.flatnonzero(self.kind == name)
            self.held_out[of] = fold_of(group[of].tolist(), 10, SEED) == 0
        self.base = Bundle.load("reviews-small")
        self.tokenizer = MarkTokenizer(self._words())
        self.corpus = Corpus.of(self.tokenizer.encode(self.texts))

    def training(self, kind, count=None):
        rows = np.flatnonzero((self.kind == kind) & ~self.held_out)
        return rows if count is None else np.random.default_rng(SEED).permutation(rows)[:count]

    def _words(self):
        """Those of `reviews-small`, and others that three tweets' worth of training texts hold."""
        known, found = words_of(self.base), {}
        for kind in ("tweet", "sentence", "article", "caption"):
            times = count_tokens([self.texts[i] for i in self.training(kind)])
            found |= {word: n for word, n in times.items() if n >= 3}
        before = set(known)
        return [*known, *(word for word in found if word not in before)]


def temperature(z, y):
    """With which the logits z (N, 3) make the classes y (N,) most probable."""
    return min(np.arange(0.5, 4, 0.01), key=lambda t: metrics.log_loss(y, softmax(z / t)))


def softmax(z):
    """Probabilities (N, 3) of logits (N, 3)."""
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def figures(texts, z):
    """What is chosen by, of the texts held out."""
    said = z.argmax(1)
    for kind in ("tweet", "dev"):
        of = texts.held_out & (texts.kind == kind)
        recalls = [100 * (said[of & (texts.y == k)] == k).mean() for k in range(3)]
        print(f"{kind}: macro recall {np.mean(recalls):.1f} ({', '.join(f'{r:.1f}' for r in recalls)}), "
              f"accuracy {100 * metrics.accuracy(texts.y[of], said[of]):.1f}")  # fmt: skip
    for kind in ("article", "caption"):
        of = texts.held_out & (texts.kind == kind)
        print(f"{kind}, called neutral: {100 * (said[of] == 1).mean():.1f}", flush=True)


def main(data, folder):
    """The net, its calibration, figures, and the bundle."""
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    texts = Texts(data)
    rows = np.concatenate([np.repeat(texts.training(kind, count), times) for kind, count, times in TOLD])
    rows = np.concatenate([rows, texts.training("tweet")[texts.y[texts.training("tweet")] == 0]])
    pairs = frequent_pairs(texts.corpus.take(np.unique(rows)), PAIRS, texts.tokenizer.size, least=2)
    net = Steps(Shape(texts.tokenizer.size, pairs, STEP, outputs=3), SEED)
    reading = Reading(texts.corpus, net.shape)
    begin(net, texts.base, LABELS)
    for k in range(3):
        linear_start(net, reading, np.unique(rows), texts.y == k, output=k)
    fit(net, reading, np.eye(3, dtype=np.float32)[texts.y], rows, COURSE, report=progress, path=folder / "net.pt")
    z = np.full((len(texts.y), 3), np.nan)
    z[texts.held_out] = net.logits(reading, np.flatnonzero(texts.held_out))
    figures(texts, z)
    tweets = texts.held_out & (texts.kind == "tweet")
    warmth = float(temperature(z[tweets], texts.y[tweets]))
    found = {**net.weights(), "pairs": pairs}
    task, own = Sentiment.of_steps(LABELS, texts.tokenizer, found, step=STEP, temperature=warmth)
    config = RunConfig(epochs=COURSE.epochs, batch_size=64, learning_rate=COURSE.rate, optimizer="adam", seed=SEED)
    Bundle(task, own, config, "# general\n", "general").save(folder / "general")


def progress(done, total, loss):
    """A line for every thousandth update."""
    if done % 1000 == 0:
        print(f"update {done:,} of {total:,}, loss {loss:.3f}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
