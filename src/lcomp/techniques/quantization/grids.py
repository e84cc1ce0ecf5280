"""Which values a quantized weight can take: small whole numbers, times a scale per output channel."""

from __future__ import annotations

from itertools import product
from typing import Protocol

import torch
from torch import Tensor

from lcomp.errors import UserError


class Grid(Protocol):
    """Levels of a weight of `bits` bits, symmetric about zero, which is always one of them.

    Attributes:
        largest: the largest level; none exceeds 127, so that weights are stored as int8.
        clip_range: how many scales from zero a weight's gradient still passes.
    """

    @property
    def largest(self) -> int: ...
    @property
    def clip_range(self) -> float: ...

    def scale(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """From weights (channels, n): scale and threshold (channels,), 0 for a channel of zeros."""
        ...

    def nearest(self, x: Tensor, threshold: Tensor) -> Tensor:
        """The levels of x, weights over their scale, as a float tensor of x's shape; the threshold broadcasts."""
        ...


class Uniform:
    """Every whole number from -(2^(b-1) - 1) to 2^(b-1) - 1; the largest weight of a channel is the largest level."""

    widths = range(2, 9)

    def __init__(self, bits: int):
        self.largest = self.clip_range = 2 ** (width(bits, self) - 1) - 1

    def scale(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        scale = weight.abs().amax(1) / self.largest
        return scale, torch.zeros_like(scale)

    def nearest(self, x: Tensor, threshold: Tensor) -> Tensor:
        return x.clamp(-self.largest, self.largest).round()


class Levels(Uniform):
    """A grid of given magnitudes, each weight at the nearest one."""

    def __init__(self, magnitudes: list[int]):
        self.magnitudes = torch.tensor(sorted(magnitudes), dtype=torch.float32)
        self.largest = self.clip_range = max(magnitudes)

    def nearest(self, x: Tensor, threshold: Tensor) -> Tensor:
        magnitudes = self.magnitudes.to(x)
        between = (magnitudes[1:] + magnitudes[:-1]) / 2
        return x.sign() * magnitudes[torch.bucketize(x.abs().contiguous(), between)]


class PowerOfTwo(Levels):
    """0 and the powers of two, 2^(b-1) magnitudes in all: a multiplication is a shift (Miyashita et al. 2016)."""

    widths = range(2, 5)  # a fifth bit would need levels up to 2^14

    def __init__(self, bits: int):
        super().__init__([0, *(2**power for power in range(2 ** (width(bits, self) - 1) - 1))])


class AdditivePowerOfTwo(Levels):
    """Sums of two powers of two, one of each set: finer near zero than a uniform grid, less so than powers alone (Li et
    al. 2020, eq. 5, with its sets)."""

    widths = range(3, 6)

    def __init__(self, bits: int):
        sets = {3: ((1, 2, 4), ()), 4: ((1, 4, 8), (2,)), 5: ((2, 8, 32), (1, 4, 16))}
        first, second = sets[width(bits, self)]
        super().__init__(sorted({a + b for a, b in product((0, *first), (0, *second))}))


class Ternary:
    """-1, 0, 1: a weight is 0 up to 0.7 of the channel's mean |w|; the scale is the mean of the others (Li & Liu 2016,
    eq. 6)."""

    widths = range(2, 3)
    largest, clip_range = 1, float("inf")  # half the weights lie beyond the scale, and must learn too

    def __init__(self, bits: int = 2):
        width(bits, self)

    def scale(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        size = weight.abs()
        threshold = 0.7 * size.mean(1)
        large = size > threshold.unsqueeze(1)
        scale = (size * large).sum(1) / large.sum(1).clamp(min=1)
        return scale, torch.where(scale > 0, threshold / scale, 0.0)

    def nearest(self, x: Tensor, threshold: Tensor) -> Tensor:
        return x.sign() * (x.abs() > threshold)


class Binary:
    """-1 and 1, times the channel's mean |w| (Rastegari et al. 2016, eq. 6); a weight that is zero, pruned, stays zero
    and does not count."""

    widths = range(1, 2)
    largest, clip_range = 1, float("inf")

    def __init__(self, bits: int = 1):
        width(bits, self)

    def scale(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        scale = weight.abs().sum(1) / (weight != 0).sum(1).clamp(min=1)
        return scale, torch.zeros_like(scale)

    def nearest(self, x: Tensor, threshold: Tensor) -> Tensor:
        return x.sign()


def width(bits: int, grid: object) -> int:
    """`bits`, where the grid has that width.

    Raises:
        UserError: it has not.
    """
    allowed: range = grid.widths  # type: ignore[attr-defined]
    if bits not in allowed:
        allowed_text = f"{allowed[0]} to {allowed[-1]}" if len(allowed) > 1 else f"{allowed[0]}"
        raise UserError(f"quant.bits={bits}: a width in whole bits; {type(grid).__name__} has {allowed_text}")
    return bits
