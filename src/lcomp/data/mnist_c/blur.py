"""MNIST-C's blurs: seen through frosted glass, and by a camera that moves."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

GLASS = ((0.7, 1, 2), (0.9, 2, 1), (1.0, 2, 3), (1.1, 3, 2), (1.5, 4, 2))  # std, radius and rounds of the swaps
MOTION = ((10, 3.0), (15, 5.0), (15, 8.0), (15, 12.0), (20, 15.0))  # radius and std, pixels
MOTION_DEGREES = 45.0


def glass_blur(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Blurs along the height, swaps pixels with near ones (`shuffle`), blurs along the height again.

    Standard deviation of the blur, radius and rounds of the swaps are `GLASS`. The published code meant to blur both
    ways, but its library took the columns for channels; what was published, and is repeated here, blurs one way. It
    also rounds down to 8 bits between blur and swaps, which we do not: our images are brighter by 1/255 at most where
    there is a stroke.
    """
    std, radius, rounds = GLASS[severity - 1]
    blur = correlation_matrix(images.shape[2], gaussian(std))
    return (blur @ swapped(blur @ images, radius, rounds, generator)).clamp_(0, 1)


def swapped(images: Tensor, radius: int, rounds: int, generator: Generator) -> Tensor:
    """Each image's pixels swapped with near ones (`shuffle`)."""
    count, channels, height, width = images.shape
    shape = (rounds, height - 2 * radius, width - 2 * radius, count)
    choice = torch.randint(2 * (2 * radius) ** 2, shape, generator=generator, dtype=torch.uint8)
    order = shuffle(choice, radius, height, width)[:, None].expand(-1, channels, -1)
    return images.flatten(2).gather(2, order).view_as(images)


def shuffle(choice: Tensor, radius: int, height: int, width: int) -> Tensor:
    """Which pixel comes to lie where, (N, height * width), after every pixel had its turn, from the last row and column
    to the first, to change places with another one.

    Pixels are swapped one after another, so that one can travel far. Turns that are 2 radius columns apart in
    neighbouring rows touch different pixels: all turns (row, column) with the same 2 radius row + column are taken at
    once, with the same result as one by one.

    Args:
        choice: (rounds, rows, columns, N) uint8, below 2 (2 radius)^2; a turn's place is the distance to the image's
            end less `radius`. The lower half says how far up and left the partner is, from `radius` to 1 - `radius`
            either way; the upper half lets the pixel be.
    """
    _, rows, columns, count = choice.shape
    away = torch.arange(-radius, radius)
    partner = torch.cat([(away[:, None] * width + away).flatten(), torch.zeros((2 * radius) ** 2, dtype=torch.long)])
    row, column = torch.arange(rows)[:, None].expand(rows, columns), torch.arange(columns).expand(rows, columns)
    turn = 2 * radius * row + column
    waves = [(turn == moment).nonzero(as_tuple=True) for moment in range(int(turn.max()) + 1)]
    order = torch.arange(height * width)[:, None].repeat(1, count)
    for drawn in choice:
        for down, right in waves:
            here = (height - radius - down) * width + width - radius - right
            there = here[:, None] + partner.take(drawn[down, right].long())
            current, swapped = order.index_select(0, here), order.gather(0, there)
            order.index_copy_(0, here, swapped)
            order.scatter_(0, there, current)
    return order.T


def motion_blur(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Smears each image along a line: a pixel is the mean of those that lie 0, 1, ... 2 r pixels from it in one
    direction, with Gaussian weights; the direction is uniform within 45 degrees of the right.

    Radius r and standard deviation are `MOTION`. This is what ImageMagick's MotionBlurImage does, to the rounding of
    the line to whole pixels (ceil(x - 1/2)) and the image's edge that goes on outside; it rounds results to 8 bits,
    we do not.
    """
    return smeared(images, *MOTION[severity - 1], generator)


def smeared(images: Tensor, radius: int, std: float, generator: Generator) -> Tensor:
    """As `motion_blur`."""
    count, _, height, width = images.shape
    angle = math.radians(MOTION_DEGREES) * (2 * torch.rand(count, generator=generator) - 1)
    angle, order = angle.sort()  # of images side by side most have the same line
    weights = gaussian(std, 2 * radius)[2 * radius :]
    steps = torch.arange(2 * radius + 1)[:, None]
    right = (steps * angle.cos() - 0.5).ceil().long().clamp_(max=width - 1)
    down = (steps * angle.sin() - 0.5).ceil().long().clamp_(1 - height, height - 1)
    low, high = int(down.min()), int(down.max())
    padded = F.pad(images[order], (0, int(right.max()), -low, high), mode="replicate")
    blurred = torch.zeros_like(images)
    for weight, across, along in zip((weights / weights.sum()).tolist(), right, down - low, strict=True):
        lines, lengths = (width * along + across).unique_consecutive(return_counts=True)
        start = 0
        for line, length in zip(lines.tolist(), lengths.tolist(), strict=True):
            (y, x), end = divmod(line, width), start + length
            blurred[start:end].add_(padded[start:end, :, y : y + height, x : x + width], alpha=weight)
            start = end
    return torch.empty_like(images).index_copy_(0, order, blurred).clamp_(0, 1)


def gaussian(std: float, radius: int | None = None) -> Tensor:
    """Weights of a Gaussian at -radius to `radius` pixels, by default four standard deviations; their sum is 1."""
    radius = int(4 * std + 0.5) if radius is None else radius
    weights = torch.exp(-((torch.arange(-radius, radius + 1) / std) ** 2) / 2)
    return weights / weights.sum()


def correlation_matrix(size: int, kernel: Tensor) -> Tensor:
    """The matrix (size, size) that correlates a line of `size` pixels with `kernel`, of odd length; the line's ends go
    on outside."""
    radius = len(kernel) // 2
    places = (torch.arange(size)[:, None] + torch.arange(-radius, radius + 1)).clamp_(0, size - 1)
    return torch.zeros(size, size).scatter_add_(1, places, kernel.expand(size, -1))
