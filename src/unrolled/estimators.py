"""scikit-learn's way to the tasks: estimators that cross-validate, search, clone, pickle and stand in pipelines."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from .bundle import Bundle
from .datasets import Examples
from .errors import DataError, UsageError, need

need("sklearn", "sklearn", "TextClassifier")
from sklearn.base import BaseEstimator, ClassifierMixin  # noqa: E402 - what is missing shall be said by `need`
from sklearn.utils import check_random_state  # noqa: E402
from sklearn.utils.multiclass import check_classification_targets  # noqa: E402
from sklearn.utils.validation import check_is_fitted, column_or_1d  # noqa: E402

PRESETS = ("own", "fast")


class TextClassifier(ClassifierMixin, BaseEstimator):
    """Texts in, classes out: `distil.own` behind `fit` and `predict`.

    Args:
        preset: "own" chooses by validation, also whether to begin at a model of the package; "fast" begins at nothing
            and trains a larger net once.
        start: with "own", the model to begin at; "auto" chooses by length and labels, "" begins at nothing.
        ngrams: whether n-grams are tried beside the net.
        epochs: of the net; None chooses by the number of texts.
        random_state: of folds, first weights and order.

    Attributes:
        classes_: what `fit` found in y, (K,), ascending: the columns of `predict_proba`.
        bundle_: the trained model; `bundle_.save(folder)` keeps it for every other door of the package.
        tried_: what the candidates answered to texts that they were not shown.
    """

    def __init__(
        self, *, preset: str = "own", start: str = "auto", ngrams: bool = True, epochs: int | None = None,
        random_state: Any = 0,
    ) -> None:  # fmt: skip
        self.preset = preset
        self.start = start
        self.ngrams = ngrams
        self.epochs = epochs
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> TextClassifier:
        """Train on texts X (N,) and their classes y (N,). Needs torch.

        Raises:
            UsageError: an unknown preset.
            DataError: X is not texts, as many as y, or y has a single class.
        """
        need("torch", "train", "Training")
        from .distil import own

        if self.preset not in PRESETS:
            raise UsageError(f"preset is {self.preset!r}; it must be one of {', '.join(PRESETS)}.")
        texts, y = self._texts(X, fitting=True), column_or_1d(y, warn=True)
        check_classification_targets(y)
        self.classes_, place = np.unique(y, return_inverse=True)
        if len(texts) != len(y):
            raise DataError(
                f"There are {len(texts)} texts, but {len(y)} classes; expected one for each text."
            )
        if len(self.classes_) < 2:
            raise DataError(
                f"y holds one class alone, {str(self.classes_[0])!r}; a classifier needs at least two."
            )
        names = [str(name) for name in self.classes_.tolist()]
        examples = Examples(texts, [names[k] for k in place])
        plan = own.FAST if self.preset == "fast" else own.Plan.own(examples)
        chosen: dict[str, Any] = {"start": self.start} if self.preset == "own" and self.start != "auto" else {}
        chosen |= {} if self.epochs is None else {"epochs": self.epochs}
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        learned = own.learn(examples, replace(plan, grams=self.ngrams, **chosen), seed=seed)
        self.bundle_, self.tried_ = learned.bundle, learned.tried
        self._columns = [learned.bundle.labels.index(name) for name in names]
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities (N, K) of texts (N,), columns as `classes_`; without torch."""
        check_is_fitted(self)
        bundle: Bundle = self.bundle_
        return bundle.probabilities(self._texts(X, fitting=False))[:, self._columns]

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class of each text, (N,)."""
        p = self.predict_proba(X)
        return np.asarray(self.classes_[p.argmax(axis=1)])

    def _texts(self, X: Any, *, fitting: bool) -> list[str]:
        if isinstance(X, str):
            raise DataError("X is one text; expected a list of texts. Put it into a list: [text].")
        texts = list(np.ravel(X) if getattr(X, "ndim", 1) == 2 and np.shape(X)[1] == 1 else X)
        for number, text in enumerate(texts):
            if not isinstance(text, str):
                raise DataError(f"Text number {number} is {text!r}, not a text; expected one string a row.")
        return texts
