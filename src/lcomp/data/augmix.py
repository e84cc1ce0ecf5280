"""AugMix (Hendrycks et al. 2020): training images mixed with chains of random operations on them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Generator, Tensor

from lcomp.data import perturbations
from lcomp.errors import UserError

OPERATIONS = ("elastic", "thickness", "random_convolution", "wave", "erasing", "clutter")


class AugMix:
    """Mixes each image with `width` chains of 1 to `depth` operations on it: m x + (1 - m) sum_i w_i chain_i(x).

    The weights w come from Dirichlet(alpha, ..., alpha), m from Beta(alpha, alpha), depths and operations from uniform
    laws, for each image and chain anew. Two things differ from the paper. The severity of an operation is drawn for all
    the images of a batch that it meets at one place of their chains, so that they are changed at once; and the
    Jensen-Shannon loss is left out: it triples what a step costs.

    Args:
        operations: names of perturbations (`PERTURBATIONS`); by default none of them is one of MNIST-C's fifteen.
        severity: the highest, 1 to 5; drawn from 1 to it.
        width: chains of an image, 1 or more; the paper has 3.
        depth: most operations in a chain, 1 or more.
        alpha: concentration of both laws, above 0; at 1 both are uniform.

    Raises:
        UserError: an unknown operation, or a number outside its range.
    """

    def __init__(
        self,
        operations: Sequence[str] = OPERATIONS,
        severity: int = 3,
        width: int = 1,
        depth: int = 3,
        alpha: float = 1.0,
    ):
        key = "perturb.augmix"
        for name, value in (("width", width), ("depth", depth)):
            if value < 1:
                raise UserError(f"{key}.{name}={value}: must be a whole number, 1 or more")
        if severity not in range(1, 6):
            raise UserError(f"{key}.severity={severity}: must be 1 to 5")
        if not alpha > 0:
            raise UserError(f"{key}.alpha={alpha}: must be above 0; 1 is usual")
        if not operations:
            raise UserError(f"{key}.operations=[]: name one or more of {', '.join(perturbations.PERTURBATIONS)}")
        self.operations = [perturbations.find_perturbation(name, 1, f"{key}.operations") for name in operations]
        self.severity, self.width, self.depth, self.alpha = severity, width, depth, alpha

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        """A mixture for each of `images` (N, C, H, W)."""
        random, count = np.random.default_rng(int(torch.randint(2**62, (), generator=generator))), len(images)
        weights = random.dirichlet([self.alpha] * self.width, count).T  # (width, N)
        original = random.beta(self.alpha, self.alpha, count)
        chains = self.chains(images.repeat(self.width, 1, 1, 1), random, generator)
        chains = chains.view(self.width, *images.shape)
        mixing = torch.from_numpy(np.concatenate([[original], (1 - original) * weights])).to(images.dtype)
        return torch.einsum("kn,knchw->nchw", mixing, torch.cat([images[None], chains])).clamp_(0, 1)

    def chains(self, images: Tensor, random: np.random.Generator, generator: Generator) -> Tensor:
        """Each of `images` (N, C, H, W) after a chain of its own; they are changed in place."""
        depths = random.integers(1, self.depth + 1, len(images))
        for position in range(self.depth):
            chosen = np.where(position < depths, random.integers(len(self.operations), size=len(images)), -1)
            severities = random.integers(1, self.severity + 1, len(self.operations)).tolist()
            perturbations.perturb_each(images, torch.from_numpy(chosen), self.operations, severities, generator)
        return images
