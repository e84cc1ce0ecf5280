"""Dynamic post-training quantization: integer weights, activations rounded by each batch's own range."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import nn

from lcomp.techniques.example import Example
from lcomp.techniques.quantization.integer_layers import DynamicInput
from lcomp.techniques.quantization.quantization import Quantization
from lcomp.techniques.quantization.static import enable_weights
from lcomp.techniques.technique import Layer


class DynamicQuantization(Quantization):
    """Rounds a trained network's weights; nothing about its activations is stored.

    Args:
        bits, granularity, exclude, grid, weight_range, bits_of: as in `Quantization`.
        activation_bits: 8, the only width that ONNX's DynamicQuantizeLinear has.
    """

    trains = False
    export_ready_from = 1.0  # validation sees none of its rounding
    activation_widths = (8,)

    def attach_input(self, module: nn.Module, is_first: bool) -> None:
        """Nothing acts before `finalize`."""
        module.input_quantizer = DynamicInput()

    def attach_between(self, network: nn.Module, selected: Mapping[str, Layer]) -> None:
        """Sums stay float: their range is known once they are computed."""

    @torch.no_grad()
    def finalize(self, network: nn.Module, calibration: Iterable[Example] = ()) -> nn.Module:
        enable_weights(network)
        return super().finalize(network)
