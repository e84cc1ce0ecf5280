"""torchvision's networks for small inputs: their own code and names, another first convolution, fresh weights."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
import torchvision
from torch import nn

from lcomp.errors import validate_choice
from lcomp.models.blocks import COLOUR_MEAN, COLOUR_STD, normalization

STEMS = ("strided", "small", "large")
Numbers = float | Sequence[float]  # one for all channels, or one for each


def resnet18(
    num_classes: int = 10,
    input_shape: Sequence[int] = (1, 28, 28),
    mean: Numbers = 0.1307,
    std: Numbers = 0.3081,
    stem: str | None = None,
) -> nn.Module:
    """ResNet-18 (He et al. 2016), 11,172,810 parameters on digits, 11,173,962 on 32x32 in colour.

    Args:
        num_classes: logits.
        input_shape: (channels, height, width) of an example.
        mean, std: of the training inputs, for the normalization, a number or one for each channel; 0 and 1 leave them
            as they are.
        stem: what stands before the blocks, see `residual_stem`; None: by the rows of an example.
    """
    return with_stem(torchvision.models.resnet18(num_classes=num_classes), input_shape, mean, std, stem)


def resnet50(
    num_classes: int = 10,
    input_shape: Sequence[int] = (3, 32, 32),
    mean: Numbers = COLOUR_MEAN,
    std: Numbers = COLOUR_STD,
    stem: str | None = None,
) -> nn.Module:
    """ResNet-50 (He et al. 2016), with bottlenecks: 23,520,842 parameters on 32x32 in colour.

    Args:
        num_classes, input_shape, mean, std, stem: as in `resnet18`.
    """
    return with_stem(torchvision.models.resnet50(num_classes=num_classes), input_shape, mean, std, stem)


def with_stem(
    network: torchvision.models.ResNet, input_shape: Sequence[int], mean: Numbers, std: Numbers, stem: str | None
) -> nn.Module:
    """A residual network of torchvision's behind a normalization and another stem:

    `strided`: 3x3 with stride 2, no padding, then max-pooling: for digits, whose blocks see 7, 4, 2 and 1 rows, so that
        a step on one core takes half a second and less; the normalization folds into it exactly.
    `small`: 3x3 with stride 1 and no pooling, as is usual for 32x32.
    `large`: torchvision's own, 7x7 with stride 2, then max-pooling.
    None: `strided` below 32 rows, `large` above 96, else `small`.
    """
    rows, outputs = input_shape[1], network.conv1.out_channels
    if stem is None:
        stem = "strided" if rows < 32 else "small" if rows <= 96 else "large"
    validate_choice("model.stem", stem, STEMS)
    if stem == "strided":
        convolution = first_convolution(input_shape[0], outputs, stride=2)
    elif stem == "small":
        convolution, network.maxpool = first_convolution(input_shape[0], outputs, 1, padding=1), nn.Identity()
    else:
        convolution = first_convolution(input_shape[0], outputs, 2, padding=3, kernel=7)
    network.conv1 = nn.Sequential(normalization(input_shape, mean, std), convolution)
    return channels_last(network) if stem != "strided" else network


def mobilenet_v2(
    num_classes: int = 10,
    input_shape: Sequence[int] = (3, 32, 32),
    mean: Numbers = COLOUR_MEAN,
    std: Numbers = COLOUR_STD,
) -> nn.Module:
    """MobileNetV2 (Sandler et al. 2018), inverted residuals, 2,236,682 parameters on 32x32 in colour.

    Up to 96 rows the first convolution and the first stage that has one lose their stride, as is usual for 32x32: the
    last block sees an eighth of the rows, not a thirty-second.

    Args:
        num_classes, input_shape, mean, std: as in `resnet18`.
    """
    network = torchvision.models.mobilenet_v2(num_classes=num_classes)
    first, small = network.features[0], input_shape[1] <= 96
    if small:
        network.features[2].conv[1][0].stride = (1, 1)
    convolution = first_convolution(input_shape[0], first[0].out_channels, 1 if small else 2, padding=1)
    first[0] = nn.Sequential(normalization(input_shape, mean, std), convolution)
    return channels_last(network)


def mobilenet_v3_small(
    num_classes: int = 10, input_shape: Sequence[int] = (1, 28, 28), mean: Numbers = 0.1307, std: Numbers = 0.3081
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


def vgg16_bn(
    num_classes: int = 10,
    input_shape: Sequence[int] = (3, 32, 32),
    mean: Numbers = COLOUR_MEAN,
    std: Numbers = COLOUR_STD,
) -> nn.Module:
    """VGG-16 with batch norm (Simonyan & Zisserman 2015): thirteen convolutions, and one linear layer on the mean of
    each channel, as is usual for 32x32; 14,728,266 parameters there. Below 32 rows the last pooling is left out, which
    would leave nothing.

    Args:
        num_classes, input_shape, mean, std: as in `resnet18`.
    """
    vgg = torchvision.models.vgg
    features = vgg.make_layers(vgg.cfgs["D"], batch_norm=True)
    convolution = nn.Conv2d(input_shape[0], features[0].out_channels, 3, padding=1)
    features[0] = convolution
    if min(input_shape[1:]) < 32:
        features[-1] = nn.Identity()
    layers: list[tuple[str, nn.Module]] = [
        ("normalize", normalization(input_shape, mean, std)),
        ("features", features),
        ("pool", nn.AdaptiveAvgPool2d(1)),
        ("flatten", nn.Flatten()),
        ("classifier", nn.Linear(512, num_classes)),
    ]
    network = nn.Sequential(OrderedDict(layers))
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            assert module.bias is not None
            nn.init.zeros_(module.bias)
    return channels_last(network)


def first_convolution(channels: int, outputs: int, stride: int, padding: int = 0, kernel: int = 3) -> nn.Conv2d:
    """A first convolution without bias, drawn as torchvision draws its own."""
    convolution = nn.Conv2d(channels, outputs, kernel, stride=stride, padding=padding, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return convolution


def channels_last(network: nn.Module) -> nn.Module:
    """`network`, which says how it lies in memory while it trains."""
    network.memory_format = torch.channels_last  # type: ignore[assignment]
    return network
