"""MNIST-C's changes of place and form: resampled bilinearly around the image's centre, black outside."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from lcomp.data.perturbations import random_signs, warp

SHEAR_RADIANS = (0.2, 0.4, 0.6, 0.8, 1.0)
ROTATE_RADIANS = (0.2, 0.4, 0.6, 0.8, 1.0)
SCALE_FACTOR = (0.9, 0.8, 0.7, 0.6, 0.5)
TRANSLATE_PIXELS = (1, 2, 3, 4, 5)


def shear(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Leans each image by the angle a = `SHEAR_RADIANS`, left or right with equal chance: pixel (x, y) from the centre
    comes from (x - y sin a, y cos a), so that the digit also grows taller by 1 / cos a. (scikit-image's shear of 2019
    is that; today's keeps the height and takes the tangent.)"""
    angle = SHEAR_RADIANS[severity - 1] * random_signs(len(images), generator)
    ones, zero = torch.ones(len(images)), torch.zeros(len(images))
    return affine(images, (ones, -angle.sin()), (zero, angle.cos()))


def scale(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Shrinks each image to `SCALE_FACTOR` of its width and height."""
    factor, zero = torch.full((len(images),), 1 / SCALE_FACTOR[severity - 1]), torch.zeros(len(images))
    return affine(images, (factor, zero), (zero, factor))


def rotate(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Turns each image by `ROTATE_RADIANS`, clockwise or not with equal chance."""
    angle = ROTATE_RADIANS[severity - 1] * random_signs(len(images), generator)
    return affine(images, (angle.cos(), -angle.sin()), (angle.sin(), angle.cos()))


def translate(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Moves each image by `TRANSLATE_PIXELS` along both axes, each direction with equal chance."""
    pixels = TRANSLATE_PIXELS[severity - 1]
    for move in ((pixels, 0), (0, pixels)):
        right, down = move
        back = random_signs(len(images), generator)[:, None, None, None] < 0
        ahead, behind = (F.pad(images, (x, -x, y, -y)) for x, y in ((right, down), (-right, -down)))
        images = torch.where(back, behind, ahead)
    return images


def affine(images: Tensor, across: tuple[Tensor, Tensor], down: tuple[Tensor, Tensor]) -> Tensor:
    """Pixel (x, y) from the centre comes from (`across` . (x, y), `down` . (x, y)), whose coefficients are (N,)."""
    zero = torch.zeros(len(images))
    return warp(images, torch.stack([torch.stack([*across, zero], 1), torch.stack([*down, zero], 1)], 1))
