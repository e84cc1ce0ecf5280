"""MNIST-C's light and weather: brightness, fog, spatter."""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor

from lcomp.data.mnist_c.blur import correlation_matrix, gaussian

BRIGHTNESS_SHIFT = (0.1, 0.2, 0.3, 0.4, 0.5)
FOG = ((1.5, 2.0), (2.0, 2.0), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4))  # thickness, decay of the finer clouds
FOG_LEVELS, FOG_WHOLE = 8, 5  # the map has 2^8 pixels a side; its 2^5 x 2^5 coarsest are drawn everywhere
SPATTER = (  # mean, std and blur of the liquid, its threshold, blur of the drops
    (0.65, 0.3, 4.0, 0.69, 0.6),
    (0.65, 0.3, 3.0, 0.68, 0.6),
    (0.65, 0.3, 2.0, 0.68, 0.5),
    (0.65, 0.3, 1.0, 0.65, 1.5),
    (0.67, 0.4, 1.0, 0.65, 1.5),
)
MUD, SOLID = 63 / 255, 0.8


def brightness(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Adds `BRIGHTNESS_SHIFT` to every pixel, then clips: the value of a grey pixel's hue, saturation and value."""
    return (images + BRIGHTNESS_SHIFT[severity - 1]).clamp_(0, 1)


def fog(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Adds c times a cloud of its own (`plasma`) to each image, then darkens by m / (m + c), m the image's maximum.

    The thickness c and the decay of the clouds are `FOG`.
    """
    thickness, decay = FOG[severity - 1]
    count, _, height, width = images.shape
    clouds = plasma(count, max(height, width), decay, generator)[:, None, :height, :width]
    return clouded(images, thickness, clouds)


def clouded(images: Tensor, thickness: float, clouds: Tensor) -> Tensor:
    """As `fog`, through `clouds` (N, 1, H, W)."""
    brightest = images.amax((1, 2, 3), keepdim=True)
    return ((images + thickness * clouds) * (brightest / (brightest + thickness))).clamp_(0, 1)


def plasma(count: int, side: int, decay: float, generator: Generator) -> Tensor:
    """Clouds (count, side, side) in [0, 1]: the corner of a 256 x 256 map that the diamond-square algorithm draws on a
    torus, from the value 0 in that corner, less the map's minimum and by its range.

    Drawing the whole map would take most of the time of all fifteen corruptions. Ours is drawn whole to every 8th pixel
    and to the last one only in the corner, and the minimum and maximum are those of what was drawn: the rest, three
    levels whose noise is at most decay^-10 of the first's, seldom holds them.
    """
    field = torch.zeros(1, 1, count)
    for level in range(FOG_LEVELS):
        if level == FOG_WHOLE:
            low, high = field.amin((0, 1)), field.amax((0, 1))
            needed = torch.arange(-1, math.ceil((side + 22) / 8) - 1) % len(field)
            field = field[needed][:, needed]
        field = diamond_square(field, decay ** (-2 * level), generator)
        if level >= FOG_WHOLE:
            field = field[1:-2, 1:-2]  # what lies outside knows only one side's neighbours
    field = field[1 : side + 1, 1 : side + 1].contiguous()  # minimum and maximum of a view take thirty times as long
    low, high = torch.minimum(low, field.amin((0, 1))), torch.maximum(high, field.amax((0, 1)))
    return ((field - low) / (high - low)).movedim(2, 0)


def diamond_square(field: Tensor, noise: float, generator: Generator) -> Tensor:
    """Twice as fine a `field`: (n, n, N) becomes (2n, 2n, N), a torus. Each new point is the mean of its four nearest,
    first those between four old ones, then the others, and uniform noise of up to `noise` either way."""
    size, _, count = field.shape
    finer = (torch.rand(2 * size, 2 * size, count, generator=generator) * 2).sub_(1).mul_(noise)
    right, down = field.roll(-1, 1), field.roll(-1, 0)
    middle = finer[1::2, 1::2]
    middle += (field + right + down + down.roll(-1, 1)).div_(4)
    finer[::2, 1::2] += (field + right + middle + middle.roll(1, 0)).div_(4)
    finer[1::2, ::2] += (field + down + middle + middle.roll(1, 1)).div_(4)
    finer[::2, ::2] = field
    return finer


def spatter(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Covers each image with drops of mud of grey 63 / 255: where a blurred normal field exceeds its threshold, blurred
    in its turn and kept where that exceeds 0.8, which is then how opaque the drop is. Mean, deviation, blurs and
    threshold are `SPATTER`; the colours of the published severities 4 and 5 are the others' on grey images."""
    mean, std, liquid_blur, threshold, drop_blur = SPATTER[severity - 1]
    count, _, height, width = images.shape
    field = torch.randn(count, height, width, generator=generator) * std + mean

    def blurred(field: Tensor, std: float) -> Tensor:
        down, across = (correlation_matrix(size, gaussian(std)) for size in (height, width))
        return down @ field @ across.T

    drops = blurred((blurred(field, liquid_blur) > threshold).float(), drop_blur)[:, None]
    drops = drops.where(drops >= SOLID, 0.0)
    return (images * (1 - drops) + MUD * drops).clamp_(0, 1)
