"""A split's images under a set of corruptions: as bytes, like the published files, and once in each process."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from lcomp.data import cifar10_c, mnist_c, perturbations

Bytes = NDArray[np.uint8]
BATCH = 1_000  # images that are corrupted at once; the number of their batch is their seed, so every run draws the same
KEPT = 512 * 2**20  # bytes of a split under all of a set that are kept; of larger images each run draws anew


@dataclass(frozen=True)
class CorruptionSet:
    """Corruptions that are measured together.

    Attributes:
        name: of the set, in the record's keys.
        functions: of (images, severity, generator), by their names.
        usual: the severity of each where none is asked for.
    """

    name: str
    functions: Mapping[str, Callable[[Tensor, int, Generator], Tensor]] = field(compare=False, repr=False)
    usual: Mapping[str, int] = field(compare=False, repr=False)

    def corrupt(self, images: Tensor, name: str, severity: int, *seeds: int) -> Tensor:
        """`images` (N, C, H, W) under one of them; `seeds` decide the draw, as in `perturbations.perturb`.

        Raises:
            UserError: an unknown name, or a severity that is not 1 to 5.
        """
        corruption = perturbations.find_perturbation(name, severity, self.name, self.functions)
        return corruption(images, severity, perturbations.seeded_generator(*seeds))


MNIST_C = CorruptionSet("mnist_c", mnist_c.CORRUPTIONS, mnist_c.PUBLISHED)
CIFAR10_C = CorruptionSet("cifar10_c", cifar10_c.CORRUPTIONS, dict.fromkeys(cifar10_c.CORRUPTIONS, 3))


@dataclass(frozen=True)
class HashedImages:
    """Pixels (N, C, H, W) in [0, 1]; equal to others that have the same SHA-256."""

    sha256: str
    pixels: NDArray[np.float32] = field(compare=False, repr=False)


def hashed_images(pixels: NDArray[np.float32]) -> HashedImages:
    return HashedImages(hashlib.sha256(np.ascontiguousarray(pixels).data).hexdigest(), pixels)


def published(images: HashedImages, name: str, among: CorruptionSet = MNIST_C) -> Bytes:
    """The images under a corruption at its usual severity, that of the published files of MNIST-C."""
    draw = drawn_once if images.pixels.size * len(among.functions) <= KEPT else corrupted
    return draw(images, name, among.usual[name], among)


@lru_cache(maxsize=2 * len(mnist_c.CORRUPTIONS))  # a test and a validation split: of MNIST 190 MB, and 50 for the clean
def drawn_once(images: HashedImages, name: str, severity: int, among: CorruptionSet) -> Bytes:
    return corrupted(images, name, severity, among)


def corrupted(images: HashedImages, name: str, severity: int, among: CorruptionSet = MNIST_C) -> Bytes:
    """The images under a corruption, rounded to bytes (N, C, H, W) as the published ones are."""
    batches = torch.from_numpy(images.pixels).split(BATCH)
    changed = [among.corrupt(batch, name, severity, number) for number, batch in enumerate(batches)]
    return torch.cat([(batch * 255).round().to(torch.uint8) for batch in changed]).numpy()
