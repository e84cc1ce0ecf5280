"""Masks over weights, exact to one weight."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lcomp.techniques.parametrizations import Parametrization, parametrization


class Mask(Parametrization):
    """A parametrization that zeroes the weights where its boolean buffer `mask` (the weight's shape) is false.

    Args:
        statistic: what a criterion keeps of the weights, a buffer too.
    """

    def __init__(self, weight: Tensor, statistic: Tensor | None = None):
        super().__init__()
        self.register_buffer("mask", torch.ones_like(weight, dtype=torch.bool))
        self.mask: Tensor
        if statistic is not None:
            self.register_buffer("statistic", statistic)
            self.statistic: Tensor

    def forward(self, weight: Tensor) -> Tensor:
        return torch.where(self.mask, weight, 0.0)

    def right_inverse(self, weight: Tensor) -> Tensor:
        return weight


def mask_of(layer: nn.Module) -> Mask:
    """The mask on the layer's weight."""
    mask = parametrization(layer, Mask)
    assert mask is not None
    return mask


def prune_masks(masks: Sequence[Tensor], scores: Sequence[Tensor], sparsity: float) -> list[Tensor]:
    """Masks with exactly round(sparsity x weights) zeros over all of them together.

    Weights already pruned stay pruned, whatever their scores; among the rest the lowest scores go, ties in the order of
    the weights. A sparsity below the one already reached changes nothing.

    Args:
        masks: boolean tensors; true keeps a weight.
        scores: a tensor of the mask's shape for each.
        sparsity: share of zeros over all masks together, 0 to 1.
    """
    kept = torch.cat([mask.flatten() for mask in masks])
    remaining = int(kept.count_nonzero())
    count = round(sparsity * kept.numel()) - (kept.numel() - remaining)
    if count > 0:
        flat = torch.cat([score.flatten() for score in scores])
        if remaining == kept.numel():
            kept = ~lowest(flat, count)
        else:
            kept = kept.masked_scatter(kept, ~lowest(flat[kept], count))
    return [part.view_as(m) for part, m in zip(kept.split([m.numel() for m in masks]), masks, strict=True)]


def prune_outputs(masks: Sequence[Tensor], scores: Sequence[Tensor], sparsity: float) -> list[Tensor]:
    """Masks (outputs, ...) with exactly round(sparsity x weights of an output) zeros at each output."""
    return [
        prune_rows(mask.flatten(1), score.flatten(1), round(sparsity * mask[0].numel())).view_as(mask)
        for mask, score in zip(masks, scores, strict=True)
    ]


def prune_rows(mask: Tensor, scores: Tensor, count: int) -> Tensor:
    """The mask (rows, n) with `count` of each row away: those that are already, then the lowest scores (rows, n), of
    equal ones the first."""
    ranked = scores.masked_fill(~mask, -torch.inf).argsort(stable=True, dim=1)
    return mask.scatter(1, ranked[:, :count], False)


def lowest(scores: Tensor, count: int) -> Tensor:
    """Booleans (n,): which `count` (1 or more) of the scores (n,) are the lowest, of equal ones the first.

    What a stable sort would put first, found by selection in a fifth of the time. What is no number is the highest.
    """
    threshold = scores.kthvalue(count).values
    below = ~scores.isnan() if threshold.isnan() else scores < threshold
    equal = scores.isnan() if threshold.isnan() else scores == threshold
    below[equal.nonzero()[: count - int(below.count_nonzero()), 0]] = True
    return below
