"""Which weights go first: functions of a weight tensor to scores of the same shape; the lowest are pruned."""

from __future__ import annotations

from torch import Tensor


def magnitude(weight: Tensor) -> Tensor:
    """|w| (Han et al. 2015)."""
    return weight.abs()
