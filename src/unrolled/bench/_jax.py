"""One recurrent layer in JAX, as a program of its own environment: `python _jax.py THREADS`.

It knows nothing of this package. Requests come as JSON lines on stdin, answers go out on stdout. The layer is what
people write: the input products at once, then `lax.scan` over the steps, all under `jit`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any


def layer(cell: str, weights: tuple[Any, ...], x: Any) -> Any:
    """The output (T, B, H) for x (T, B, D) and torch's weights w_ih, w_hh, b_ih, b_hh."""
    import jax
    import jax.numpy as jnp

    w_ih, w_hh, b_ih, b_hh = weights
    zeros = jnp.zeros((x.shape[1], w_hh.shape[1]))

    def elman(h: Any, z: Any) -> Any:
        h = jnp.tanh(z + h @ w_hh.T + b_hh)
        return h, h

    def gru(h: Any, z: Any) -> Any:
        (ri, zi, ni), (rh, zh, nh) = jnp.split(z, 3, -1), jnp.split(h @ w_hh.T + b_hh, 3, -1)
        update = jax.nn.sigmoid(zi + zh)
        new = jnp.tanh(ni + jax.nn.sigmoid(ri + rh) * nh)
        h = (1 - update) * new + update * h
        return h, h

    def lstm(state: Any, z: Any) -> Any:
        i, f, g, o = jnp.split(z + state[0] @ w_hh.T + b_hh, 4, -1)
        c = jax.nn.sigmoid(f) * state[1] + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    step = {"elman": elman, "gru": gru, "lstm": lstm}[cell]
    return jax.lax.scan(step, (zeros, zeros) if cell == "lstm" else zeros, x @ w_ih.T + b_ih)[1]


def build(request: dict[str, Any]) -> Callable[[], Any]:
    """A function that runs the layer once, compiled; with gradients of x and the weights where that is asked for."""
    import jax
    import numpy as np

    rng = np.random.default_rng(0)
    cell, (T, B, D, H) = request["cell"], (request[name] for name in "TBDH")
    rows = {"elman": 1, "gru": 3, "lstm": 4}[cell] * H
    sizes = ((rows, D), (rows, H), (rows,), (rows,))
    weights = tuple(rng.uniform(-1, 1, size).astype(np.float32) / H**0.5 for size in sizes)
    x, d_output = (rng.standard_normal((T, B, size)).astype(np.float32) for size in (D, H))

    def training(weights: Any, x: Any, d_output: Any) -> Any:
        output, back = jax.vjp(lambda *given: layer(cell, *given), weights, x)
        return output, back(d_output)

    run = jax.jit(training if request["mode"] == "training" else lambda w, x, d: layer(cell, w, x))
    given = jax.device_put((weights, x, d_output))
    return lambda: jax.block_until_ready(run(*given))


def main() -> None:
    """Serve requests until stdin closes."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever the framework prints must not mix with the answers
    if hasattr(os, "sched_setaffinity"):  # before the framework counts its cores
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(sys.argv[1])])
    run: Callable[[], Any] = list
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "build":
            run = build(request)
            run()
        start = time.perf_counter()
        run()
        print(json.dumps({"seconds": time.perf_counter() - start}), file=answers, flush=True)


if __name__ == "__main__":
    main()
