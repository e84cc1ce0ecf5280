"""What every quantization does to a network: quantizers on weights and inputs, integer layers at the end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from lcomp import graph
from lcomp.errors import UserError
from lcomp.models.layers import Normalize
from lcomp.techniques.quantization.fake import ActivationQuantizer, WeightQuantizer
from lcomp.techniques.quantization.layers import DynamicInput, Input, IntegerWeight, QuantizedConv2d, QuantizedLinear
from lcomp.techniques.technique import Layer, Technique, check_patterns, layers, original, parametrization

PIXEL_BITS = 8  # pixels are bytes: eight bits lose nothing, fewer would blind the network


class Quantization(Technique):
    """Quantizes weights per output channel and the inputs of convolutions and linear layers per tensor.

    Where a `Normalize` feeds the first layer its input is quantized before the normalization, on the grid of the pixels
    themselves, and the normalization is folded into the integer layer.

    Args:
        bits: width of a weight, 2 to 8.
        activation_bits: width of an activation, 2 to 8; pixels keep 8.
        exclude: names of layers (`fc3`, `conv*`) that stay float.

    Raises:
        UserError: a width outside its range, a name that matches no layer, or a layer that cannot be quantized.
    """

    stage = 2
    momentum: float | None = None

    def __init__(self, bits: int = 8, activation_bits: int = 8, exclude: Sequence[str] = ()):
        for key, value in (("bits", bits), ("activation_bits", activation_bits)):
            if value not in range(2, 9):
                raise UserError(f"quant.{key}={value}: a width in whole bits, 2 to 8")
        self.bits, self.activation_bits, self.exclude = bits, activation_bits, tuple(exclude)

    def check(self, network: nn.Module) -> None:
        check_patterns(network, self.exclude, "quant.exclude")
        for name, layer in layers(network, self.exclude):
            if getattr(layer, "padding_mode", "zeros") != "zeros":
                raise UserError(f"quant: {name} pads with '{layer.padding_mode}'; only zeros can be quantized")

    def prepare(self, network: nn.Module) -> None:
        self.check(network)
        sources, foldable = graph.sources(network), graph.foldable(network)
        for name, layer in layers(network, self.exclude):
            if parametrization(layer, WeightQuantizer) is not None:
                continue
            parametrize.register_parametrization(layer, "weight", WeightQuantizer(layer.weight, self.bits), unsafe=True)
            bits = PIXEL_BITS if name in foldable or sources.get(name) == graph.PIXELS else self.activation_bits
            self.attach_input(network.get_submodule(foldable.get(name, name)), bits)

    def attach_input(self, module: nn.Module, bits: int) -> None:
        """Puts a quantizer, off until it is enabled, in front of `module`."""
        module.input_quantizer = ActivationQuantizer(bits, self.momentum)
        module.register_forward_pre_hook(quantize_input)

    @torch.no_grad()
    def finalize(self, network: nn.Module, calibration: Iterable[Tensor] = ()) -> nn.Module:
        foldable = graph.foldable(network)
        for name, layer in list(layers(network)):
            quantizer = parametrization(layer, WeightQuantizer)
            if quantizer is None:
                continue
            owner = network.get_submodule(foldable.get(name, name))
            graph.replace(network, name, integer_layer(layer, quantizer, owner))
            if owner is not layer:
                graph.replace(network, foldable[name], nn.Identity())
        return network


def quantize_input(module: nn.Module, arguments: tuple[Tensor]) -> tuple[Tensor]:
    """A forward pre-hook."""
    quantizer: Any = module.input_quantizer
    return (quantizer(arguments[0]),)


def integer_layer(layer: Layer, quantizer: WeightQuantizer, owner: nn.Module) -> nn.Module:
    """The integer form of `layer`; `owner`, which holds its input's quantizer, is the layer itself or the
    normalization to fold into it: W (x - m) / s + b = (W / s) x + (b - m sum(W) / s)."""
    integers = quantizer.integers(original(layer))
    weight = IntegerWeight(integers, quantizer.scale)
    if isinstance(owner, Normalize):
        weight.scale.div_(owner.std)
        shift = owner.mean * weight().flatten(1).sum(1)
        layer.bias = nn.Parameter(-shift if layer.bias is None else layer.bias - shift)
    source = owner.input_quantizer
    quantize = Input(source) if isinstance(source, ActivationQuantizer) else DynamicInput()
    return (QuantizedConv2d if isinstance(layer, nn.Conv2d) else QuantizedLinear)(layer, weight, quantize)  # type: ignore[arg-type]


def quantizers(network: nn.Module, kind: type[nn.Module]) -> list[Any]:
    """Every quantizer of that kind in the network."""
    return [module for module in network.modules() if isinstance(module, kind)]
