"""What steps of a packed network compute with, as layers have it."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from lcomp.c.layers import Floats, Product, View
from lcomp.c.network import Pair, Shape, Window
from lcomp.packed.layer_codec import as_pair
from lcomp.packed.network import Constant
from lcomp.techniques.quantization.integer_layers import CodedWeight, IntegerWeight, QuantizedConv2d, QuantizedLinear


def product(
    step: nn.Conv2d | QuantizedConv2d | nn.Linear | QuantizedLinear, read: View, shape: Shape, number: int
) -> Product:
    """A layer of weights in any form; those of a linear layer in the order in which its input lies in memory."""
    coded = getattr(step, "coded", None)
    scale = None
    if isinstance(coded, IntegerWeight):
        weight = coded.integers.double()
        scale = coded.scale.double().expand(len(weight)).numpy()
    else:
        weight = (coded() if isinstance(coded, CodedWeight) else step.weight).detach().double()
    bias = torch.zeros(len(weight)) if step.bias is None else step.bias.detach()
    if isinstance(step, nn.Linear | QuantizedLinear):
        window, groups, source_shape = Window(), 1, (1, 1, weight.shape[1])
        weights = weight.numpy()[:, read.channels].reshape(len(weight), 1, 1, -1)
        assert read.shape == source_shape
    else:
        assert not isinstance(step.padding, str)
        pairs: list[Pair] = [as_pair(one) for one in (step.stride, step.padding, step.dilation)]
        kernel = as_pair(weight.shape[2:])
        window, groups = Window(kernel, *pairs), step.groups
        weights = weight.numpy().transpose(0, 2, 3, 1)
    return Product(
        sources=[read.layer], shape=shape, value=number, weights=weights, scale=scale,
        bias=bias.double().numpy(), window=window, groups=groups,
    )  # fmt: skip


def factors(step: Constant | nn.BatchNorm1d | nn.BatchNorm2d, read: View) -> tuple[Floats, Floats]:
    """What a step multiplies each channel of a value with, and what it adds then."""
    if isinstance(step, Constant):
        values = step.values.double().numpy()
        values = np.broadcast_to(values, (read.shape[2],)) if len(values) == 1 else values
        of = {"add": (1.0, values), "sub": (1.0, -values), "mul": (values, 0.0), "div": (1 / values, 0.0)}
        factor, offset = of[step.operator]
    else:
        assert step.running_mean is not None and step.running_var is not None
        tensors = (step.running_mean, step.running_var, step.weight, step.bias)
        mean, variance, weight, bias = (tensor.detach().double().numpy() for tensor in tensors)
        factor = weight / np.sqrt(variance + step.eps)
        offset = bias - mean * factor
    whole = [np.broadcast_to(np.asarray(one, np.float64), (read.shape[2],)) for one in (factor, offset)]
    return whole[0][read.channels], whole[1][read.channels]
