"""What tests of the patch share: the layers, their sizes, and the tensors of any answer."""

from __future__ import annotations

import pytest
import torch

T, B, D, H = 6, 4, 5, 7
KINDS = [("RNN", {}), ("RNN", {"nonlinearity": "relu"}), ("LSTM", {}), ("GRU", {})]
kinds = pytest.mark.parametrize(("kind", "more"), KINDS, ids=["tanh", "relu", "lstm", "gru"])


def flat(answer: object) -> list[torch.Tensor]:
    """Every floating tensor of an answer, in order."""
    if isinstance(answer, torch.Tensor):
        return [answer] if answer.is_floating_point() else []
    return [] if answer is None else [tensor for part in answer for tensor in flat(part)]
