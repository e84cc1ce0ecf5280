"""mixup (Zhang et al. 2018): convex combinations of examples and of their labels."""

from __future__ import annotations

import numpy as np
import torch
from torch import Generator, Tensor

from lcomp.errors import UserError


class Mixup:
    """Mixes each image, and its label, with another of the batch: m x_i + (1 - m) x_j, m y_i + (1 - m) y_j.

    m is drawn from Beta(alpha, alpha) for each image; the paper draws one for a batch.

    Args:
        alpha: above 0: small leaves most images nearly as they are, 1 mixes uniformly.

    Raises:
        UserError: another alpha.
    """

    changes_labels = True

    def __init__(self, alpha: float = 0.2):
        if not alpha > 0:
            raise UserError(f"perturb.mixup.alpha={alpha}: must be above 0; 0.2 to 1 are usual")
        self.alpha = alpha

    def __call__(self, images: Tensor, labels: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """`images` (N, C, H, W) and `labels` (N, classes), mixed."""
        random = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
        shares = torch.from_numpy(random.beta(self.alpha, self.alpha, len(images))).float()
        others = torch.randperm(len(images), generator=generator)
        mixed = images[others].lerp_(images, shares.view(-1, 1, 1, 1))
        return mixed, labels[others].lerp_(labels, shares[:, None])
