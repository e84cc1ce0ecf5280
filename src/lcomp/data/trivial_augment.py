"""TrivialAugment (Müller & Hutter 2021): one random change of random strength to each image, with nothing to tune."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from lcomp.data.perturbations import random_signs, warp

Change = Callable[[Tensor, Tensor], Tensor]  # images (N, C, H, W) in [0, 1] and how much of each, (N, 1, 1, 1)
BINS = 31  # magnitudes that are drawn, evenly from none to most
MOST_DEGREES, MOST_SHEAR, MOST_PIXELS, MOST_BLEND = 135.0, 0.99, 32, 0.99  # the paper's wide space
FEWEST_BITS = 2


class TrivialAugment:
    """Gives each image one of fourteen changes, each with equal chance, of a strength drawn from none to most.

    The changes and strengths are those of the paper's wide space. Two things differ: what turns, shears or moves does
    so around the image's centre and resamples bilinearly; grey images have no colour to change and stay as they are
    there. Images of one change are changed at once.
    """

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        """`images` (N, C, H, W), each changed."""
        count = len(images)
        chosen = torch.randint(len(CHANGES), (count,), generator=generator)
        strengths = torch.randint(BINS, (count, 1, 1, 1), generator=generator) / (BINS - 1)
        signed = strengths * random_signs(count, generator).view(-1, 1, 1, 1)
        changed = images.clone()
        for number, (change, two_sided) in enumerate(CHANGES):
            where = (chosen == number).nonzero()[:, 0]
            if len(where):
                amounts = signed if two_sided else strengths
                changed[where] = change(images[where], amounts[where])
        return changed


def identity(images: Tensor, amount: Tensor) -> Tensor:
    return images


def rotate(images: Tensor, amount: Tensor) -> Tensor:
    """Turns by `MOST_DEGREES` at 1."""
    angle = torch.deg2rad(MOST_DEGREES * amount.view(-1))
    zero = torch.zeros_like(angle)
    rows = torch.stack([angle.cos(), -angle.sin(), zero], 1), torch.stack([angle.sin(), angle.cos(), zero], 1)
    return warp(images, torch.stack(rows, 1))


def shear_x(images: Tensor, amount: Tensor) -> Tensor:
    return warp(images, moved(amount, 0, 1, MOST_SHEAR))


def shear_y(images: Tensor, amount: Tensor) -> Tensor:
    return warp(images, moved(amount, 1, 0, MOST_SHEAR))


def translate_x(images: Tensor, amount: Tensor) -> Tensor:
    return warp(images, moved(amount, 0, 2, 2 * min(1.0, MOST_PIXELS / images.shape[3])))


def translate_y(images: Tensor, amount: Tensor) -> Tensor:
    return warp(images, moved(amount, 1, 2, 2 * min(1.0, MOST_PIXELS / images.shape[2])))


def moved(amount: Tensor, row: int, column: int, most: float) -> Tensor:
    """The identity's coordinates (N, 2, 3) with `most` times the amount at one place."""
    theta = torch.eye(2, 3).repeat(len(amount), 1, 1)
    theta[:, row, column] += most * amount.view(-1)
    return theta


def blend(images: Tensor, plain: Tensor, amount: Tensor) -> Tensor:
    """Away from `plain` where the amount is above 0, towards it below: at -1 nearly all the way."""
    return (plain + (1 + MOST_BLEND * amount) * (images - plain)).clamp_(0, 1)


def grey(images: Tensor) -> Tensor:
    """The luma (N, 1, H, W) of images of three channels; the mean of those of any other number."""
    if images.shape[1] != 3:
        return images.mean(1, keepdim=True)
    return (images * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1, keepdim=True)


def brightness(images: Tensor, amount: Tensor) -> Tensor:
    return blend(images, torch.zeros(()), amount)


def colour(images: Tensor, amount: Tensor) -> Tensor:
    return blend(images, grey(images), amount)


def contrast(images: Tensor, amount: Tensor) -> Tensor:
    return blend(images, grey(images).mean((1, 2, 3), keepdim=True), amount)


def sharpness(images: Tensor, amount: Tensor) -> Tensor:
    """Blends with the image smoothed, its outermost pixels as they are."""
    channels = images.shape[1]
    kernel = torch.ones(3, 3)
    kernel[1, 1] = 5
    smooth = images.clone()
    smooth[:, :, 1:-1, 1:-1] = F.conv2d(images, (kernel / 13).expand(channels, 1, 3, 3), groups=channels)
    return blend(images, smooth, amount)


def posterize(images: Tensor, amount: Tensor) -> Tensor:
    """Keeps the highest 8 down to `FEWEST_BITS` bits of each byte."""
    step = 2 ** ((8 - FEWEST_BITS) * amount).round()
    return ((images * 255).round() / step).floor() * step / 255


def solarize(images: Tensor, amount: Tensor) -> Tensor:
    """The negative of pixels from a threshold up: of white alone at 0, of all at 1."""
    return torch.where((images * 255).round() >= 255 * (1 - amount), 1 - images, images)


def autocontrast(images: Tensor, amount: Tensor) -> Tensor:
    """Stretches each channel to 0 to 1."""
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    return torch.where(high > low, (images - low) / (high - low).clamp_min(1e-6), images)


def equalize(images: Tensor, amount: Tensor) -> Tensor:
    """Flattens the histogram of each channel's bytes."""
    from torchvision.transforms.v2 import functional  # takes a second to import

    equal: Tensor = functional.equalize((images * 255).round().to(torch.uint8))
    return equal.float().div_(255)


CHANGES: tuple[tuple[Change, bool], ...] = (  # and whether each has two directions
    (identity, False),
    (shear_x, True),
    (shear_y, True),
    (translate_x, True),
    (translate_y, True),
    (rotate, True),
    (brightness, True),
    (colour, True),
    (contrast, True),
    (sharpness, True),
    (posterize, False),
    (solarize, False),
    (autocontrast, False),
    (equalize, False),
)
