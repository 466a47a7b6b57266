"""fastText's side of `unrolled bench sentiment`, in an environment of its own: one JSON object a line, in and out."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

MARKS = ".!?,'/()"


def clean(text: str) -> str:
    """As fastText's tutorial does: marks of punctuation apart, all in lower case, on one line."""
    text = text.replace("<br />", " ").replace("\n", " ").lower()
    for mark in MARKS:  # quicker than a regular expression or str.translate
        text = text.replace(mark, f" {mark} ")
    return text


def main() -> None:
    """Answer requests until there are none."""
    import fasttext  # type: ignore[import-not-found]

    folder = Path(sys.argv[1])
    given: dict[str, Any] = json.loads((folder / "given.json").read_text(encoding="utf-8"))
    file, kept, model = folder / "training.txt", folder / "model.bin", None
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "train":
            lines = [f"__label__{label} {clean(text)}\n" for label, text in given["training"]]
            file.write_text("".join(lines), encoding="utf-8")
            model = fasttext.train_supervised(
                str(file), dim=10, wordNgrams=2, epoch=5, lr=0.5, thread=2, verbose=0
            )
            model.save_model(str(kept))
            print("{}", flush=True)
        elif request["do"] == "load":
            model = fasttext.load_model(str(kept))
            print("{}", flush=True)
        else:
            assert model is not None
            start = time.perf_counter()
            labels, _ = model.predict(
                [clean(text) for text in given["texts"][request["first"] : request["last"]]]
            )
            seconds = time.perf_counter() - start
            said = [answer[0].removeprefix("__label__") for answer in labels]
            print(json.dumps({"seconds": seconds, "labels": said}), flush=True)


if __name__ == "__main__":
    main()
