"""A network with quantizers becomes one of integer layers."""

from __future__ import annotations

import logging

import torch
from torch import Tensor, nn

from lcomp.models.blocks import Normalize, folded_bias
from lcomp.techniques import layer_graph
from lcomp.techniques.parametrizations import remove_all, weight_before
from lcomp.techniques.quantization.fake import ActivationQuantizer, RoundedBefore, WeightQuantizer
from lcomp.techniques.quantization.integer_layers import (
    Input,
    IntegerWeight,
    QuantizedEmbedding,
    QuantizedLayer,
    quantized_layer,
)
from lcomp.techniques.technique import Layer

log = logging.getLogger(__name__)
MOST_BIAS = 2**30  # of an integer bias, half of what 32 bits hold: runtimes add the products to it


def integer_layer(layer: Layer, weight: IntegerWeight, owner: nn.Module) -> QuantizedLayer:
    """The integer form of `layer`; `owner`, which holds its input's quantizer, is the layer itself or the
    normalization to fold into it."""
    if isinstance(owner, Normalize) and not isinstance(layer, nn.Embedding):
        weight.scale.div_(owner.std)
        layer.bias = folded_bias(owner, weight(), layer.bias)
    source = owner.input_quantizer
    if isinstance(source, ActivationQuantizer):
        source = deployed(source)
    elif isinstance(source, RoundedBefore):
        source = nn.Identity()
    return quantized_layer(layer, weight, source)  # type: ignore[arg-type]


def leave_float(layer: Layer, owner: nn.Module) -> None:
    """Takes the quantizers off a layer and off what holds its input's."""
    remove_all(layer, weight_before(layer, WeightQuantizer))
    layer_graph.detach_quantizer(owner, "input")


def deploy_between(network: nn.Module) -> None:
    """Puts quantizers of fixed ranges in the place of those that stand between layers."""
    for name, module in list(network.named_modules()):
        for side in ("input", "output"):
            quantizer = getattr(module, f"{side}_quantizer", None)
            if isinstance(quantizer, ActivationQuantizer):
                if quantizer.seen:
                    setattr(module, f"{side}_quantizer", deployed(quantizer))
                else:
                    log.warning("quant leaves the %s of %s float: nothing passed it", side, name)
                    layer_graph.detach_quantizer(module, side)


def deployed(quantizer: ActivationQuantizer) -> Input:
    return Input(quantizer.scale, quantizer.zero_point, quantizer.levels)


def keep_biases_in_range(layer: QuantizedLayer, input_scale: Tensor) -> None:
    """Coarsens the scales of channels whose bias, in units of input scale times weight scale, is beyond an integer of
    32 bits, as which runtimes add it: a batch norm leaves a nearly dead channel a tiny scale and a bias of any size."""
    if layer.bias is None:
        return
    assert isinstance(layer.coded, IntegerWeight)
    least = layer.bias.abs() / (input_scale * MOST_BIAS)
    scale, integers = layer.coded.scale, layer.coded.integers
    beyond = scale < least
    if beyond.any():
        coarser = torch.where(beyond, scale / least.clamp(min=torch.finfo(least.dtype).tiny), 1.0)
        rounded = (integers * coarser.view(-1, *[1] * (integers.dim() - 1))).round()
        integers.copy_(rounded)
        scale.copy_(torch.maximum(scale, least))


def fold_batch_norm(layer: QuantizedLayer, norm: nn.Module) -> None:
    """Folds gamma (y - mean) / sqrt(var + eps) + beta into the layer before it; exact, since its scales are per output
    channel. A negative gamma turns the signs of its channel's integers, which lie symmetrically about zero."""
    assert isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d)
    assert norm.running_mean is not None and norm.running_var is not None
    gain = (norm.running_var + norm.eps).rsqrt()
    if norm.weight is not None:
        gain = gain * norm.weight
    assert isinstance(layer.coded, IntegerWeight)
    integers = layer.coded.integers
    integers.mul_(gain.sign().to(integers.dtype).view(-1, *[1] * (integers.dim() - 1)))
    layer.coded.scale.mul_(gain.abs().where(gain != 0, 1.0))
    assert not isinstance(layer, QuantizedEmbedding)
    bias = -norm.running_mean if layer.bias is None else layer.bias - norm.running_mean
    layer.bias = nn.Parameter(bias * gain + (0.0 if norm.bias is None else norm.bias))
