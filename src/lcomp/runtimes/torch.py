"""PyTorch, eager: the packed file's network, with oneDNN's integer kernels where inputs and weights are integers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lcomp import packed
from lcomp.packed.network import Network
from lcomp.runtimes.runtime import Converting, Session
from lcomp.tasks.split import Arrays
from lcomp.techniques.quantization.integer_layers import Input, IntegerWeight, QuantizedConv2d, QuantizedLinear

FLOATS: tuple[float, int, torch.dtype, str, list[float], str] = (
    1.0,
    0,
    torch.float32,
    "none",
    [],
    "",
)  # outputs as they are: no scale, no zero point


class Torch(Converting):
    """Runs the network of the packed file, operator by operator."""

    packages = ("torch",)
    suffix = packed.SUFFIX

    def convert(self, artifact: Path, path: Path) -> None:
        packed.pack(artifact, path)

    def session(self, path: Path) -> Session:
        network = with_integer_kernels(packed.load(path))
        torch.set_num_threads(1)

        @torch.inference_mode()
        def answer(inputs: Arrays) -> NDArray[np.float32]:
            outputs: NDArray[np.float32] = network(*map(torch.from_numpy, inputs.values())).numpy()
            return outputs

        return answer


def with_integer_kernels(network: Network) -> Network:
    """The network, its layers of integer weights and quantized inputs replaced by what computes with integers."""
    steps = network.steps
    readers: list[list[nn.Module]] = [[] for _ in range(len(steps) + 1)]
    for number, sources in enumerate(network.sources):
        layer, before = steps[number], steps[sources[0] - 1] if sources[0] else None
        if isinstance(before, Input) and isinstance(getattr(layer, "coded", None), IntegerWeight):
            if isinstance(layer, QuantizedConv2d):
                steps[number] = IntegerConv2d(layer, before)
            elif isinstance(layer, QuantizedLinear):
                steps[number] = IntegerLinear(layer, before)
        for source in sources:
            readers[source].append(steps[number])
    for number, step in enumerate(steps):
        if isinstance(step, Input) and all(isinstance(reader, IntegerLayer) for reader in readers[number + 1]):
            steps[number] = nn.Identity()  # these layers quantize what they read
    return network


class IntegerLayer(nn.Module):
    """A layer with uint8 inputs and int8 weights, multiplied as such by oneDNN; its outputs are floats.

    Args:
        layer: its integer weights, with a scale for each output channel, its bias and its geometry.
        quantize: how its input is quantized.
    """

    def __init__(self, layer: QuantizedConv2d | QuantizedLinear, quantize: Input):
        super().__init__()
        assert isinstance(layer.coded, IntegerWeight)
        self.scale, self.zero_point, self.levels = float(quantize.scale), int(quantize.zero_point), quantize.levels
        self.w_scale, self.bias = layer.coded.scale, layer.bias
        self.w_zero = torch.zeros(len(self.w_scale), dtype=torch.int64)

    def integers(self, x: Tensor) -> Tensor:
        return x.div(self.scale).round_().add_(self.zero_point).clamp_(0, self.levels).to(torch.uint8)


class IntegerConv2d(IntegerLayer):
    def __init__(self, layer: QuantizedConv2d, quantize: Input):
        super().__init__(layer, quantize)
        assert isinstance(layer.coded, IntegerWeight) and not isinstance(layer.padding, str)
        self.geometry = (list(layer.stride), list(layer.padding), list(layer.dilation), layer.groups)
        given = (layer.coded.integers.contiguous(), self.w_scale, self.scale, self.zero_point)
        self.weight: Tensor = torch.ops.onednn.qconv_prepack(*given, *self.geometry, None)  # in oneDNN's own layout

    def forward(self, x: Tensor) -> Tensor:
        inputs = (self.integers(x), self.scale, self.zero_point)
        weights = (self.weight, self.w_scale, self.w_zero, self.bias)
        y: Tensor = torch.ops.onednn.qconv2d_pointwise(*inputs, *weights, *self.geometry, *FLOATS)
        return y


class IntegerLinear(IntegerLayer):
    def __init__(self, layer: QuantizedLinear, quantize: Input):
        super().__init__(layer, quantize)
        assert isinstance(layer.coded, IntegerWeight)
        self.weight: Tensor = torch.ops.onednn.qlinear_prepack(layer.coded.integers.contiguous(), None)

    def forward(self, x: Tensor) -> Tensor:
        inputs = (self.integers(x), self.scale, self.zero_point)
        weights = (self.weight, self.w_scale, self.w_zero, self.bias)
        y: Tensor = torch.ops.onednn.qlinear_pointwise(*inputs, *weights, *FLOATS)
        return y
