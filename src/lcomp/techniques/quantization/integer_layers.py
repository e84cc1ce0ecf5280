"""Layers with integer weights: what a quantized network is made of once its techniques are finalized."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lcomp.techniques.quantization.fake import DynamicQuantizer, fake_quantize

OPSET = 20
GATHER = "lcomp::Gather"  # becomes Cast and Gather when the exporter, which would fold small ones into floats, is done


class Input(nn.Module):
    """Quantizes a layer's input with a fixed scale and zero point; exported, QuantizeLinear and DequantizeLinear.

    Args:
        scale, zero_point: one number each; `zero_point` is the level that stands for zero.
        levels: the highest level, 2^bits - 1.
    """

    exporting = False

    def __init__(self, scale: Tensor, zero_point: Tensor, levels: int):
        super().__init__()
        self.levels = levels
        self.register_buffer("scale", torch.zeros(()))
        self.register_buffer("zero_point", zero_point.detach().to(torch.uint8))
        self.scale: Tensor
        self.zero_point: Tensor
        self.rescale(scale.detach())

    def rescale(self, scale: Tensor) -> None:
        """Takes another scale; the levels stay."""
        self.scale.copy_(scale)
        self.highest = float((self.levels - self.zero_point.float()) * self.scale)

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


class CodedWeight(nn.Module):
    """A weight as it is stored: calling it gives the float weight.

    Args:
        integers: the stored whole numbers, of the weight's shape; 0 stands for a weight of zero, and only 0 does.
    """

    exporting = False

    def __init__(self, integers: Tensor):
        super().__init__()
        self.register_buffer("integers", integers)
        self.integers: Tensor

    def rows(self, indices: Tensor) -> Tensor:
        """Some rows of the float weight (..., columns), for indices (...); in an artifact, the integers are looked up,
        and these decoded."""
        raise NotImplementedError


class IntegerWeight(CodedWeight):
    """int8 weights (output channels, ...) with a scale per output channel; in an export, DequantizeLinear."""

    def __init__(self, integers: Tensor, scale: Tensor):
        super().__init__(integers)
        self.register_buffer("scale", scale.detach().flatten().clone())
        self.register_buffer("zero_point", torch.zeros(len(integers), dtype=torch.int8))
        self.scale: Tensor
        self.zero_point: Tensor

    def forward(self) -> Tensor:
        if not self.exporting:
            return self.integers.float() * self.scale.view(-1, *[1] * (self.integers.dim() - 1))
        inputs = (self.integers, self.scale, self.zero_point)
        return symbolic("DequantizeLinear", inputs, torch.float32, self.integers.shape, axis=0)

    def rows(self, indices: Tensor) -> Tensor:
        return F.embedding(indices, self.integers).float() * F.embedding(indices, self.scale.unsqueeze(1))


class SharedWeight(CodedWeight):
    """uint8 indices into the layer's values, the first of which is zero; in an artifact, Cast and Gather.

    Args:
        integers: indices, uint8 of the weight's shape.
        codebook: values (at most 256), the first 0.
    """

    def __init__(self, integers: Tensor, codebook: Tensor):
        super().__init__(integers)
        self.register_buffer("codebook", codebook.detach().clone())
        self.codebook: Tensor

    def forward(self) -> Tensor:
        if not self.exporting:
            return self.codebook[self.integers.int()]
        return symbolic(GATHER, (self.codebook, self.integers), torch.float32, self.integers.shape)

    def rows(self, indices: Tensor) -> Tensor:
        values: Tensor = F.embedding(F.embedding(indices, self.integers).int(), self.codebook.unsqueeze(1)).squeeze(-1)
        return values


class QuantizedConv2d(nn.Module):
    """A convolution with stored integers for weights; the bias stays float.

    Args:
        coded: the weight as it is stored; `weight` is the float tensor that it stands for, for whoever reads it.
        quantize_input: what the input goes through first; `nn.Identity` leaves it float.
    """

    def __init__(self, layer: nn.Conv2d, coded: CodedWeight, quantize_input: nn.Module):
        super().__init__()
        self.coded, self.quantize_input, self.bias = coded, quantize_input, layer.bias
        self.in_channels, self.out_channels, self.kernel_size = layer.in_channels, layer.out_channels, layer.kernel_size
        self.stride, self.padding, self.dilation, self.groups = (
            layer.stride,
            layer.padding,
            layer.dilation,
            layer.groups,
        )

    @property
    def weight(self) -> Tensor:
        weight: Tensor = self.coded()
        return weight

    def forward(self, input: Tensor) -> Tensor:
        x = self.quantize_input(input)
        return F.conv2d(x, self.coded(), self.bias, self.stride, self.padding, self.dilation, self.groups)


class QuantizedLinear(nn.Module):
    """A linear layer with stored integers for weights, see `QuantizedConv2d`."""

    def __init__(self, layer: nn.Linear, coded: CodedWeight, quantize_input: nn.Module):
        super().__init__()
        self.coded, self.quantize_input, self.bias = coded, quantize_input, layer.bias
        self.in_features, self.out_features = layer.in_features, layer.out_features

    @property
    def weight(self) -> Tensor:
        weight: Tensor = self.coded()
        return weight

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(self.quantize_input(input), self.coded(), self.bias)


class QuantizedEmbedding(nn.Module):
    """An embedding with stored integers for weights, see `QuantizedConv2d`; it looks up, and rounds no input."""

    bias = None

    def __init__(self, layer: nn.Embedding, coded: CodedWeight, quantize_input: nn.Module):
        super().__init__()
        self.coded = coded
        self.num_embeddings, self.embedding_dim = layer.num_embeddings, layer.embedding_dim

    @property
    def weight(self) -> Tensor:
        weight: Tensor = self.coded()
        return weight

    def forward(self, input: Tensor) -> Tensor:
        return self.coded.rows(input)


QuantizedLayer = QuantizedConv2d | QuantizedLinear | QuantizedEmbedding
QUANTIZED = {nn.Conv2d: QuantizedConv2d, nn.Linear: QuantizedLinear, nn.Embedding: QuantizedEmbedding}


def quantized_layer(layer: nn.Module, coded: CodedWeight, quantize_input: nn.Module) -> QuantizedLayer:
    """The layer of its kind that holds `coded` instead of floats."""
    made: type[QuantizedLayer] = next(made for kind, made in QUANTIZED.items() if isinstance(layer, kind))
    return made(layer, coded, quantize_input)  # type: ignore[arg-type]


def symbolic(op: str, inputs: tuple[Tensor, ...], dtype: torch.dtype, shape: torch.Size, **attributes: int) -> Tensor:
    return torch.onnx.ops.symbolic(op, inputs, attrs={**attributes}, dtype=dtype, shape=shape, version=OPSET)
