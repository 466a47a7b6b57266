"""The lesson's network in Keras, run as a program of its own environment: `python _keras.py FOLDER`.

It knows nothing of this package. FOLDER holds `options.json` and the arrays as .npy files; requests come as JSON
lines on stdin, answers go out on stdout. The backend is Keras's own choice: KERAS_BACKEND=tensorflow or jax.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np


def load(folder: Path) -> dict[str, np.ndarray]:
    """Arrays of the folder by name: train_x (N, T), train_y, order, test_x, w0 ... w5 in Keras's order."""
    return {file.stem: np.load(file) for file in folder.glob("*.npy")}


def build(options: dict[str, Any]) -> Any:
    """The lesson's model, compiled as the lesson does."""
    import keras

    size = options["words"], options["dimension"]
    layers = [
        keras.Input((options["length"],), dtype="int32"),
        keras.layers.Embedding(*size),
        keras.layers.SimpleRNN(options["units"]),
        keras.layers.Dense(1, activation="sigmoid"),
    ]
    model = keras.Sequential(layers)
    model.compile(optimizer="rmsprop", loss="binary_crossentropy", metrics=["accuracy"])
    return model


def answer(
    request: dict[str, Any], model: Any, arrays: dict[str, np.ndarray], options: dict[str, Any]
) -> dict[str, Any]:
    """Do one request: an epoch from the first weights, or the test reviews once."""
    if request["do"] == "predict":
        start = time.perf_counter()
        found = model.predict(arrays["test_x"], batch_size=options["predict_batch"], verbose=0)
        return {"seconds": time.perf_counter() - start, "positive": int((found > 0.5).sum())}
    model.set_weights([arrays[f"w{i}"] for i in range(6)])
    for variable in model.optimizer.variables:
        if "velocity" in variable.path:
            variable.assign(np.zeros(variable.shape, np.float32))
    start = time.perf_counter()
    x, y = arrays["train_x"][arrays["order"]], arrays["train_y"][arrays["order"]]
    history = model.fit(x, y, batch_size=options["batch_size"], epochs=1, shuffle=False, verbose=0)
    return {"seconds": time.perf_counter() - start, "loss": float(history.history["loss"][-1])}


def main() -> None:
    """Serve requests until stdin closes."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever the framework prints must not mix with the answers
    folder = Path(sys.argv[1])
    options, arrays = json.loads((folder / "options.json").read_text(encoding="utf-8")), load(folder)
    if hasattr(os, "sched_setaffinity"):  # before the framework counts its cores
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options["threads"]])
    model = build(options)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line), model, arrays, options)), file=answers, flush=True)


if __name__ == "__main__":
    main()
