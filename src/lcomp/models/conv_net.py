"""Convolutions and little else: networks for the smallest files."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lcomp.errors import UserError, validate_choice
from lcomp.models.blocks import PooledReLU, normalization


class ConvNet(nn.Module):
    """Convolutions without padding, each with batch norm and ReLU, some with 2x2 max-pooling; one linear layer.

    Args:
        channels: outputs of each convolution.
        kernel: rows and columns of all of them.
        pools: which convolutions are followed by pooling, counted from 1.
        head: what the linear layer reads: the `mean` of each channel, or every value (`linear`).
        num_classes: logits.
        input_shape: (channels, height, width) of an example.
        mean, std: of the training inputs, for the normalization; 0 and 1 leave them as they are.

    Raises:
        UserError: another head, no convolution, one without a channel or a row, a pooling after no convolution, or
            nothing left of the input.
    """

    memory_format = torch.channels_last  # in training: convolutions and pooling take half the time

    def __init__(
        self,
        channels: Sequence[int] = (8, 12, 16),
        kernel: int = 3,
        pools: Sequence[int] = (1, 2),
        head: str = "mean",
        num_classes: int = 10,
        input_shape: Sequence[int] = (1, 28, 28),
        mean: float | Sequence[float] = 0.1307,
        std: float | Sequence[float] = 0.3081,
    ):
        super().__init__()
        validate_choice("model.head", head, ("mean", "linear"))
        if not channels or min(*channels, kernel, 1) < 1:
            raise UserError(f"model.channels={list(channels)}, model.kernel={kernel}: whole numbers from 1 up")
        if not set(pools) <= set(range(1, len(channels) + 1)):
            raise UserError(f"model.pools={list(pools)}: convolutions are counted from 1 to {len(channels)}")
        before, side = input_shape[0], list(input_shape[1:])
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for number, width in enumerate(channels, 1):
            layers[f"conv{number}"] = nn.Conv2d(before, width, kernel, bias=False)
            layers[f"norm{number}"] = nn.BatchNorm2d(width)
            layers[f"relu{number}"] = PooledReLU() if number in pools else nn.ReLU()
            before, side = width, [(n - kernel + 1) // (2 if number in pools else 1) for n in side]
        if min(side) < 1:
            raise UserError(f"model.channels={list(channels)}: nothing is left of inputs of shape {tuple(input_shape)}")
        self.normalize, self.features = normalization(input_shape, mean, std), nn.Sequential(layers)
        self.pool = nn.AdaptiveAvgPool2d(1) if head == "mean" else nn.Identity()
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(before if head == "mean" else before * side[0] * side[1], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Inputs (N, C, H, W) in [0, 1] to logits (N, num_classes)."""
        logits: Tensor = self.fc(self.flatten(self.pool(self.features(self.normalize(x)))))
        return logits
