"""Training on all of MNIST-C's corruptions but the one that is judged."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from lcomp.data import perturbations
from lcomp.data.mnist_c import CORRUPTIONS, PUBLISHED
from lcomp.errors import UserError, validate_choice


class LeaveOneOut:
    """Gives each image one of fourteen corruptions of MNIST-C, drawn at random, or leaves it as it is.

    The one left out is what the run is judged on: a run for each of the fifteen says what is learned about a corruption
    from the others. Some are near relatives, such as `rotate` and `shear`, and say more of each other than strangers.

    Args:
        left_out: the corruption that no image is given.
        severity: 1 to 5; None is that of the published files, each its own.
        clean: share of images that stay as they are, from 0 to below 1.

    Raises:
        UserError: an unknown corruption, or a number outside its range.
    """

    def __init__(self, left_out: str | None = None, severity: int | None = None, clean: float = 0.2):
        key = "perturb.leave_one_out"
        if left_out is None:
            raise UserError(f"{key}.left_out: name the corruption that is judged, one of {', '.join(CORRUPTIONS)}")
        validate_choice(f"{key}.left_out", left_out, list(CORRUPTIONS))
        if severity not in (None, 1, 2, 3, 4, 5):
            raise UserError(f"{key}.severity={severity}: must be 1 to 5, or null for the published ones")
        if not 0 <= clean < 1:
            raise UserError(f"{key}.clean={clean}: must be a share of the images, from 0 to below 1")
        names = [name for name in CORRUPTIONS if name != left_out]
        self.corruptions = [CORRUPTIONS[name] for name in names]
        self.severities = [severity or PUBLISHED[name] for name in names]
        self.clean = clean

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        """`images` (N, C, H, W), each corrupted or not."""
        count = len(images)
        chosen = torch.randint(len(self.corruptions), (count,), generator=generator)
        chosen[torch.rand(count, generator=generator) < self.clean] = -1
        return perturbations.perturb_each(images.clone(), chosen, self.corruptions, self.severities, generator)
