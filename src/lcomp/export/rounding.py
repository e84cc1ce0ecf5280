"""Biases, scales and codebooks rounded to what takes few bits in a packed file; the network's logits follow."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lcomp.export.onnx_export import fold_normalization
from lcomp.techniques.quantization.integer_layers import (
    Input,
    IntegerWeight,
    QuantizedConv2d,
    QuantizedLinear,
    SharedWeight,
)

LAYERS = (nn.Conv2d, nn.Linear, QuantizedConv2d, QuantizedLinear)


@torch.no_grad()
def round_network(network: nn.Module, bias_bits: int | None = None, scale_bits: int | None = None) -> nn.Module:
    """A finalized network with its normalization folded, and rounded as asked; itself, where nothing is.

    Args:
        bias_bits: width of a bias: whole multiples of a power of two, which each layer has its own of. None: float32.
        scale_bits: significant bits of the scales of weights and activations and of shared values. None: all 24.
    """
    if bias_bits is None and scale_bits is None:
        return network
    network = fold_normalization(network)
    for module in network.modules():
        if bias_bits and isinstance(module, LAYERS) and module.bias is not None:
            module.bias.copy_(on_grid(module.bias, bias_bits))
        if scale_bits and isinstance(module, Input):
            module.rescale(significant(module.scale, scale_bits))
        if scale_bits and isinstance(module, IntegerWeight):
            module.scale.copy_(significant(module.scale, scale_bits))
        if scale_bits and isinstance(module, SharedWeight):
            module.codebook.copy_(significant(module.codebook, scale_bits))
    return network


def on_grid(values: Tensor, bits: int) -> Tensor:
    """`values` at the nearest whole multiples, from -(2^(bits-1) - 1) to 2^(bits-1) - 1, of the smallest power of two
    whose multiples reach that far."""
    most = 2 ** (bits - 1) - 1
    fraction, exponent = torch.frexp(values.abs().max() / most)
    exponent -= (fraction == 0.5).int()  # 2^exponent is above it, or it
    whole = torch.ldexp(values, -exponent).round().clamp(-most, most)
    return torch.ldexp(whole, exponent) + 0.0  # no minus zero, which is no whole number


def significant(values: Tensor, bits: int) -> Tensor:
    """`values` with that many significant bits, the nearest ones."""
    fractions, exponents = torch.frexp(values)
    return torch.ldexp((fractions * 2**bits).round() / 2**bits, exponents)
