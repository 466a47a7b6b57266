"""Adam for the rows of a table that a batch touches: the others keep their moments and cost nothing."""

from __future__ import annotations

import torch
from torch import Tensor


class RowAdam:
    """Kingma and Ba (2015) without the correction of the first moments' bias, on chosen rows of `table` in place.

    The second moment decays by 0.98, quickly, because a row is touched seldom and its first gradient must not count
    as its scale for long.
    """

    def __init__(self, table: Tensor) -> None:
        self.table = table
        self.first, self.second = torch.zeros_like(table), torch.zeros_like(table)

    def update(self, rows: Tensor, gradient: Tensor, rate: float) -> None:
        """Move `rows` (R,), each named once, against `gradient` (R, ...)."""
        m = self.first[rows].mul_(0.9).add_(gradient, alpha=0.1)
        v = self.second[rows].mul_(0.98).addcmul_(gradient, gradient, value=0.02)
        self.first[rows], self.second[rows] = m, v
        with torch.no_grad():
            self.table.index_add_(0, rows, m / (v.sqrt() + 1e-8), alpha=-rate)
