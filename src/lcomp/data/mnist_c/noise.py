"""MNIST-C's noise: single pixels drawn anew."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

SHOT_PHOTONS = (60, 25, 12, 5, 3)
IMPULSE_SHARE = (0.03, 0.06, 0.09, 0.17, 0.27)


def shot_noise(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Counts photons: pixel x becomes Poisson(c x) / c, clipped, where white is c = `SHOT_PHOTONS` of them.

    Before clipping the mean is x and the variance x / c; black stays black. What one image draws depends on those
    before it in the batch.
    """
    return counted(images, SHOT_PHOTONS[severity - 1], generator)


def counted(images: Tensor, photons: int, generator: Generator) -> Tensor:
    """As `shot_noise`."""
    return torch.poisson(images * photons, generator=generator).div_(photons).clamp_(0, 1)


def impulse_noise(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Sets each pixel, with probability `IMPULSE_SHARE`, to 0 or 1 with equal chance."""
    return salted(images, IMPULSE_SHARE[severity - 1], generator)


def salted(images: Tensor, fraction: float, generator: Generator) -> Tensor:
    """As `impulse_noise`."""
    drawn = torch.rand(images.shape, generator=generator)
    return torch.where(drawn < fraction, (drawn < fraction / 2).float(), images)
