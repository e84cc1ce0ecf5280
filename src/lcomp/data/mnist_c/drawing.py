"""MNIST-C's drawings: stripes and lines over a digit, or its outline alone.

The published code has one setting of each. Here that is severity 3; the others are ours.
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor

from lcomp.data.mnist_c.blur import correlation_matrix, gaussian

STRIPE_COLUMNS = (3, 5, 7, 9, 11)
LINE_RADIUS = (1.3, 1.8, 2.3, 3.2, 4.5)  # pixels
CANNY_STD = (0.5, 0.75, 1.0, 1.5, 2.0)
WEAK, STRONG = 0.1, 0.2  # gradients that continue an edge, and that make one
ZIGZAG_START, ZIGZAG_STEP = 2, 2.0  # pixels from the image's sides; half a zig's length, and its height


def stripe(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Inverts the first and the last `STRIPE_COLUMNS` of each image."""
    columns = STRIPE_COLUMNS[severity - 1]
    striped = images.clone()
    for part in (striped[..., :columns], striped[..., -columns:]):
        part.neg_().add_(1)
    return striped


def dotted_line(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Adds a white line from a random row at the left to one at the right, two columns drawn after two left out, its
    width `LINE_RADIUS` (`ink`)."""
    count, _, height, width = images.shape
    first, last = torch.randint(height - 1, (2, count, 1), generator=generator)
    column = torch.arange(width)
    centre = first + (last - first) * column / (width - 1)
    drawn = (column % 4 >= 2) & (column < width - 1)
    return (images + ink(centre, drawn, height, LINE_RADIUS[severity - 1])).clamp_(0, 1)


def zigzag(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Adds a white zigzag, 2 pixels high either way and 4 long, along a line from a random row at column 2 to one at
    most 5 rows away at the third last column, its width `LINE_RADIUS` (`ink`)."""
    count, _, height, width = images.shape
    first = torch.randint(height - 1, (count, 1), generator=generator)
    rise = torch.randint(-5, 5, (count, 1), generator=generator)
    radius, column = LINE_RADIUS[severity - 1], torch.arange(width)
    across, down = corners(rise, width - 1 - 2 * ZIGZAG_START)
    across, down = across + ZIGZAG_START, down + first
    layers = [(torch.zeros(count, width), torch.zeros(count, width, dtype=torch.bool)) for _ in range(2)]
    for side in range(across.shape[1] - 1):  # sides overlap by a column, but never with the next but one
        (x, right), (y, below) = (corner[:, side : side + 2].split(1, 1) for corner in (across, down))
        inside = (column >= x.floor()) & (column < right.ceil())
        centre, drawn = layers[side % 2]
        centre = torch.where(inside, y + (below - y) / (right - x) * (column - x), centre)
        layers[side % 2] = centre, drawn | inside
    return (images + sum(ink(*layer, height, radius) for layer in layers)).clamp_(0, 1)


def corners(rise: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Columns and rows (N, corners) of a zigzag from (0, 0) to (`length`, `rise` (N, 1))."""
    angle = torch.atan(rise / length)
    end = length / angle.cos()
    turns = int((length - ZIGZAG_STEP) // (2 * ZIGZAG_STEP)) + 1
    across = ZIGZAG_STEP * (2 * torch.arange(turns) + 1).expand(len(rise), -1)
    down = ZIGZAG_STEP * (1 - 2 * (torch.arange(turns) % 2)).expand(len(rise), -1)
    zero = torch.zeros_like(end)
    over = (end - 2 * ZIGZAG_STEP * (length // (2 * ZIGZAG_STEP))).clamp_min(1.0)
    across, down = torch.cat([zero, across, end], 1), torch.cat([zero, down, down[:, -1:] / (2 * over)], 1)
    return angle.cos() * across - angle.sin() * down, angle.sin() * across + angle.cos() * down


def ink(centre: Tensor, drawn: Tensor, height: int, radius: float) -> Tensor:
    """The white (N, 1, height, width) of a line at row `centre` (N, width) of each column that is `drawn`: at d rows
    from it 1 + ln(1 - d / radius), and never below 0."""
    distance = (torch.arange(height)[:, None] - centre[:, None]).abs()
    white = (1 - distance / radius).clamp_min_(1 / math.e).log_().add_(1)
    return (white * drawn.expand_as(centre)[:, None])[:, None].clamp_min_(0)


def canny_edges(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Leaves the outline: 1 on edges, 0 elsewhere, found by Canny (1986) as scikit-image does.

    Blur of `CANNY_STD` pixels, Sobel gradients, the maxima along the gradient, and of those the ones of at least `WEAK`
    that hang together with one of at least `STRONG`. The image's edge goes on outside, where scikit-image takes the
    mean of the inside alone; they agree but for strokes within four deviations of it.
    """
    (down, over_rows), (across, over_columns) = (sobel(size, severity) for size in images.shape[2:])
    down, across = down @ images @ over_columns.T, over_rows @ images @ across.T
    size = torch.hypot(down, across)
    edges = thin(down, across, size)
    return connected(edges & (size >= STRONG), edges).float()


def sobel(size: int, severity: int) -> tuple[Tensor, Tensor]:
    """Matrices (size, size) for the axis of the gradient and for the other one, each after the severity's blur."""
    blur = correlation_matrix(size, gaussian(CANNY_STD[severity - 1]))
    return correlation_matrix(size, torch.tensor([-1.0, 0, 1])) @ blur, correlation_matrix(
        size, torch.tensor([1.0, 2, 1])
    ) @ blur


def thin(down: Tensor, across: Tensor, size: Tensor) -> Tensor:
    """Where a gradient (N, C, H, W) of at least `WEAK` is no smaller than at one pixel along it either way, whose size
    is interpolated; never on the image's edge."""
    width = size.shape[3]
    inside = torch.zeros_like(size, dtype=torch.bool)
    inside[..., 1:-1, 1:-1] = size[..., 1:-1, 1:-1] >= WEAK
    indices = inside.flatten().nonzero().squeeze(1).int()
    size = size.flatten()
    y, x, magnitude = (part.flatten().index_select(0, indices) for part in (down, across, size))
    up, left = torch.where(y < 0, -width, width).int(), torch.where(x < 0, -1, 1).int()
    steep = y.abs() >= x.abs()
    straight, diagonal = torch.where(steep, up, left), up + left
    fraction = torch.where(steep, x / y, y / x).abs_()
    highest = torch.ones_like(indices, dtype=torch.bool)
    for sign in (1, -1):
        far, near = (size.index_select(0, indices + sign * offset) for offset in (diagonal, straight))
        highest &= fraction * far + (1 - fraction) * near <= magnitude
    return inside.masked_scatter(inside, highest)


def connected(seeds: Tensor, mask: Tensor) -> Tensor:
    """The pixels of `mask` (N, C, H, W) that touch one of `seeds`, by a side or a corner, or another such pixel."""
    while True:
        grown = seeds
        for axis in (2, 3):
            before, after = (grown.narrow(axis, start, grown.shape[axis] - 1) for start in (0, 1))
            spread = grown.clone()
            spread.narrow(axis, 1, grown.shape[axis] - 1).logical_or_(before)
            spread.narrow(axis, 0, grown.shape[axis] - 1).logical_or_(after)
            grown = spread
        grown &= mask
        if torch.equal(grown, seeds):
            return seeds
        seeds = grown
