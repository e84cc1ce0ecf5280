"""Which weights go first: functions of a weight tensor to scores of the same shape; the lowest are pruned."""

from __future__ import annotations

import torch
from torch import Tensor


def magnitude(weight: Tensor) -> Tensor:
    """|w| (Han et al. 2015)."""
    return weight.abs()


def random(weight: Tensor, seed: int = 0) -> Tensor:
    """Scores that `seed` and the number of weights decide, always the same: the control of every other criterion."""
    drawn = torch.rand(weight.shape, generator=torch.Generator().manual_seed(1000 * weight.numel() + seed))
    return drawn.to(weight.device)
