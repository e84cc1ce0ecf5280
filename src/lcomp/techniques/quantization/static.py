"""Static post-training quantization: ranges from calibration examples, no training (Krishnamoorthi 2018, section 3)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import nn

from lcomp.errors import UserError
from lcomp.techniques.example import Example, arguments
from lcomp.techniques.parametrizations import parametrization, weight_before
from lcomp.techniques.quantization.fake import ActivationQuantizer, WeightQuantizer
from lcomp.techniques.quantization.grids import Grid, Uniform
from lcomp.techniques.quantization.quantization import Quantization, quantizers
from lcomp.techniques.quantization.ranges import Estimator, min_max
from lcomp.techniques.technique import layers


class StaticQuantization(Quantization):
    """Rounds a trained network; its activations' ranges are estimated over `calibration_images` of training, and are
    their extremes unless `range` says otherwise.

    Args:
        bits, activation_bits, granularity, exclude, grid, weight_range, range, bits_of: as in `Quantization`.
        calibration_images: how many training examples are looked at, 1 or more.
    """

    trains = False
    export_ready_from = 1.0  # validation sees none of its rounding

    def __init__(
        self,
        bits: int = 8,
        activation_bits: int | None = 8,
        calibration_images: int = 2_000,
        granularity: str = "channel",
        exclude: Sequence[str] = (),
        grid: Callable[[int], Grid] = Uniform,
        weight_range: str = "grid",
        range: Estimator = min_max,
        bits_of: Mapping[str, int] | None = None,
    ):
        super().__init__(bits, activation_bits, granularity, exclude, grid, weight_range, range, bits_of)
        if calibration_images < 1:
            raise UserError(f"quant.calibration_images={calibration_images}: 1 or more")
        self.calibration_images = calibration_images

    @torch.no_grad()
    def finalize(self, network: nn.Module, calibration: Iterable[Example] = ()) -> nn.Module:
        activations = quantizers(network, ActivationQuantizer)
        for quantizer in activations:
            quantizer.observing.fill_(True)
        network.eval()
        left = self.calibration_images
        for batch in calibration:
            if left <= 0:
                break
            given = tuple(tensor[:left] for tensor in arguments(batch))
            network(*given)
            left -= len(given[0])
        if left == self.calibration_images:
            raise UserError("quant=static needs calibration examples: finalize(calibration=batches of inputs)")
        for quantizer in activations:
            quantizer.observing.fill_(False)
            quantizer.enabled.fill_(True)
        enable_weights(network)
        return super().finalize(network)


def enable_weights(network: nn.Module) -> None:
    """Sets every weight quantizer's scale from the weights as they are, and turns it on."""
    for _, layer in layers(network):
        quantizer = parametrization(layer, WeightQuantizer)
        if quantizer is not None:
            quantizer.observe(weight_before(layer, WeightQuantizer))
            quantizer.enabled.fill_(True)
