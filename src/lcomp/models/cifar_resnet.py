"""Residual networks for small inputs of colour: those of He et al. 2016, and MLPerf Tiny's."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lcomp.errors import UserError, validate_choice
from lcomp.models.blocks import COLOUR_MEAN, COLOUR_STD, normalization


class PaddedShortcut(nn.Module):
    """Every other row and column, between channels of zeros: a shortcut without weights (He et al. 2016, option A).

    Max-pooling over windows of one takes every other row and column as slicing does, in one operator that every
    runtime knows, also on integers.

    Attributes:
        before, after: how many channels of zeros stand on either side.
    """

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.pool, self.before = nn.MaxPool2d(1, stride), (outputs - inputs) // 2
        self.after = outputs - inputs - self.before

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(self.pool(x), (0, 0, 0, 0, self.before, self.after))


class ResidualBlock(nn.Module):
    """relu(norm(conv(relu(norm(conv(x))))) + shortcut(x)), with convolutions of 3x3."""

    def __init__(self, inputs: int, outputs: int, stride: int, shortcut: nn.Module, bias: bool):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=bias)
        self.bn1, self.relu1 = nn.BatchNorm2d(outputs), nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=bias)
        self.bn2, self.shortcut, self.relu2 = nn.BatchNorm2d(outputs), shortcut, nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu1(self.bn1(self.conv1(x)))
        out: Tensor = self.relu2(self.bn2(self.conv2(y)) + self.shortcut(x))
        return out


class CifarResNet(nn.Module):
    """A convolution, three stacks of residual blocks, the later ones at half the rows and columns of the one before,
    the mean of each channel, a linear layer. Layers are called as in the public checkpoints.

    Args:
        blocks: of a stack; 3, 5 and 9 make ResNet-20, -32 and -56.
        widths: channels of each stack.
        shortcut: of a stack's first block where its shape changes: `pad`, channels of zeros, or `conv`, one of 1x1.
        bias: whether convolutions have one, which the batch norm behind makes superfluous.
        num_classes: logits.
        input_shape: (channels, height, width) of an example.
        mean, std: of the training inputs, for the normalization: a number, or one for each channel.

    Raises:
        UserError: another shortcut, no block, or widths that are not three from 1 up, with `pad` none smaller than the
            one before.
    """

    memory_format = torch.channels_last  # in training: a step of ResNet-20 takes five sixths of the time

    def __init__(
        self,
        blocks: int = 3,
        widths: Sequence[int] = (16, 32, 64),
        shortcut: str = "pad",
        bias: bool = False,
        num_classes: int = 10,
        input_shape: Sequence[int] = (3, 32, 32),
        mean: float | Sequence[float] = COLOUR_MEAN,
        std: float | Sequence[float] = COLOUR_STD,
    ):
        super().__init__()
        validate_choice("model.shortcut", shortcut, ("pad", "conv"))
        if blocks < 1:
            raise UserError(f"model.blocks={blocks}: residual blocks of a stack, 1 or more")
        if len(widths) != 3 or min(widths) < 1 or (shortcut == "pad" and list(widths) != sorted(widths)):
            raise UserError(
                f"model.widths={list(widths)}: channels of the three stacks, 1 or more, never fewer than before where "
                "model.shortcut=pad"
            )
        self.normalize = normalization(input_shape, mean, std)
        self.conv1 = nn.Conv2d(input_shape[0], widths[0], 3, padding=1, bias=bias)
        self.bn1, self.relu = nn.BatchNorm2d(widths[0]), nn.ReLU()

        def stack(inputs: int, outputs: int, stride: int) -> nn.Sequential:
            way: nn.Module = nn.Identity()
            if (inputs, stride) != (outputs, 1):
                learned = shortcut == "conv"
                way = nn.Conv2d(inputs, outputs, 1, stride) if learned else PaddedShortcut(inputs, outputs, stride)
            first = ResidualBlock(inputs, outputs, stride, way, bias)
            others = [ResidualBlock(outputs, outputs, 1, nn.Identity(), bias) for _ in range(blocks - 1)]
            return nn.Sequential(first, *others)

        self.layer1 = stack(widths[0], widths[0], 1)
        self.layer2 = stack(widths[0], widths[1], 2)
        self.layer3 = stack(widths[1], widths[2], 2)
        self.pool, self.flatten = nn.AdaptiveAvgPool2d(1), nn.Flatten()
        self.linear = nn.Linear(widths[2], num_classes)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Inputs (N, C, H, W) in [0, 1] to logits (N, num_classes)."""
        x = self.relu(self.bn1(self.conv1(self.normalize(x))))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.linear(self.flatten(self.pool(x)))
        return logits
