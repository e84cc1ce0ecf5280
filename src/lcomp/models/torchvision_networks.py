"""torchvision's networks for small inputs: their own code and names, another first convolution, fresh weights."""

from __future__ import annotations

from collections.abc import Sequence

import torchvision
from torch import nn

from lcomp.models.blocks import normalization


def resnet18(
    num_classes: int = 10,
    input_shape: Sequence[int] = (1, 28, 28),
    mean: float | Sequence[float] = 0.1307,
    std: float | Sequence[float] = 0.3081,
) -> nn.Module:
    """ResNet-18 (He et al. 2016), 11,172,810 parameters on digits: its first convolution is 3x3 with stride 2, not 7x7.

    It pads nothing, so that the normalization folds into it exactly; with the max-pooling behind it the blocks see
    7, 4, 2 and 1 rows of a digit, and a step on one core takes half a second and less.

    Args:
        num_classes: logits.
        input_shape: (channels, height, width) of an example.
        mean, std: of the training inputs, for the normalization; 0 and 1 leave them as they are.
    """
    network = torchvision.models.resnet18(num_classes=num_classes)
    network.conv1 = nn.Sequential(
        normalization(input_shape, mean, std), first_convolution(input_shape[0], network.conv1.out_channels, stride=2)
    )
    made: nn.Module = network
    return made


def mobilenet_v3_small(
    num_classes: int = 10,
    input_shape: Sequence[int] = (1, 28, 28),
    mean: float | Sequence[float] = 0.1307,
    std: float | Sequence[float] = 0.3081,
) -> nn.Module:
    """MobileNetV3-Small (Howard et al. 2019), 1,527,818 parameters on digits: depthwise convolutions, squeeze-and-
    excitation.

    Its first convolution pads nothing, so that the normalization folds into it exactly, and has stride 1, not 2: a step
    is cheap either way, and with stride 2 the digits' last blocks saw one position and learned far less. Its batch
    norms follow a tenth of each batch, not torchvision's hundredth, which would take thousands of steps to settle.

    Args:
        num_classes, input_shape, mean, std: as in `resnet18`.
    """
    network = torchvision.models.mobilenet_v3_small(num_classes=num_classes)
    stem = network.features[0]
    stem[0] = nn.Sequential(
        normalization(input_shape, mean, std), first_convolution(input_shape[0], stem[0].out_channels, stride=1)
    )
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.1
    made: nn.Module = network
    return made


def first_convolution(channels: int, outputs: int, stride: int) -> nn.Conv2d:
    """A first convolution: 3x3, no padding, no bias, drawn as torchvision draws its own."""
    convolution = nn.Conv2d(channels, outputs, 3, stride=stride, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return convolution
