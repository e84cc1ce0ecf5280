"""A split's images under the corruptions of MNIST-C: as bytes, like the published files, and once in each process."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from lcomp.data.mnist_c import CORRUPTIONS, PUBLISHED, corrupt

Bytes = NDArray[np.uint8]
BATCH = 1_000  # images that are corrupted at once; the number of their batch is their seed, so every run draws the same


@dataclass(frozen=True)
class HashedImages:
    """Pixels (N, C, H, W) in [0, 1]; equal to others that have the same SHA-256."""

    sha256: str
    pixels: NDArray[np.float32] = field(compare=False, repr=False)


def hashed_images(pixels: NDArray[np.float32]) -> HashedImages:
    return HashedImages(hashlib.sha256(pixels.tobytes()).hexdigest(), pixels)


@lru_cache(maxsize=2 * len(CORRUPTIONS))  # a test and a validation split: of MNIST 190 MB, and 50 for the clean pixels
def published(images: HashedImages, name: str) -> Bytes:
    """The images under a corruption at the severity of the published files."""
    return corrupted(images, name, PUBLISHED[name])


def corrupted(images: HashedImages, name: str, severity: int) -> Bytes:
    """The images under a corruption, rounded to bytes (N, C, H, W) as the published ones are."""
    batches = torch.from_numpy(images.pixels).split(BATCH)
    changed = [corrupt(batch, name, severity, number) for number, batch in enumerate(batches)]
    return torch.cat([(batch * 255).round().to(torch.uint8) for batch in changed]).numpy()
