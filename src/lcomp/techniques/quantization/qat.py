"""Quantization-aware training (Jacob et al. 2018; Krishnamoorthi 2018)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypedDict

import pytorch_lightning as pl
from torch import nn

from lcomp.errors import UserError
from lcomp.techniques.example import Example
from lcomp.techniques.quantization.fake import ActivationQuantizer, WeightQuantizer
from lcomp.techniques.quantization.grids import Grid, Uniform
from lcomp.techniques.quantization.quantization import Quantization, quantizers
from lcomp.techniques.quantization.ranges import Estimator, MovingAverage
from lcomp.techniques.schedule import Window, check_window, has_reached, training_progress
from lcomp.techniques.technique import Batch, network_of

MOVING_AVERAGE = MovingAverage()


class QATSettings(TypedDict, total=False):
    """Arguments of `QuantizationAwareTraining` but its bits, for a class that hands them on."""

    activation_bits: int | None
    begin: float
    freeze: float
    granularity: str
    exclude: Sequence[str]
    grid: Callable[[int], Grid]
    weight_range: str
    range: Estimator
    bits_of: Mapping[str, int] | None


class QuantizationAwareTraining(Quantization):
    """Trains the network with rounded weights and activations; gradients pass straight through.

    Args:
        bits, activation_bits, granularity, exclude, grid, weight_range, range, bits_of: as in `Quantization`; ranges of
            activations follow a moving average unless `range` says otherwise.
        begin: share of training after which rounding starts.
        freeze: share of training after which the ranges stay as they are.
    """

    def __init__(
        self,
        bits: int = 8,
        activation_bits: int | None = 8,
        begin: float = 0.0,
        freeze: float = 2 / 3,
        granularity: str = "channel",
        exclude: Sequence[str] = (),
        grid: Callable[[int], Grid] = Uniform,
        weight_range: str = "grid",
        range: Estimator = MOVING_AVERAGE,
        bits_of: Mapping[str, int] | None = None,
    ):
        super().__init__(bits, activation_bits, granularity, exclude, grid, weight_range, range, bits_of)
        check_window("quant.begin", begin, "quant.freeze", freeze)
        if freeze == begin:
            raise UserError(f"quant.begin={begin}, quant.freeze={freeze}: ranges are observed between them")
        self.begin, self.freeze = begin, freeze
        self.export_ready_from = begin

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        super().on_train_batch_start(trainer, pl_module, batch, batch_idx)
        network, enabled = network_of(pl_module), has_reached(trainer, self.begin)
        late = training_progress(trainer) >= self.freeze  # what is observed then was never before: a step, at the least
        for weight in quantizers(network, WeightQuantizer):
            weight.frozen.fill_(late and bool(weight.enabled))
            weight.enabled.fill_(enabled)
        for activation in quantizers(network, ActivationQuantizer):
            activation.enabled.fill_(enabled)
            activation.observing.fill_(enabled and not (late and bool(activation.seen)))

    def windows(self, trainer: pl.Trainer) -> Sequence[Window]:
        key = f"quant.begin={self.begin:.3g}" + ("" if self.learns_steps else f", quant.freeze={self.freeze:.3g}")
        return [Window(key, self.begin, self.freeze, 1, "one step alone sets scales and ranges")]

    def unfinished(self, network: nn.Module) -> str:
        inputs = {
            name: quantizer for name, quantizer in network.named_modules() if isinstance(quantizer, ActivationQuantizer)
        }
        unseen = [name.removesuffix(".input_quantizer") for name, quantizer in inputs.items() if not quantizer.seen]
        return f"quant: the inputs of {', '.join(unseen)} have no range, for no step called them" if unseen else ""

    def finalize(self, network: nn.Module, calibration: Iterable[Example] = ()) -> nn.Module:
        weights = quantizers(network, WeightQuantizer)
        if weights and not any(weight.enabled for weight in weights):
            raise UserError(
                f"quant.begin={self.begin:.3g}: training ended before it, and neither scales nor ranges are known; "
                "train on, or quantize after training (quant=static)"
            )
        return super().finalize(network, calibration)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.observe(network_of(pl_module), False)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.observe(network_of(pl_module), False)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.observe(network_of(pl_module), False)

    def scalars(self, network: nn.Module) -> dict[str, float]:
        ranges: dict[str, float] = {}
        for name, module in network.named_modules():
            if isinstance(module, ActivationQuantizer):
                prefix = f"range/{name.removesuffix('.input_quantizer').removesuffix('_quantizer')}"
                ranges |= {f"{prefix}.low": float(module.low), f"{prefix}.high": float(module.high)}
            elif isinstance(module, WeightQuantizer):
                layer = name.partition(".parametrizations")[0]
                ranges[f"range/{layer}.weight"] = float(module.scale.max()) * module.largest
        return ranges

    @staticmethod
    def observe(network: nn.Module, observing: bool) -> None:
        for activation in quantizers(network, ActivationQuantizer):
            activation.observing.fill_(observing)
