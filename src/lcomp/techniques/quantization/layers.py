"""Layers with integer weights: what a quantized network is made of once its techniques are finalized."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lcomp.techniques.quantization.fake import ActivationQuantizer, DynamicQuantizer, fake_quantize

OPSET = 20


class Input(nn.Module):
    """Quantizes a layer's input with a fixed scale and zero point; exported, QuantizeLinear and DequantizeLinear."""

    exporting = False

    def __init__(self, quantizer: ActivationQuantizer):
        super().__init__()
        self.levels = quantizer.levels
        self.highest = float((self.levels - quantizer.zero_point) * quantizer.scale.detach())
        self.register_buffer("scale", quantizer.scale.detach().clone())
        self.register_buffer("zero_point", quantizer.zero_point.detach().to(torch.uint8))
        self.scale: Tensor
        self.zero_point: Tensor

    def forward(self, x: Tensor) -> Tensor:
        if not self.exporting:
            return fake_quantize(x, self.scale, self.zero_point.float(), self.levels)
        if self.levels < 255:  # uint8 saturates at 255 by itself; fewer levels need an explicit bound
            x = x.clamp(max=self.highest)
        integers = symbolic("QuantizeLinear", (x, self.scale, self.zero_point), torch.uint8, x.shape)
        return symbolic("DequantizeLinear", (integers, self.scale, self.zero_point), torch.float32, x.shape)


class DynamicInput(DynamicQuantizer):
    """Quantizes a layer's input by each batch's own range; in an export, DynamicQuantizeLinear."""

    exporting = False

    def forward(self, x: Tensor) -> Tensor:
        if not self.exporting:
            return super().forward(x)
        integers, scale, zero_point = torch.onnx.ops.symbolic_multi_out(
            "DynamicQuantizeLinear",
            (x,),
            dtypes=(torch.uint8, torch.float32, torch.uint8),
            shapes=(x.shape, (), ()),
            version=OPSET,
        )
        return symbolic("DequantizeLinear", (integers, scale, zero_point), torch.float32, x.shape)


class IntegerWeight(nn.Module):
    """int8 weights (output channels, ...) with a scale per output channel; in an export, DequantizeLinear."""

    exporting = False

    def __init__(self, integers: Tensor, scale: Tensor):
        super().__init__()
        self.register_buffer("integers", integers)
        self.register_buffer("scale", scale.detach().flatten().clone())
        self.register_buffer("zero_point", torch.zeros(len(integers), dtype=torch.int8))
        self.integers: Tensor
        self.scale: Tensor
        self.zero_point: Tensor

    def forward(self) -> Tensor:
        if not self.exporting:
            return self.integers.float() * self.scale.view(-1, *[1] * (self.integers.dim() - 1))
        inputs = (self.integers, self.scale, self.zero_point)
        return symbolic("DequantizeLinear", inputs, torch.float32, self.integers.shape, axis=0)


class QuantizedConv2d(nn.Module):
    """A convolution with integer weights and a quantized input; the bias stays float."""

    def __init__(self, layer: nn.Conv2d, weight: IntegerWeight, quantize_input: nn.Module):
        super().__init__()
        self.weight, self.quantize_input, self.bias = weight, quantize_input, layer.bias
        self.stride, self.padding, self.dilation, self.groups = (
            layer.stride,
            layer.padding,
            layer.dilation,
            layer.groups,
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.quantize_input(x)
        return F.conv2d(x, self.weight(), self.bias, self.stride, self.padding, self.dilation, self.groups)


class QuantizedLinear(nn.Module):
    """A linear layer with integer weights and a quantized input; the bias stays float."""

    def __init__(self, layer: nn.Linear, weight: IntegerWeight, quantize_input: nn.Module):
        super().__init__()
        self.weight, self.quantize_input, self.bias = weight, quantize_input, layer.bias

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(self.quantize_input(x), self.weight(), self.bias)


def symbolic(op: str, inputs: tuple[Tensor, ...], dtype: torch.dtype, shape: torch.Size, **attributes: Any) -> Tensor:
    return torch.onnx.ops.symbolic(op, inputs, attrs=attributes, dtype=dtype, shape=shape, version=OPSET)
