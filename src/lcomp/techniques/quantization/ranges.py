"""How far a quantized tensor reaches: range estimators of activations, and the scale of weights with the least error.

An estimator is called with each batch that is observed and returns the range so far. What it remembers lies in the
quantizer's buffers, so that a resumed run goes on with it.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil

import torch
from torch import Tensor

from lcomp.errors import UserError
from lcomp.techniques.quantization.grids import Grid

Range = tuple[Tensor, Tensor]  # lowest and highest value, which always hold zero between them
Estimator = Callable[[Tensor, int, Range, int], Range]  # (batch, steps in the range, range so far, batches seen)
FRACTIONS = [share / 100 for share in range(100, 0, -1)]  # of the extremes, where the least squared error is sought


def min_max(x: Tensor, levels: int, before: Range, n_batches: int) -> Range:
    """The extremes over every batch (Krishnamoorthi 2018)."""
    low, high = extremes(x)
    return torch.minimum(before[0], low), torch.maximum(before[1], high)


class MovingAverage:
    """A moving average of each batch's extremes, r <- (1 - m) r + m r_batch, from those of the first one (Jacob et al.
    2018).

    Args:
        momentum: m, above 0 to 1.

    Raises:
        UserError: another momentum.
    """

    def __init__(self, momentum: float = 0.05):
        if not 0 < momentum <= 1:
            raise UserError(f"quant.range.momentum={momentum}: above 0, to 1")
        self.momentum = momentum

    def __call__(self, x: Tensor, levels: int, before: Range, n_batches: int) -> Range:
        return averaged(self.batch(x, levels), before, self.weight(n_batches))

    def batch(self, x: Tensor, levels: int) -> Range:
        """The range of one batch."""
        return extremes(x)

    def weight(self, n_batches: int) -> float:
        """Of a batch before which so many were seen."""
        return self.momentum if n_batches else 1.0


class Averaged(MovingAverage):
    """An average of each batch's range: of the first 1/m batches alike, of those that follow with momentum m."""

    def weight(self, n_batches: int) -> float:
        return max(1 / (n_batches + 1), self.momentum)


class Percentile(Averaged):
    """From the `100 - percentile`-th to the `percentile`-th percentile of each batch, averaged: a few outliers then do
    not coarsen the rounding of all others (Krishnamoorthi 2018).

    Args:
        percentile: above 50, to 100 (the extremes).
        momentum: m, above 0 to 1.

    Raises:
        UserError: a value outside its range.
    """

    def __init__(self, percentile: float = 99.99, momentum: float = 0.05):
        super().__init__(momentum)
        if not 50 < percentile <= 100:
            raise UserError(f"quant.range.percentile={percentile}: above 50, to 100; 99.99 is usual")
        self.percentile = percentile

    def batch(self, x: Tensor, levels: int) -> Range:
        flat = x.flatten()
        inside = max(1, ceil(round(self.percentile / 100 * len(flat), 6)))  # values at or below the upper end
        low, high = -(-flat).kthvalue(inside).values, flat.kthvalue(inside).values
        return low.clamp(max=0), high.clamp(min=0)


class MeanSquaredError(Averaged):
    """The share of each batch's extremes, in hundredths, that rounds and clips it with the least squared error,
    averaged (Banner et al. 2019; Nagel et al. 2021, section 3.1)."""

    def batch(self, x: Tensor, levels: int) -> Range:
        low, high = extremes(x)
        if high <= low:
            return low, high
        zero_point = float((-low / ((high - low) / levels)).round())
        errors = []
        for fraction in FRACTIONS:
            scale = float(fraction * (high - low) / levels)
            rounded = (x / scale).round_().clamp_(-zero_point, levels - zero_point).mul_(scale)
            errors.append(rounded.sub_(x).square_().sum())
        fraction = FRACTIONS[int(torch.stack(errors).argmin())]
        return fraction * low, fraction * high


def extremes(x: Tensor) -> Range:
    low, high = torch.aminmax(x)
    return low.clamp(max=0), high.clamp(min=0)


def averaged(batch: Range, before: Range, weight: float | Tensor) -> Range:
    return before[0].lerp(batch[0], weight), before[1].lerp(batch[1], weight)


def least_error(weight: Tensor, scale: Tensor, threshold: Tensor, grid: Grid) -> Tensor:
    """The share of each channel's scale, in hundredths, that rounds its weights with the least squared error.

    Args:
        weight: (channels, n).
        scale, threshold: (channels,), as the grid sets them.
    """
    possible, threshold = scale.where(scale > 0, 1.0).unsqueeze(1), threshold.unsqueeze(1)
    errors = [
        (grid.nearest(weight / (fraction * possible), threshold) * (fraction * possible) - weight).square().sum(1)
        for fraction in FRACTIONS
    ]
    return scale * torch.tensor(FRACTIONS).to(scale)[torch.stack(errors).argmin(0)]
