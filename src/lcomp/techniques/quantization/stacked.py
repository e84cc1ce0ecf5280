"""Fake-quantizers of several networks that learn at once: what `fake` computes, without a branch on a tensor's value,
and with each network's own width, so that `torch.func.vmap` can map over them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from lcomp.techniques.quantization.fake import ActivationQuantizer, WeightQuantizer
from lcomp.techniques.quantization.grids import Uniform
from lcomp.techniques.quantization.quantization import Quantization
from lcomp.techniques.quantization.ranges import MovingAverage, averaged, extremes, min_max


class RoundingContext(FunctionCtx):
    """What torch hands to a function's two directions."""

    saved_tensors: tuple[Tensor, ...]


class MappedRounding(torch.autograd.Function):
    """What `fake.rounded_straight_through` computes, its bounds tensors: half the gradient passes at these."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, step: Tensor, lowest: Tensor, largest: Tensor) -> Tensor:
        return (x / step).clamp(lowest, largest).round() * step

    @staticmethod
    def setup_context(ctx: RoundingContext, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: RoundingContext, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, step, lowest, largest = ctx.saved_tensors
        scaled = x / step
        beyond = (scaled < lowest) | (scaled > largest)
        half = torch.where((scaled == lowest) | (scaled == largest), 0.5, 1.0)
        of_clamped = gradient * step
        return torch.where(beyond, 0.0, of_clamped * half) / step, None, None, None


class MappedActivationQuantizer(ActivationQuantizer):
    """An `ActivationQuantizer` whose largest level is a buffer, `width`."""

    width: Tensor

    def forward(self, x: Tensor) -> Tensor:
        low, high = self.low, self.high
        if self.training:
            seen = self.range_after(x.detach().float(), (low, high))
            low, high = (torch.where(self.observing, new, old) for new, old in zip(seen, (low, high), strict=True))
            self.low.copy_(low)
            self.high.copy_(high)
            self.seen.add_(self.observing)
        scale = (high - low) / self.width
        scale = torch.where(scale > 0, scale, 1.0)
        zero_point = (-low / scale).round()
        rounded: Tensor = MappedRounding.apply(x.float(), scale, -zero_point, self.width - zero_point)
        return torch.where(self.enabled, rounded.to(x.dtype), x)

    def range_after(self, x: Tensor, before: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """The range when `x` has been seen too."""
        if isinstance(self.range, MovingAverage):
            return averaged(extremes(x), before, torch.where(self.seen > 0, self.range.momentum, 1.0))
        return min_max(x, 0, before, 0)


class MappedWeightQuantizer(WeightQuantizer):
    """A `WeightQuantizer` of the uniform grid, whose largest level is a buffer, `width`."""

    width: Tensor

    def forward(self, weight: Tensor) -> Tensor:
        scale = self.scale
        if self.training:
            follows = self.enabled & ~self.frozen
            scale = torch.where(follows, self.scale_of(weight.detach()), scale)
            self.scale.copy_(scale)
            self.threshold.copy_(torch.where(follows, 0.0, self.threshold))
        scaled = weight / scale
        bounded = scaled.detach().clamp(-self.width, self.width)
        inside = torch.where(scaled.abs() < self.width, scaled, bounded)  # no gradient at them, as alone
        rounded = (inside + (inside.round() - inside).detach()) * scale
        return torch.where(self.enabled, rounded, weight)

    def scale_of(self, weight: Tensor) -> Tensor:
        """The scale that `WeightQuantizer.observe` sets."""
        rows = weight.flatten(1)
        if self.granularity == "tensor":
            rows = rows.reshape(1, -1)
        scale = (rows.abs().amax(1) / self.width).expand(len(weight)).view_as(self.scale)
        fallback = torch.where((scale != 0).any(), scale.amax(), 1 / self.width)
        return torch.where(scale > 0, scale, fallback)


def map_quantizers(network: nn.Module, each: Sequence[nn.Module]) -> dict[str, Tensor]:
    """Makes the quantizers of `network`, which stands for all of `each`, such as can be mapped over them.

    Returns:
        The buffers that it has beside theirs, by name: a value (K,) for each of the K networks.
    """
    found: dict[str, Tensor] = {}
    for name, module in network.named_modules():
        kind, level = MAPPED.get(type(module), (None, ""))
        if kind is not None:
            module.__class__ = kind
            levels = [float(getattr(one.get_submodule(name), level)) for one in each]
            module.register_buffer("width", torch.tensor(levels[0]))
            found[f"{name}.width"] = torch.tensor(levels)
    return found


MAPPED: dict[type[Any], tuple[type[nn.Module], str]] = {  # what takes the place of each, and its largest level's name
    ActivationQuantizer: (MappedActivationQuantizer, "levels"),
    WeightQuantizer: (MappedWeightQuantizer, "largest"),
}


def mapping_obstacle(technique: Quantization) -> str | None:
    """Why the quantizers of a technique cannot be mapped."""
    if any(type(grid) is not Uniform for grid in (technique.grid, *technique.grids_of.values())):
        return "quant/grid: one that is not uniform"
    if technique.weight_range != "grid":
        return f"quant.weight_range={technique.weight_range}"
    if getattr(technique.range, "func", technique.range) is not min_max and type(technique.range) is not MovingAverage:
        return "quant/range: one that is neither moving_average nor min_max"
    return None
