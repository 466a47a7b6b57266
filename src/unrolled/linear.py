"""Linear models in closed form, or nearly so: the honest floor under every network, and part of the better ones.

Notation: N rows, F features, H outputs. Rows may be weighted; a missing output (NaN) does not count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Moments:
    """What least squares needs of the data: X'X (F, F), X'Y (F, H), and the number of rows. They add up."""

    gram: Array
    cross: Array
    rows: float

    @classmethod
    def of(cls, x: Array, y: Array) -> Moments:
        """Moments of rows (N, F) and outputs (N, H) without missing values, in float32 products."""
        a, b = np.asarray(x, np.float32), np.asarray(y, np.float32)
        return cls((a.T @ a).astype(np.float64), (a.T @ b).astype(np.float64), len(a))

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.gram + other.gram, self.cross + other.cross, self.rows + other.rows)

    def solve(self, ridge: float, prior: Moments | None = None, strength: float = 0.0) -> Array:
        """The map W (F, H) that least |XW - Y|^2 + ridge c |W|^2, c the mean of X'X's diagonal (Hoerl & Kennard 1970).

        With a `prior` its rows count as `strength` rows: W is drawn to what the prior's rows say.
        """
        gram, cross = self.gram, self.cross
        if prior is not None and strength:
            share = strength / prior.rows
            gram, cross = gram + share * prior.gram, cross + share * prior.cross
        size = max(float(np.trace(gram)) / len(gram), 1e-12)
        return np.linalg.solve(gram + ridge * size * np.eye(len(gram)), cross)


def masked(x: Array, y: Array, ridge: float) -> Array:
    """The ridge map (F, H) where outputs may be missing: each column from the rows in which it is known.

    Columns that are known in the same rows share their solution, so nothing is lost where nothing is missing.
    """
    known = np.isfinite(y)
    patterns, member = np.unique(known, axis=1, return_inverse=True)
    found = np.zeros((x.shape[1], y.shape[1]))
    for k, pattern in enumerate(patterns.T):
        columns = np.flatnonzero(member.ravel() == k)
        if pattern.any():
            found[:, columns] = Moments.of(x[pattern], y[np.ix_(pattern, columns)]).solve(ridge)
    return found


@dataclass(frozen=True, eq=False)
class Logistic:
    """p = 1 / (1 + exp(-(z w + b))), z = (x - mean) / size; weights (F,)."""

    mean: Array
    size: Array
    weights: Array
    bias: float

    def logits(self, x: Array) -> Array:
        """Log-odds (N,) of rows (N, F)."""
        return (np.asarray(x) - self.mean) / self.size @ self.weights + self.bias

    @classmethod
    def fit(cls, x: Array, y: Array, *, ridge: float = 1.0, steps: int = 30) -> Logistic:
        """Penalised maximum likelihood by Newton's method (IRLS; Hastie et al. 2009, 4.4.1).

        Args:
            x: (N, F).
            y: (N,) of 0 and 1.
            ridge: of the standardised weights; the bias is free.
            steps: at most.
        """
        mean, size = x.mean(0), x.std(0)
        size = np.where(size > 1e-12, size, 1.0)
        z = np.column_stack([(x - mean) / size, np.ones(len(x))])
        penalty = np.diag([ridge] * x.shape[1] + [1e-9])
        w = np.zeros(z.shape[1])
        for _ in range(steps):
            p = 1 / (1 + np.exp(-np.clip(z @ w, -30, 30)))
            slope = z.T @ (p - y) + penalty @ w
            change = np.linalg.solve((z * (p * (1 - p))[:, None]).T @ z + penalty, slope)
            w -= change
            if np.abs(change).max() < 1e-8:
                break
        return cls(mean, size, w[:-1], float(w[-1]))


def quantile_offsets(residuals: Array, levels: Sequence[float]) -> Array:
    """Conformal offsets (H, Q) from residuals (N, H), NaN where unknown: ordered value number ceil((N + 1) q).

    Vovk, Gammerman & Shafer (2005): exact for exchangeable residuals; one that comes after lies below the offset of
    level q with probability at least q. Below the middle the count runs from the other side.
    """
    offsets = np.zeros((residuals.shape[1], len(levels)))
    for h, column in enumerate(residuals.T):
        known = np.sort(column[np.isfinite(column)])
        for k, level in enumerate(levels):
            if not known.size:
                continue
            up = int(np.ceil((len(known) + 1) * max(level, 1 - level)))
            place = min(up, len(known)) - 1
            offsets[h, k] = known[place if level >= 0.5 else len(known) - 1 - place]
    return offsets
