"""A teacher whose logits are noisy (Sau & Balasubramanian 2016)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from lcomp.errors import UserError


class TeacherNoise(nn.Module):
    """Multiplies the teacher's logits by 1 + sigma n, n ~ N(0, 1) for each, in a random share of the examples of a
    batch: what many teachers would do, from one (Sau & Balasubramanian 2016, section 3).

    What is drawn is a function of the seed and of how many batches came before, which the checkpoint holds.

    Args:
        variance: sigma^2, 0 or more.
        share: the chance of each example to get noise, 0 to 1.

    Raises:
        UserError: a value outside its range.
    """

    def __init__(self, variance: float = 0.1, share: float = 0.5):
        super().__init__()
        if isinstance(variance, bool) or not isinstance(variance, int | float) or not variance >= 0:
            raise UserError(f"kd.noise.variance={variance}: must be a number, 0 or more")
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
            raise UserError(f"kd.noise.share={share}: a share of the examples, from 0 to 1")
        self.variance, self.share, self.seed = variance, share, 0
        self.register_buffer("batches", torch.tensor(0))
        self.batches: Tensor

    @torch.no_grad()
    def forward(self, logits: Tensor) -> Tensor:
        random = np.random.default_rng([self.seed, int(self.batches)])
        self.batches += 1
        noisy = random.random((len(logits), 1)) < self.share
        factors = 1 + noisy * self.variance**0.5 * random.standard_normal(logits.shape)
        return logits * torch.from_numpy(factors).to(logits)
