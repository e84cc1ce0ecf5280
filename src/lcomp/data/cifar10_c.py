"""Thirteen of the fifteen corruptions of CIFAR-10-C (Hendrycks & Dietterich 2019): all but snow and frost.

Pure functions of (batch, severity 1 to 5, generator), batches float32 (N, 1 or 3, H, W) in [0, 1], written anew from
the definitions; the severities are those of the published code for images of 32 x 32, lengths in pixels. Each docstring
says where ours differs. The published files are cut to 8 bits, our images are not.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Generator, Tensor

from lcomp.data.mnist_c.blur import correlation_matrix, gaussian, smeared, swapped
from lcomp.data.mnist_c.noise import counted, salted
from lcomp.data.mnist_c.weather import clouded, diamond_square

NOISE_STD = (0.04, 0.06, 0.08, 0.09, 0.10)
SHOT_PHOTONS = (500, 250, 100, 75, 50)
IMPULSE_SHARE = (0.01, 0.02, 0.03, 0.05, 0.07)
DEFOCUS = ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1))  # radius of the disk, std of its smoothing
GLASS = ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2))  # std, radius and rounds of the swaps
MOTION = ((6, 1.0), (6, 1.5), (6, 2.0), (8, 2.0), (9, 2.5))  # radius and std
ZOOM_END = (1.06, 1.11, 1.16, 1.21, 1.26)  # in steps of 0.01 from 1
FOG = ((0.2, 3.0), (0.5, 3.0), (0.75, 2.5), (1.0, 2.0), (1.5, 1.75))  # thickness, decay of the finer clouds
BRIGHTNESS_SHIFT = (0.05, 0.1, 0.15, 0.2, 0.3)
CONTRAST_FACTOR = (0.75, 0.5, 0.4, 0.3, 0.15)
ELASTIC = ((0.0, 0.0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03))
PIXELATE_FACTOR = (0.95, 0.9, 0.85, 0.75, 0.65)
JPEG_QUALITY = (80, 65, 58, 50, 40)


def gaussian_noise(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Adds independent noise of standard deviation `NOISE_STD` to every value, then clips."""
    return (images + NOISE_STD[severity - 1] * torch.randn(images.shape, generator=generator)).clamp_(0, 1)


def shot_noise(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Counts photons, white being `SHOT_PHOTONS` of them: Poisson noise."""
    return counted(images, SHOT_PHOTONS[severity - 1], generator)


def impulse_noise(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Sets each value, with probability `IMPULSE_SHARE`, to 0 or 1 with equal chance."""
    return salted(images, IMPULSE_SHARE[severity - 1], generator)


def defocus_blur(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Convolves with a disk, smoothed by a 3 x 3 Gaussian (`DEFOCUS`); the image is mirrored at its edge."""
    radius, std = DEFOCUS[severity - 1]
    places = torch.arange(-2, 3)
    disk = (places**2 + places[:, None] ** 2 <= radius**2).float()
    line = gaussian(std, 1)
    kernel = F.conv2d((disk / disk.sum())[None, None], torch.outer(line, line)[None, None], padding=1)
    channels = images.shape[1]
    padded = F.pad(images, (2, 2, 2, 2), mode="reflect")
    return F.conv2d(padded, kernel.expand(channels, 1, 5, 5), groups=channels).clamp_(0, 1)


def glass_blur(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Blurs, swaps pixels with near ones, blurs again (`GLASS`). The published code cuts to 8 bits in between."""
    std, radius, rounds = GLASS[severity - 1]
    down, across = (correlation_matrix(size, gaussian(std)) for size in images.shape[2:])
    return (down @ swapped(down @ images @ across.T, radius, rounds, generator) @ across.T).clamp_(0, 1)


def motion_blur(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Smears each image along a line within 45 degrees of the right (`MOTION`), as that of MNIST-C does."""
    return smeared(images, *MOTION[severity - 1], generator)


def zoom_blur(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """The mean of the image and of its middle enlarged by 1, 1.01, ... up to `ZOOM_END`."""
    factors = np.arange(1, ZOOM_END[severity - 1], 0.01).tolist()
    return ((images + sum(enlarged(images, factor) for factor in factors)) / (len(factors) + 1)).clamp_(0, 1)


def enlarged(images: Tensor, factor: float) -> Tensor:
    """The middle of each image, as large as the image: the corners of what is resized stay corners, as SciPy has it."""
    sides = [math.ceil(size / factor) for size in images.shape[2:]]
    middle = centre(images, sides)
    larger = [round(side * factor) for side in sides]
    return centre(F.interpolate(middle, larger, mode="bilinear", align_corners=True), list(images.shape[2:]))


def centre(images: Tensor, sides: list[int]) -> Tensor:
    top, left = ((size - side) // 2 for size, side in zip(images.shape[2:], sides, strict=True))
    return images[:, :, top : top + sides[0], left : left + sides[1]]


def fog(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Adds clouds (a plasma fractal on a torus) and darkens, as that of MNIST-C does; thickness and decay are `FOG`."""
    thickness, decay = FOG[severity - 1]
    count, _, height, width = images.shape
    field = torch.zeros(1, 1, count)
    for level in range(math.ceil(math.log2(max(height, width, 2)))):
        field = diamond_square(field, decay ** (-2 * level), generator)
    low, high = field.amin((0, 1)), field.amax((0, 1))
    clouds = ((field - low) / (high - low)).movedim(2, 0)[:, None, :height, :width]
    return clouded(images, thickness, clouds)


def brightness(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Adds `BRIGHTNESS_SHIFT` to the value of each pixel's hue, saturation and value, and clips that."""
    value = images.amax(1, keepdim=True)
    brighter = (value + BRIGHTNESS_SHIFT[severity - 1]).clamp_max(1)
    return torch.where(value > 0, images / value.clamp_min(1e-6) * brighter, brighter).clamp_(0, 1)


def contrast(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Pulls every value towards the mean of its image's channel, to `CONTRAST_FACTOR` of the way."""
    mean = images.mean((2, 3), keepdim=True)
    return (mean + CONTRAST_FACTOR[severity - 1] * (images - mean)).clamp_(0, 1)


def elastic_transform(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Moves three corners of the middle at random, the image with them, then each pixel by a smooth random field.

    `ELASTIC` has the field's strength, its smoothness and the corners' most, in shares of the side. The published
    random field is mirrored at its edge while it is smoothed; ours goes on as it is.
    """
    strength, smooth, most = (share * min(images.shape[2:]) for share in ELASTIC[severity - 1])
    count, _, height, width = images.shape
    middle = torch.tensor([width // 2, height // 2], dtype=torch.float32)
    corners = middle + min(height, width) // 3 * torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]])
    moved = corners + most * (2 * torch.rand(count, 3, 2, generator=generator) - 1)
    back = torch.linalg.solve(F.pad(moved, (0, 1), value=1.0), corners.expand(count, 3, 2))  # (N, 3, 2)
    x, y = torch.meshgrid(torch.arange(width), torch.arange(height), indexing="xy")
    pixels = torch.stack([x, y, torch.ones_like(x)], 2).float().view(1, -1, 3)
    images = sampled(images, (pixels @ back).view(count, height, width, 2), align_corners=True)
    if not strength:
        return images
    field = 2 * torch.rand(2, count, height, width, generator=generator) - 1
    down, across = (correlation_matrix(size, gaussian(smooth, int(3 * smooth + 0.5))) for size in (height, width))
    shift = strength * (down @ field @ across.T).movedim(0, 3)
    return sampled(images, torch.stack([x, y], 2) + shift, align_corners=False)


def sampled(images: Tensor, places: Tensor, align_corners: bool) -> Tensor:
    """Bilinearly at `places` (N, H, W, 2), columns and rows in pixels; outside the image is mirrored: at the middle of
    its outermost pixels, or at their outer edge."""
    sides = torch.tensor([images.shape[3], images.shape[2]])
    grid = 2 * places / (sides - 1) - 1 if align_corners else (2 * places + 1) / sides - 1
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=align_corners).clamp_(0, 1)


def pixelate(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Shrinks each image to `PIXELATE_FACTOR` of its sides and enlarges it again, by boxes."""
    height, width = images.shape[2:]
    small = [max(1, int(side * PIXELATE_FACTOR[severity - 1])) for side in (width, height)]

    def change(image: Image.Image) -> Image.Image:
        shrunk = image.resize((small[0], small[1]), Image.Resampling.BOX)
        return shrunk.resize((width, height), Image.Resampling.BOX)

    return of_each(images, change)


def jpeg_compression(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Writes each image as a JPEG of `JPEG_QUALITY` and reads it again."""

    def change(image: Image.Image) -> Image.Image:
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=JPEG_QUALITY[severity - 1])
        return Image.open(stream)

    return of_each(images, change)


def of_each(images: Tensor, change: Callable[[Image.Image], Image.Image]) -> Tensor:
    """Each image after `change`, one by one, in bytes."""
    channels = images.shape[1]
    content = (images * 255).round().to(torch.uint8).movedim(1, 3).numpy()
    pictures = (Image.fromarray(one if channels == 3 else one[..., 0]) for one in content)
    changed = np.stack([np.asarray(change(picture)) for picture in pictures])
    return torch.from_numpy(changed.reshape(content.shape)).movedim(3, 1).float().div_(255)


CORRUPTIONS: Mapping[str, Callable[[Tensor, int, Generator], Tensor]] = {
    function.__name__: function
    for function in (
        gaussian_noise,
        shot_noise,
        impulse_noise,
        defocus_blur,
        glass_blur,
        motion_blur,
        zoom_blur,
        fog,
        brightness,
        contrast,
        elastic_transform,
        pixelate,
        jpeg_compression,
    )
}
