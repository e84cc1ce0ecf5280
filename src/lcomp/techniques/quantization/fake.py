"""Fake-quantizers: float tensors rounded to an integer grid, gradients straight through (Jacob et al. 2018)."""

from __future__ import annotations

from math import inf

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

from lcomp.errors import UserError
from lcomp.techniques.parametrizations import Parametrization
from lcomp.techniques.quantization.grids import Grid
from lcomp.techniques.quantization.ranges import Estimator, least_error, min_max


class WeightQuantizer(Parametrization):
    """A parametrization: weights at the levels of a grid, scaled by output channel or, with granularity `tensor`, all
    alike.

    Scales follow the weights until `frozen`; zero weights stay exactly zero. Gradients pass within the grid's
    clip range.

    Args:
        range: `grid`, the scale that the grid sets, or `mse`, the share of it with the least squared error.

    Buffers: `enabled`, `frozen` (booleans), `scale`, `threshold` (output channels, 1, ...).
    """

    def __init__(self, weight: Tensor, grid: Grid, granularity: str = "channel", range: str = "grid"):
        super().__init__()
        self.grid, self.granularity, self.range = grid, granularity, range
        self.register_buffer("enabled", torch.tensor(False))
        self.register_buffer("frozen", torch.tensor(False))
        for name in ("scale", "threshold"):
            self.register_buffer(name, torch.ones(len(weight), *[1] * (weight.dim() - 1)))
        self.enabled: Tensor
        self.frozen: Tensor
        self.scale: Tensor
        self.threshold: Tensor

    @property
    def largest(self) -> int:
        return self.grid.largest

    def forward(self, weight: Tensor) -> Tensor:
        if not self.enabled:
            return weight
        if self.training and not self.frozen:
            self.observe(weight.detach())
        return self.rounded(weight, self.scale.clone())  # the layer may be called again before the backward pass

    def rounded(self, weight: Tensor, scale: Tensor) -> Tensor:
        """`weight` at the grid's levels times `scale`."""
        inside = (weight / scale).clamp(-self.grid.clip_range, self.grid.clip_range)
        return (inside + (self.grid.nearest(inside, self.threshold) - inside).detach()) * scale

    def right_inverse(self, weight: Tensor) -> Tensor:
        return weight

    def observe(self, weight: Tensor) -> None:
        """Sets the scale from `weight`; a channel of zeros borrows the largest scale, so that its bias stays exact."""
        rows = weight.flatten(1)
        if self.granularity == "tensor":
            rows = rows.reshape(1, -1)
        scale, threshold = self.grid.scale(rows)
        if self.range == "mse":
            scale = least_error(rows, scale, threshold, self.grid)
        scale, threshold = (per_channel.expand(len(weight)).view_as(self.scale) for per_channel in (scale, threshold))
        fallback = scale.max() if scale.any() else torch.ones(()) / self.largest
        self.scale.copy_(torch.where(scale > 0, scale, fallback))
        self.threshold.copy_(threshold)

    def integers(self, weight: Tensor) -> Tensor:
        """The int8 weights that `forward` rounds to."""
        return self.grid.nearest(weight / self.scale, self.threshold).to(torch.int8)


class ActivationQuantizer(nn.Module):
    """Asymmetric, one scale per tensor, unsigned integers 0 to 2^b - 1; the range always holds zero, exactly.

    One bit has two levels, 0 and the scale; a gradient passes up to the scale, and stops beyond (Courbariaux et al.
    2016, eq. 4).

    Args:
        range: what makes the range of the batches that pass while `observing`, see `ranges`.

    Buffers: `enabled`, `observing` (booleans), `seen` (how many batches were observed), `low`, `high` (their range).

    Raises:
        UserError: one bit for an input that is negative somewhere.
    """

    def __init__(self, bits: int, range: Estimator = min_max):
        super().__init__()
        self.levels, self.range = 2**bits - 1, range
        for name, value in (("enabled", False), ("observing", False), ("seen", 0), ("low", 0.0), ("high", 0.0)):
            self.register_buffer(name, torch.tensor(value))
        self.enabled: Tensor
        self.observing: Tensor
        self.seen: Tensor
        self.low: Tensor
        self.high: Tensor

    @property
    def scale(self) -> Tensor:
        scale = (self.high - self.low) / self.levels
        return torch.where(scale > 0, scale, 1.0)

    @property
    def zero_point(self) -> Tensor:
        """The integer that stands for zero, as a float tensor."""
        return (-self.low / self.scale).round()

    def forward(self, x: Tensor) -> Tensor:
        if self.observing:
            self.observe(x.detach().float())
        if not self.enabled:
            return x
        return fake_quantize(x.float(), self.scale, self.zero_point, self.levels).to(x.dtype)

    def observe(self, x: Tensor) -> None:
        self.refuse_signs(x)
        low, high = self.range(x, self.levels, (self.low, self.high), int(self.seen))
        self.low.copy_(low)
        self.high.copy_(high)
        self.seen.add_(1)

    def refuse_signs(self, x: Tensor) -> None:
        if self.levels == 1 and x.min() < 0:
            raise UserError(
                "quant.activation_bits=1: its two levels are 0 and a scale, and a layer reads negative values; put a "
                "ReLU before it, name it in quant.exclude, or take 2 bits"
            )


class RoundedBefore(nn.Module):
    """Stands where a quantizer would of what `quantizer` rounded, which belongs to another module."""

    def __init__(self, quantizer: ActivationQuantizer):
        super().__init__()
        self.elsewhere = (quantizer,)  # no submodule: a checkpoint has it once

    @property
    def quantizer(self) -> ActivationQuantizer:
        return self.elsewhere[0]

    def forward(self, x: Tensor) -> Tensor:
        return x


class RoundingContext(FunctionCtx):
    """What torch gives a function's two directions, and its bounds."""

    bounds: tuple[float, float]
    saved_tensors: tuple[Tensor, ...]
    needs_input_grad: tuple[bool, ...]


class StraightThroughRounding(torch.autograd.Function):
    """What `rounded_straight_through` computes; autograd would take twice the time and more, step by step."""

    @staticmethod
    def forward(ctx: RoundingContext, x: Tensor, step: Tensor, lowest: float, largest: float) -> Tensor:
        ctx.save_for_backward(x, step)
        ctx.bounds = lowest, largest
        return (x / step).clamp(lowest, largest).round_().mul_(step)

    @staticmethod
    @once_differentiable
    def backward(ctx: RoundingContext, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, step = ctx.saved_tensors
        scaled, of_clamped = x / step, gradient * step
        of_scaled = torch.empty_like(scaled)
        torch.ops.aten.hardtanh_backward.grad_input(of_clamped, scaled, *ctx.bounds, grad_input=of_scaled)
        wider = next_float(ctx.bounds[0], -inf), next_float(ctx.bounds[1], inf)
        of_scaled.add_(torch.ops.aten.hardtanh_backward(of_clamped, scaled, *wider)).mul_(0.5)
        of_step = None
        if ctx.needs_input_grad[1]:
            of_step = (gradient * scaled.clamp(*ctx.bounds).round_()).sum_to_size(step.shape)
            of_step = of_step - scaled.div_(step).mul_(of_scaled).sum_to_size(step.shape)
        return of_scaled.div_(step), of_step, None, None


def next_float(value: float, towards: float) -> float:
    """The number of 32 bits that follows one."""
    return float(np.nextafter(np.float32(value), np.float32(towards)))


def rounded_straight_through(x: Tensor, step: Tensor, lowest: Tensor | int, largest: Tensor | int) -> Tensor:
    """round(clamp(x / step, lowest, largest)) step. Its gradient is that without the rounding: it reaches x between the
    bounds, half of it at these.

    Args:
        step: above 0; broadcasts against x.
        lowest, largest: one number each.
    """
    rounded: Tensor = StraightThroughRounding.apply(x, step, float(lowest), float(largest))
    return rounded


def fake_quantize(x: Tensor, scale: Tensor, zero_point: Tensor, levels: int) -> Tensor:
    """(clamp(round(x / scale) + zero_point, 0, levels) - zero_point) scale, straight through inside the range: what
    ONNX's QuantizeLinear and DequantizeLinear compute."""
    return rounded_straight_through(x, scale, -zero_point, levels - zero_point)


class DynamicQuantizer(nn.Module):
    """Quantizes each batch to uint8 by its own range, as ONNX's DynamicQuantizeLinear does."""

    def forward(self, x: Tensor) -> Tensor:
        given = x.detach()
        low, high = given.min().clamp(max=0), given.max().clamp(min=0)
        scale = (high - low) / 255
        scale = torch.where(scale > 0, scale, 1.0)
        return fake_quantize(x, scale, (-low / scale).round().clamp(0, 255), 255)
