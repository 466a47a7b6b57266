"""Words, pairs and triples of a text, weighted by naive Bayes, in a logistic regression.

Wang and Manning, "Baselines and bigrams" (ACL 2012): a feature is 1 where a text holds the run and 0 elsewhere,
scaled by r = log(p / |p|) - log(q / |q|), p and q its texts of either class plus one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ..data.grams import SIZES, held, runs
from .corpus import Corpus, Numbers


@dataclass(frozen=True)
class NGrams:
    """A fitted model: sorted keys of its runs by size, a weight for each, and the constant."""

    words: int
    keys: tuple[Numbers, ...]
    weights: NDArray[np.float32]
    bias: float

    def logits(self, corpus: Corpus) -> NDArray[np.float64]:
        """(N,): positive numbers say the second class."""
        text, feature = held(corpus, np.concatenate(self.keys), self.words)
        return np.asarray(np.bincount(text, self.weights[feature], len(corpus)) + self.bias, np.float64)


def fit(corpus: Corpus, labels: NDArray[np.bool_], words: int, *, c: float = 0.3, rounds: int = 40) -> NGrams:
    """Fit to texts with labels (N,), true for the second class.

    Args:
        corpus: the texts as ids below `words`.
        labels: the class of each.
        words: how many ids there are.
        c: inverse strength of the quadratic penalty, as in scikit-learn.
        rounds: steps of L-BFGS at most.
    """
    keys = tuple(_repeated(*runs(corpus, size, words), corpus) for size in SIZES)
    text, feature = held(corpus, np.concatenate(keys), words)
    count, size = len(corpus), sum(map(len, keys))
    p, q = (np.bincount(feature[labels[text] == side], minlength=size) + 1.0 for side in (True, False))
    ratio = np.log(p / p.sum()) - np.log(q / q.sum())
    t, f = torch.from_numpy(text), torch.from_numpy(feature)
    scale, target = torch.from_numpy(ratio.astype(np.float32)), torch.from_numpy(labels.astype(np.float32))
    v = torch.zeros(size + 1, requires_grad=True)
    solver = torch.optim.LBFGS([v], max_iter=rounds, history_size=8, line_search_fn="strong_wolfe")

    def objective() -> torch.Tensor:
        with torch.no_grad():
            weights = v[:-1] * scale
            z = torch.zeros(count).index_add_(0, t, weights[f]) + v[-1]
            error = torch.sigmoid(z) - target
            loss = torch.nn.functional.softplus(z).sum() - (z * target).sum() + (v[:-1] ** 2).sum() / (2 * c)
            slope = torch.zeros(size).index_add_(0, f, error[t]) * scale + v[:-1] / c
            v.grad = torch.cat([slope, error.sum()[None]])
        return loss

    solver.step(objective)
    return NGrams(words, keys, (v.detach()[:-1] * scale).numpy(), float(v.detach()[-1]))


def _repeated(keys: Numbers, places: Numbers, corpus: Corpus) -> Numbers:
    """The runs that two texts or more hold."""
    order = np.lexsort((corpus.text[places], keys))
    keys, texts = keys[order], corpus.text[places][order]
    new = np.ones(len(keys), bool)
    new[1:] = (keys[1:] != keys[:-1]) | (texts[1:] != texts[:-1])
    found, times = np.unique(keys[new], return_counts=True)
    return found[times >= 2]
