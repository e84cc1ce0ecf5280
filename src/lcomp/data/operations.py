"""Perturbations that are none of MNIST-C's fifteen corruptions, in the terms of `perturbations`: what AugMix mixes.

Near relatives are named in each docstring, so that nobody takes one for a stranger to what it is judged on.
"""

from __future__ import annotations

import math
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

ELASTIC_PIXELS = (1.0, 1.5, 2.0, 2.5, 3.0)
ELASTIC_SMOOTHNESS = 4 / 28
THICKNESS_SHARE = (0.3, 0.5, 0.7, 0.85, 1.0)
CONVOLUTION_SHARE = (0.2, 0.4, 0.6, 0.8, 1.0)
WAVE_HEIGHT = (0.15, 0.3, 0.45, 0.6, 0.75)
WAVE_CYCLES = (0.25, 6.25)
PATCH_SHARE = (5 / 28, 7 / 28, 9 / 28, 11 / 28, 13 / 28)


def elastic(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Moves pixels by a smooth random field (Simard et al. 2003), `ELASTIC_PIXELS` in root mean square.

    The field has no affine part: no image is moved, turned, scaled or sheared as a whole, as MNIST-C does; parts of it
    are.
    """
    height, width = images.shape[2:]
    across, down = (ELASTIC_PIXELS[severity - 1] * field(len(images), height, width, generator)).unbind(1)
    y, x = ((2 * torch.arange(size) + 1) / size - 1 for size in (height, width))
    grid = torch.stack([x + 2 / width * across, y[:, None] + 2 / height * down], 3)
    return F.grid_sample(images, grid, align_corners=False).clamp_(0, 1)


def field(count: int, height: int, width: int, generator: Generator) -> Tensor:
    """Vectors (count, 2, height, width): noise under a Gaussian of `ELASTIC_SMOOTHNESS` of the side, less its affine
    part, of root mean square 1 in both components."""
    down, across = bumps(height), bumps(width)
    noise = torch.randn(count, 2, down.shape[1], across.shape[1], generator=generator)
    smooth = (down @ noise @ across.T).flatten(2)
    y, x = (torch.linspace(-1, 1, size) for size in (height, width))
    ones = torch.ones(height, width)
    affine = F.normalize(torch.stack([ones, ones * x, ones * y[:, None]]).flatten(1))
    smooth -= smooth @ affine.T @ affine
    return F.normalize(smooth, dim=2).mul_(math.sqrt(height * width)).view(count, 2, height, width)


def bumps(size: int) -> Tensor:
    """Gaussians (size, count) of `ELASTIC_SMOOTHNESS`, one beside the other and two deviations beyond both ends."""
    std = ELASTIC_SMOOTHNESS * size
    centres = torch.arange(-2 * std, size + 2 * std, std)
    return torch.exp(-(((torch.arange(size)[:, None] - centres) / std) ** 2) / 2)


def thickness(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Thickens or thins each image's strokes, with equal chance: each pixel goes `THICKNESS_SHARE` of the way to the
    highest, or the lowest, of the nine around it (grey dilation and erosion)."""
    thicker = (torch.rand(len(images), 1, 1, 1, generator=generator) < 0.5).expand_as(images)
    changed = F.pad(torch.where(thicker, images, 1 - images), (1, 1, 1, 1), mode="replicate")
    for axis in (2, 3):  # maxima of slices: pooling takes ten times as long
        changed = reduce(torch.maximum, [changed.narrow(axis, start, images.shape[axis]) for start in range(3)])
    return images + THICKNESS_SHARE[severity - 1] * (torch.where(thicker, changed, 1 - changed) - images)


def random_convolution(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Mixes `CONVOLUTION_SHARE` of a random 3x3 convolution into each image (Xu et al. 2021), its values stretched to 0
    to 1: blurs, outlines and negatives among much else, on backgrounds of any grey, as MNIST-C's brightness makes."""
    count, channels, height, width = images.shape
    kernels = torch.randn(count * channels, 1, 3, 3, generator=generator)
    drawn = F.conv2d(images.reshape(1, -1, height, width), kernels, padding=1, groups=count * channels)
    drawn = drawn.view_as(images)
    low, high = drawn.amin((1, 2, 3), keepdim=True), drawn.amax((1, 2, 3), keepdim=True)
    drawn = (drawn - low) / (high - low).clamp_min(1e-6)
    return images + CONVOLUTION_SHARE[severity - 1] * (drawn - images)


def wave(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Adds a plane wave of `WAVE_HEIGHT`, of random direction, phase and `WAVE_CYCLES` over the image, then clips (the
    Fourier basis of Yin et al. 2019). The longest are a slope, of which MNIST-C's fog has some."""
    count, _, height, width = images.shape
    low, high = WAVE_CYCLES
    drawn, direction, phase = torch.rand(3, count, 1, 1, generator=generator)
    cycles, direction, phase = low + (high - low) * drawn, 2 * math.pi * direction, 2 * math.pi * phase
    y, x = torch.arange(height)[:, None] / height, torch.arange(width) / width
    along = direction.cos() * x + direction.sin() * y
    waves: Tensor = (2 * math.pi * cycles * along + phase).sin()[:, None]
    return (images + WAVE_HEIGHT[severity - 1] * waves).clamp_(0, 1)


def erasing(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Paints a square of `PATCH_SHARE` of the side, in part outside perhaps, in a random grey (Zhong et al. 2020)."""
    grey = torch.rand(len(images), 1, 1, 1, generator=generator)
    return torch.where(patch(images, severity, generator), grey, images)


def clutter(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Adds strokes: in a square of `PATCH_SHARE` of the side those of another image of the batch, moved at random, show
    besides (the lighter of both; after Yun et al. 2019). MNIST-C's lines add strokes too, though never a digit's."""
    order = torch.randperm(len(images), generator=generator)
    moves = [1 + int(torch.randint(max(1, size - 1), (), generator=generator)) for size in images.shape[2:]]
    others = images[order].roll(moves, (2, 3))  # moved, so that an image beside itself changes too
    return torch.where(patch(images, severity, generator), torch.maximum(images, others), images)


def patch(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """A square of `PATCH_SHARE` of each image's side, its centre anywhere: true (N, 1, H, W) inside it."""
    inside = torch.ones(len(images), 1, *images.shape[2:], dtype=torch.bool)
    for axis in (2, 3):
        size = images.shape[axis]
        side = round(PATCH_SHARE[severity - 1] * size)
        start = torch.randint(-(side // 2), size - side // 2, (len(images), 1), generator=generator)
        positions = torch.arange(size)
        held = (positions >= start) & (positions < start + side)
        inside &= held.view(len(images), 1, *((-1, 1) if axis == 2 else (1, -1)))
    return inside
