"""Perturbations of images: pure functions of (batch, severity 1 to 5, generator) to a batch, vectorised and seeded.

Batches are float32 (N, C, H, W) in [0, 1] and stay in that range. The geometric ones resample bilinearly around the
image's centre and fill with zeros, the background of a digit. Each docstring states what the function guarantees.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from lcomp.data.operations import clutter, elastic, erasing, random_convolution, thickness, wave
from lcomp.errors import UserError, suggestion

Setting = float | str | Sequence[str] | None  # as a YAML has it
Perturbation = Callable[[Tensor, int, Generator], Tensor]

NOISE_STD = (0.2, 0.3, 0.4, 0.55, 0.7)
SALT_AND_PEPPER_SHARE = (0.1, 0.2, 0.3, 0.4, 0.5)
BLUR_STD = (0.8, 1.2, 1.7, 2.2, 2.8)
ROTATION_DEGREES = (10.0, 20.0, 30.0, 45.0, 60.0)
TRANSLATION_SHARE = (1 / 28, 2 / 28, 3 / 28, 4 / 28, 5 / 28)
SCALE_FACTOR = (0.85, 0.7, 0.55, 0.45, 0.35)
BRIGHTNESS_SHIFT = (0.1, 0.2, 0.35, 0.5, 0.65)
CONTRAST_FACTOR = (0.6, 0.4, 0.25, 0.15, 0.08)
AFFINE_DEGREES = (5.0, 10.0, 15.0, 20.0, 30.0)
AFFINE_TRANSLATION = (0.5 / 28, 1 / 28, 2 / 28, 3 / 28, 4 / 28)
AFFINE_SCALE = (0.05, 0.1, 0.15, 0.2, 0.3)
OCCLUSION_SHARE = (7 / 28, 10 / 28, 13 / 28, 15 / 28, 18 / 28)


def gaussian_noise(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Adds independent noise of standard deviation `NOISE_STD` to every pixel, then clips."""
    noise = torch.randn(images.shape, generator=generator)
    return (images + NOISE_STD[severity - 1] * noise).clamp_(0, 1)


def salt_and_pepper(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Sets each pixel, with probability `SALT_AND_PEPPER_SHARE`, to 0 or 1 with equal chance."""
    drawn = torch.rand(images.shape, generator=generator)
    fraction = SALT_AND_PEPPER_SHARE[severity - 1]
    return torch.where(drawn < fraction, (drawn < fraction / 2).float(), images)


def gaussian_blur(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Convolves with a Gaussian of standard deviation `BLUR_STD` pixels, cut at four deviations, zeros outside."""
    std = BLUR_STD[severity - 1]
    radius = math.ceil(4 * std)
    kernel = torch.exp(-((torch.arange(-radius, radius + 1) / std) ** 2) / 2)
    kernel = (kernel / kernel.sum()).repeat(images.shape[1], 1, 1, 1)
    blurred = F.conv2d(images, kernel, padding=(0, radius), groups=images.shape[1])
    return F.conv2d(blurred, kernel.mT, padding=(radius, 0), groups=images.shape[1]).clamp_(0, 1)


def rotation(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Turns each image by `ROTATION_DEGREES`, clockwise or not with equal chance."""
    angle = math.radians(ROTATION_DEGREES[severity - 1]) * random_signs(len(images), generator)
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros(len(images))
    return warp(images, torch.stack([torch.stack([cos, -sin, zero], 1), torch.stack([sin, cos, zero], 1)], 1))


def translation(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Moves each image by `TRANSLATION_SHARE` of its side along both axes, each direction with equal chance."""
    shift = (
        2 * TRANSLATION_SHARE[severity - 1] * torch.stack([random_signs(len(images), generator) for _ in range(2)], 1)
    )
    eye = torch.eye(2).expand(len(images), 2, 2)
    return warp(images, torch.cat([eye, shift[:, :, None]], 2))


def scale(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Shrinks each image to `SCALE_FACTOR` of its width and height."""
    factor = 1 / SCALE_FACTOR[severity - 1]
    theta = torch.tensor([[factor, 0.0, 0.0], [0.0, factor, 0.0]])
    return warp(images, theta.expand(len(images), 2, 3))


def affine(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Turns, shears, scales and moves each image at random, uniformly within `AFFINE_DEGREES` (both angles),
    1 ± `AFFINE_SCALE` (either axis) and `AFFINE_TRANSLATION` of its side (either axis): the usual augmentation."""
    drawn = 2 * torch.rand(6, len(images), generator=generator) - 1
    angle, shear = math.radians(AFFINE_DEGREES[severity - 1]) * drawn[:2]
    width, height = 1 + AFFINE_SCALE[severity - 1] * drawn[2:4]
    right, down = 2 * AFFINE_TRANSLATION[severity - 1] * drawn[4:]
    rows = (
        torch.stack([angle.cos() * width, -(angle + shear).sin() * height, right], 1),
        torch.stack([angle.sin() * width, (angle + shear).cos() * height, down], 1),
    )
    return warp(images, torch.stack(rows, 1))


def brightness(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Adds `BRIGHTNESS_SHIFT` to every pixel, then clips: background turns grey, strokes saturate."""
    return (images + BRIGHTNESS_SHIFT[severity - 1]).clamp_(0, 1)


def contrast(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Pulls every pixel towards its image's mean: the standard deviation falls to `CONTRAST_FACTOR` of itself."""
    mean = images.mean((1, 2, 3), keepdim=True)
    return mean + CONTRAST_FACTOR[severity - 1] * (images - mean)


def occlusion(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Blackens a square of `OCCLUSION_SHARE` of the side at a random place that lies wholly inside the image."""
    count, _, height, width = images.shape
    hidden = torch.ones(count, 1, height, width, dtype=torch.bool)
    for axis, size in ((2, height), (3, width)):
        side = round(OCCLUSION_SHARE[severity - 1] * size)
        start = torch.randint(size - side + 1, (count, 1), generator=generator)
        positions = torch.arange(size)
        inside = (positions >= start) & (positions < start + side)
        hidden &= inside.view(count, 1, *((-1, 1) if axis == 2 else (1, -1)))
    return images.masked_fill(hidden, 0)


def random_signs(count: int, generator: Generator) -> Tensor:
    """-1 or 1, (count,), with equal chance."""
    return torch.randint(2, (count,), generator=generator).float() * 2 - 1


def warp(images: Tensor, theta: Tensor) -> Tensor:
    """Samples each image at affine coordinates `theta` (N, 2, 3), in units of half its side; the same as
    `F.affine_grid`, which takes six times as long as the sampling."""
    y, x = ((2 * torch.arange(n) + 1) / n - 1 for n in images.shape[2:])
    a, b, c = theta[:, :, :, None, None].unbind(2)  # each (N, 2, 1, 1)
    grid = (a * x + (b * y[:, None] + c)).movedim(1, 3)
    return F.grid_sample(images, grid, align_corners=False).clamp_(0, 1)


PERTURBATIONS: Mapping[str, Perturbation] = {
    function.__name__: function
    for function in (
        gaussian_noise,
        salt_and_pepper,
        gaussian_blur,
        rotation,
        translation,
        scale,
        affine,
        brightness,
        contrast,
        occlusion,
        elastic,
        thickness,
        random_convolution,
        wave,
        erasing,
        clutter,
    )
}


def find_perturbation(
    name: str, severity: Setting, key: str, among: Mapping[str, Perturbation] = PERTURBATIONS
) -> Perturbation:
    """The perturbation of that name.

    Raises:
        UserError: naming `key`, for an unknown name or a severity that is not 1 to 5.
    """
    if name not in among:
        allowed = list(among)
        raise UserError(f"{key}: no perturbation '{name}'; allowed are {', '.join(allowed)}{suggestion(name, allowed)}")
    if not isinstance(severity, int) or severity not in range(1, 6):
        raise UserError(f"{key}: severity {severity} of {name}; allowed are 1 to 5")
    return among[name]


def perturb(images: Tensor, severities: Mapping[str, int], *seeds: int) -> Tensor:
    """`images` (N, C, H, W) under each named perturbation, in the order of `PERTURBATIONS`; `seeds` decide the draw."""
    generator = seeded_generator(*seeds)
    for name, function in PERTURBATIONS.items():
        if name in severities:
            images = function(images, severities[name], generator)
    return images


def perturb_each(
    images: Tensor, chosen: Tensor, among: Sequence[Perturbation], severities: Sequence[int], generator: Generator
) -> Tensor:
    """`images` (N, C, H, W), changed in place: each by the one of `among` that `chosen` (N,) numbers, at that one's
    severity, all of a number at once; those below 0 stay."""
    for number, (function, severity) in enumerate(zip(among, severities, strict=True)):
        where = (chosen == number).nonzero()[:, 0]
        if len(where):
            images[where] = function(images[where], severity, generator)
    return images


def seeded_generator(*seeds: int) -> Generator:
    """A generator that `seeds` decide, all of them and their order."""
    state = np.random.SeedSequence(seeds).generate_state(1, np.uint64)[0]
    return Generator().manual_seed(int(state) & (2**63 - 1))
