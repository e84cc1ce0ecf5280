"""What images of objects are usually trained with: shifted crops, mirror images, holes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from lcomp.errors import UserError, validate_choice


class Crop:
    """Crops each image at random, back to its size, out of itself with a margin (He et al. 2016): moves it by up to
    `padding` pixels either way, each place with equal chance.

    Args:
        padding: pixels of the margin, 1 or more.
        mode: the margin's content: `zero`, black, or `reflect`, the image mirrored at its edge.

    Raises:
        UserError: a margin or a mode that cannot be.
    """

    def __init__(self, padding: int = 4, mode: str = "zero"):
        if padding < 1:
            raise UserError(f"perturb.crop.padding={padding}: pixels, 1 or more")
        validate_choice("perturb.crop.mode", mode, ("zero", "reflect"))
        self.padding, self.mode = padding, mode

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        """A crop of each of `images` (N, C, H, W)."""
        count, _, height, width = images.shape
        if self.mode == "reflect" and self.padding >= min(height, width):
            raise UserError(
                f"perturb.crop.padding={self.padding}: an image of {height} x {width} can be reflected by at most "
                f"{min(height, width) - 1} pixels"
            )
        wide = F.pad(images, [self.padding] * 4, mode="constant" if self.mode == "zero" else "reflect")
        down, across = torch.randint(2 * self.padding + 1, (2, count), generator=generator)
        crops = wide.unfold(2, height, 1).unfold(3, width, 1)  # a view (N, C, places, places, H, W)
        return crops[torch.arange(count), :, down, across].contiguous()


class Flip:
    """Mirrors each image left to right, with a chance of `probability`.

    Raises:
        UserError: a chance that is none.
    """

    def __init__(self, probability: float = 0.5):
        if not 0 <= probability <= 1:
            raise UserError(f"perturb.flip.probability={probability}: a chance, 0 to 1")
        self.probability = probability

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        """`images` (N, C, H, W), mirrored or not."""
        mirrored = torch.rand(len(images), 1, 1, 1, generator=generator) < self.probability
        return torch.where(mirrored, images.flip(3), images)


class Cutout:
    """Paints a square over each image, its centre anywhere, so that part of it may lie outside (DeVries & Taylor 2017).

    Args:
        size: of the square's side, pixels, 1 or more.
        fill: its grey, 0 to 1; the paper's is the mean of the training pixels.

    Raises:
        UserError: a size or a grey that cannot be.
    """

    def __init__(self, size: int = 16, fill: float = 0.5):
        if size < 1:
            raise UserError(f"perturb.cutout.size={size}: pixels, 1 or more")
        if not 0 <= fill <= 1:
            raise UserError(f"perturb.cutout.fill={fill}: a grey, 0 to 1")
        self.size, self.fill = size, fill

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        """`images` (N, C, H, W) with a hole each."""
        inside = []
        for length in images.shape[2:]:
            start = torch.randint(length, (len(images), 1), generator=generator) - self.size // 2
            places = torch.arange(length)
            inside.append((places >= start) & (places < start + self.size))
        down, across = inside
        return images.masked_fill((down[:, :, None] & across[:, None, :])[:, None], self.fill)
