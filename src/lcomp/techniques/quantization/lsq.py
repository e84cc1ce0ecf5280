"""Learned Step Size Quantization (Esser et al. 2020): training moves the steps of weights and activations too."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor, nn

from lcomp.errors import UserError
from lcomp.techniques.quantization.fake import ActivationQuantizer, WeightQuantizer, rounded_straight_through
from lcomp.techniques.quantization.grids import Grid
from lcomp.techniques.quantization.qat import QuantizationAwareTraining


def learned_round(x: Tensor, step: Tensor, lowest: Tensor | int, largest: Tensor | int, values: int) -> Tensor:
    """round(clip(x / s, lowest, largest)) s, with the gradients of Esser et al. 2020, eq. 1 to 5.

    A gradient reaches x inside the range; the step gets round(x / s) - x / s of it inside, and `lowest` or `largest`
    outside, summed over the values that share it and times 1 / sqrt(values largest), section 2.2.

    Args:
        step: s, above 0; broadcasts against x.
        lowest, largest: the least and the largest level.
        values: N, how many weights share the step, or how many features an example has.
    """
    return rounded_straight_through(x, scale_gradient(step, values, largest), lowest, largest)


def scale_gradient(step: Tensor, values: int, largest: Tensor | int) -> Tensor:
    """The step, its gradient times 1 / sqrt(values largest)."""
    factor: float = (values * float(largest)) ** -0.5
    return step.detach() + factor * (step - step.detach())


def initial_step(size: Tensor, count: Tensor, largest: float) -> Tensor:
    """2 mean|v| / sqrt(largest), section 2.1; 0 where all are zero."""
    step: Tensor = 2 * size / count.clamp(min=1) / largest**0.5
    return step


class LearnedWeight(WeightQuantizer):
    """A weight quantizer on the uniform grid whose steps are parameters.

    The parameter is the step's logarithm: a step stays positive, and an Adam step of rate r changes it by about the
    share r, however small it is. Weights that are zero, pruned, count neither in the first step nor in its gradient.

    Parameters: `log_step` (output channels, 1, ...), or () with granularity `tensor`. Buffers: `started`, whether the
    steps were set, from the first weights that are rounded; `scale`, which follows the steps.
    """

    def __init__(self, weight: Tensor, grid: Grid, granularity: str = "channel"):
        super().__init__(weight, grid, granularity)
        per_tensor = granularity == "tensor"
        self.log_step = nn.Parameter(
            torch.zeros((), device=weight.device) if per_tensor else torch.zeros_like(self.scale)
        )
        self.values = weight.numel() if per_tensor else weight[0].numel()
        self.register_buffer("started", torch.tensor(False))
        self.started: Tensor

    def forward(self, weight: Tensor) -> Tensor:
        if not self.enabled:
            return weight
        self.initialize_steps(weight)
        return learned_round(weight, self.log_step.exp(), -self.largest, self.largest, self.values)

    def step(self) -> Tensor:
        """The steps, with the gradient that `learned_round` gives them."""
        return scale_gradient(self.log_step.exp(), self.values, self.largest)

    def integers(self, weight: Tensor) -> Tensor:
        self.initialize_steps(weight)
        return super().integers(weight)

    @torch.no_grad()
    def initialize_steps(self, weight: Tensor) -> None:
        """Sets the steps from `weight`, the first time, and the scale from the steps."""
        if not self.started:
            rows = weight.abs().reshape(1, -1) if self.log_step.dim() == 0 else weight.abs().flatten(1)
            step = initial_step(rows.sum(1), (rows != 0).sum(1), self.largest)
            fallback = step.max() if step.any() else torch.ones_like(step.max())  # for a channel of zeros
            self.log_step.copy_(torch.where(step > 0, step, fallback).log().view_as(self.log_step))
            self.started.fill_(True)
        self.scale.copy_(self.log_step.exp().expand_as(self.scale))


class LearnedActivation(ActivationQuantizer):
    """An activation quantizer whose step is a parameter: levels 0 to 2^b - 1, or, where the first batch has negative
    values, -2^(b-1) to 2^(b-1) - 1 (section 2).

    Parameter: `log_step` (). Buffers: those of `ActivationQuantizer`; `zero`, the integer that stands for zero. The
    first batch that is rounded sets them.
    """

    def __init__(self, bits: int):
        super().__init__(bits)
        self.log_step = nn.Parameter(torch.zeros(()))
        self.register_buffer("zero", torch.tensor(0.0))
        self.zero: Tensor

    @property
    def scale(self) -> Tensor:
        return self.log_step.exp()

    @property
    def zero_point(self) -> Tensor:
        return self.zero

    def forward(self, x: Tensor) -> Tensor:
        if not self.enabled:
            return x
        if not self.seen:
            self.observe(x.detach().float())
        lowest, largest = -self.zero, self.levels - self.zero
        if self.training:
            step = self.scale.detach()
            self.low.copy_(lowest * step)
            self.high.copy_(largest * step)
        return learned_round(x.float(), self.scale, lowest, largest, x[0].numel()).to(x.dtype)

    @torch.no_grad()
    def observe(self, x: Tensor) -> None:
        self.refuse_signs(x)
        if x.min() < 0:
            self.zero.fill_((self.levels + 1) // 2)
        step = initial_step(x.abs().sum(), torch.tensor(x.numel()), float(self.levels - self.zero))
        self.log_step.copy_(torch.where(step > 0, step, 1.0).log())
        self.seen.add_(1)


class LearnedStepQuantization(QuantizationAwareTraining):
    """Trains the network with rounded weights and activations whose steps it learns; the network's input keeps
    8 bits in a range that follows a moving average.

    Args:
        bits: width of a weight, 2 to 8, on the uniform grid.
        begin: share of training after which rounding starts, 0 to below 1.
        activation_bits, granularity, exclude, bits_of: as in `Quantization`.

    Raises:
        UserError: a value outside its range.
    """

    learns_steps = True

    def __init__(
        self,
        bits: int = 8,
        activation_bits: int | None = 8,
        begin: float = 0.0,
        granularity: str = "channel",
        exclude: Sequence[str] = (),
        bits_of: Mapping[str, int] | None = None,
    ):
        if not 0 <= begin < 1:
            raise UserError(f"quant.begin={begin}: a share of training, from 0 to below 1")
        super().__init__(bits, activation_bits, begin, 1.0, granularity, exclude, bits_of=bits_of)

    def largest_levels(self) -> Collection[int]:
        largest = max(super().largest_levels())
        return range(min(2, largest), largest + 1)  # a learned step need not reach its end

    def weight_quantizer(self, weight: Tensor, grid: Grid) -> WeightQuantizer:
        return LearnedWeight(weight, grid, self.granularity)

    def activation_quantizer(self, bits: int) -> ActivationQuantizer:
        return LearnedActivation(bits)
