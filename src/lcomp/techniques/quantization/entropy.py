"""Entropy-regularised training: the loss has a price on the bytes that an entropy coder needs for the weights.

Rate and distortion in one Lagrangian (Shannon 1959), as in entropy-penalized reparameterization (Oktay et al. 2020, eq.
4) and entropy-constrained training (Wiedemann et al. 2019). There the rate is that of a model of the weights that is
learned beside them; here it is what this package's own adaptive coder takes, as a function of soft counts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lcomp.errors import UserError
from lcomp.techniques.gradients import gradient_scale
from lcomp.techniques.parametrizations import parametrization, weight_before
from lcomp.techniques.quantization.fake import WeightQuantizer
from lcomp.techniques.quantization.grids import Grid
from lcomp.techniques.quantization.lsq import LearnedStepQuantization, LearnedWeight
from lcomp.techniques.technique import layers, network_of

KILOBYTE = 8_000  # bits


def soft_counts(x: Tensor, largest: int) -> Tensor:
    """How many of `x` are at each level from -`largest` to `largest`, (2 `largest` + 1,).

    A value between two levels counts at both, by its nearness (a triangular window, Ustinova & Lempitsky 2016, eq. 2),
    so that a gradient reaches it; beyond the ends it counts at the end, without one.
    """
    x = x.flatten().clamp(-largest, largest) + largest
    low = x.detach().floor().clamp(max=2 * largest - 1)
    fraction = x - low
    counts = x.new_zeros(2 * largest + 1)
    return counts.index_add(0, low.long(), 1 - fraction).index_add(0, low.long() + 1, fraction)


def code_length(counts: Tensor) -> Tensor:
    """Bits of a sequence of symbols that occur so often, coded one by one, each under how often it occurred before:
    (c + 1/2) / (n + k/2) of k symbols (Krichevsky & Trofimov 1981, eq. 2.1). Counts need not be whole."""
    n, half = counts.sum(), 0.5 * len(counts)
    nats = torch.lgamma(n + half) - math.lgamma(half) - (torch.lgamma(counts + 0.5) - math.lgamma(0.5)).sum()
    return nats / math.log(2)


class PricedWeight(LearnedWeight):
    """A weight quantizer with learned steps that knows what its integers cost."""

    def bits(self, weight: Tensor) -> Tensor:
        """The code length of the layer's integers; at whole ones, exactly. The step's gradient has the factor that it
        has in `learned_round`."""
        return code_length(soft_counts(weight / self.step(), self.largest))


class EntropyRegularizedTraining(LearnedStepQuantization):
    """Trains the network with rounded weights whose steps it learns, and with a price on their bytes: loss + rate x
    kilobytes. Weights drift to the levels that most others have, zero above all, and steps grow.

    Args:
        rate: added to the loss for every 1,000 bytes of coded weights, 0 (as with `LearnedStepQuantization`) or more.
        bits: width of a weight, 2 to 8: no level is beyond it; how many are used, the rate decides.
        begin: share of training after which rounding starts, and the price.
        activation_bits, granularity, exclude, bits_of: as in `Quantization`.

    Raises:
        UserError: a value outside its range.
    """

    def __init__(
        self,
        bits: int = 4,
        activation_bits: int | None = 8,
        rate: float = 0.01,
        begin: float = 0.0,
        granularity: str = "channel",
        exclude: Sequence[str] = (),
        bits_of: Mapping[str, int] | None = None,
    ):
        super().__init__(bits, activation_bits, begin, granularity, exclude, bits_of)
        if not 0 <= rate < math.inf:
            raise UserError(f"quant.rate={rate}: what 1,000 bytes add to the loss, 0 or more; 0.01 is usual")
        self.rate = rate

    def weight_quantizer(self, weight: Tensor, grid: Grid) -> WeightQuantizer:
        return PricedWeight(weight, grid, self.granularity)

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        # Here, not after each backward pass: once a step, however many batches it has, and unscaled.
        cost = self.kilobytes(network_of(pl_module))
        if self.rate and cost.requires_grad:
            (self.rate * gradient_scale(trainer, optimizer) * cost).backward()

    def scalars(self, network: nn.Module) -> dict[str, float]:
        with torch.no_grad():
            return super().scalars(network) | {"weights_kilobytes": float(self.kilobytes(network))}

    @staticmethod
    def kilobytes(network: nn.Module) -> Tensor:
        """What the weights that are rounded take; zero before any is."""
        total = torch.zeros(())
        for weight, quantizer in priced_weights(network).values():
            total = total + quantizer.bits(weight) / KILOBYTE if quantizer.enabled else total
        return total


def priced_weights(network: nn.Module) -> dict[int, tuple[Tensor, PricedWeight]]:
    """Each weight that has a price, as its quantizer is given it; one that layers share once."""
    priced = {}
    for _, layer in layers(network):
        quantizer = parametrization(layer, PricedWeight)
        if quantizer is not None and id(quantizer) not in priced:
            priced[id(quantizer)] = weight_before(layer, PricedWeight), quantizer
    return priced
