"""Weight-only post-training quantization: integer weights, float activations (Krishnamoorthi 2018, section 3.1.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import nn

from lcomp.techniques.example import Example
from lcomp.techniques.quantization.grids import Grid, Uniform
from lcomp.techniques.quantization.quantization import Quantization
from lcomp.techniques.quantization.static import enable_weights


class HybridQuantization(Quantization):
    """Rounds a trained network's weights and leaves its activations float: the file holds integers, the kernels are
    float ones.

    Args:
        bits, granularity, exclude, grid, weight_range: as in `Quantization`.
    """

    trains = False
    export_ready_from = 1.0  # validation sees none of its rounding

    def __init__(
        self,
        bits: int = 8,
        granularity: str = "channel",
        exclude: Sequence[str] = (),
        grid: Callable[[int], Grid] = Uniform,
        weight_range: str = "grid",
    ):
        super().__init__(bits, None, granularity, exclude, grid, weight_range)

    @torch.no_grad()
    def finalize(self, network: nn.Module, calibration: Iterable[Example] = ()) -> nn.Module:
        enable_weights(network)
        return super().finalize(network)
