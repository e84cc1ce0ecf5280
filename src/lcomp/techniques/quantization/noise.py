"""Training with quantization noise, Quant-Noise (Fan et al. 2021): each step rounds a random share of the weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytorch_lightning as pl
import torch
from torch import Tensor

from lcomp.errors import UserError
from lcomp.techniques.quantization.fake import WeightQuantizer
from lcomp.techniques.quantization.grids import Grid, Uniform
from lcomp.techniques.quantization.qat import MOVING_AVERAGE, QuantizationAwareTraining
from lcomp.techniques.quantization.quantization import quantizers
from lcomp.techniques.quantization.ranges import Estimator
from lcomp.techniques.technique import Batch, network_of


class NoisyWeight(WeightQuantizer):
    """A weight quantizer that, while training, rounds each block of weights with probability `share` and leaves the
    others, and their gradients, as they are; in evaluation it rounds all.

    Args:
        share, block, seed: as in `QuantizationNoise`.
        position: of the layer in the network, so that each draws its own.

    Buffers: those of `WeightQuantizer`; `step`, the optimizer's, which with seed and position decides the draw.
    """

    def __init__(
        self,
        weight: Tensor,
        grid: Grid,
        granularity: str = "channel",
        range: str = "grid",
        share: float = 0.5,
        block: int = 1,
        seed: int = 0,
        position: int = 0,
    ):
        super().__init__(weight, grid, granularity, range)
        self.share, self.block, self.seed, self.position = share, block, seed, position
        self.register_buffer("step", torch.tensor(0))
        self.step: Tensor

    def forward(self, weight: Tensor) -> Tensor:
        rounded = super().forward(weight)
        if not (self.enabled and self.training):
            return rounded
        return torch.where(self.chosen(weight), rounded, weight)

    def chosen(self, weight: Tensor) -> Tensor:
        """Which weights are rounded: booleans of the weight's shape."""
        mixed = 7919 * self.seed + 104_729 * self.position + 1_000_003 * int(self.step)
        generator = torch.Generator().manual_seed(mixed % 2**32)
        blocks = torch.rand(-(-weight.numel() // self.block), generator=generator) < self.share
        return blocks.repeat_interleave(self.block)[: weight.numel()].view(weight.shape).to(weight.device)


class QuantizationNoise(QuantizationAwareTraining):
    """Trains the network while each step rounds a random share of its weights; the network that is validated and
    exported has all of them rounded. Activations are rounded as in quantization-aware training.

    Args:
        share: of a layer's weights that a step rounds, above 0 to 1 (all, as without noise).
        block: weights that follow one another and are rounded together, 1 or more.
        seed: of the draws.
        bits, activation_bits, begin, freeze, granularity, exclude, grid, weight_range, range: as in
            `QuantizationAwareTraining`.

    Raises:
        UserError: a value outside its range.
    """

    def __init__(
        self,
        bits: int = 8,
        activation_bits: int | None = 8,
        share: float = 0.5,
        block: int = 1,
        begin: float = 0.0,
        freeze: float = 2 / 3,
        granularity: str = "channel",
        exclude: Sequence[str] = (),
        grid: Callable[[int], Grid] = Uniform,
        weight_range: str = "grid",
        range: Estimator = MOVING_AVERAGE,
        seed: int = 0,
    ):
        super().__init__(bits, activation_bits, begin, freeze, granularity, exclude, grid, weight_range, range)
        if not 0 < share <= 1:
            raise UserError(f"quant.share={share}: a share of the weights, above 0, to 1")
        if block < 1:
            raise UserError(f"quant.block={block}: weights that are rounded together, 1 or more")
        self.share, self.block, self.seed, self.made = share, block, seed, 0

    def weight_quantizer(self, weight: Tensor, grid: Grid) -> WeightQuantizer:
        self.made += 1
        return NoisyWeight(
            weight, grid, self.granularity, self.weight_range, self.share, self.block, self.seed, self.made
        )

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        super().on_train_batch_start(trainer, pl_module, batch, batch_idx)
        for weight in quantizers(network_of(pl_module), NoisyWeight):
            weight.step.fill_(trainer.global_step)
