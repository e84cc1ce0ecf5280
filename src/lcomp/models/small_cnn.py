"""The paper's student (its Fig. 9)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lcomp.models.blocks import PooledReLU, glorot, normalization


class SmallCNN(nn.Module):
    """conv 3x3, pool, one hidden layer; 11,042 parameters at the default widths on 28x28 digits.

    Args:
        channels: outputs of the convolution.
        hidden: outputs of the hidden linear layer.
        num_classes: logits.
        input_shape: (channels, height, width) of an example.
        mean, std: of the training inputs, for the normalization; 0 and 1 leave them as they are.
    """

    memory_format = torch.channels_last  # in training: convolutions and pooling take half the time

    def __init__(
        self,
        channels: int = 4,
        hidden: int = 16,
        num_classes: int = 10,
        input_shape: Sequence[int] = (1, 28, 28),
        mean: float | Sequence[float] = 0.1307,
        std: float | Sequence[float] = 0.3081,
    ):
        super().__init__()
        side = [(n - 2) // 2 for n in input_shape[1:]]
        self.normalize = normalization(input_shape, mean, std)
        self.conv = nn.Conv2d(input_shape[0], channels, 3)
        self.fc1 = nn.Linear(channels * side[0] * side[1], hidden)
        self.fc2 = nn.Linear(hidden, num_classes)
        self.pool, self.relu, self.flatten = PooledReLU(), nn.ReLU(), nn.Flatten()
        glorot(self)

    def forward(self, x: Tensor) -> Tensor:
        """Inputs (N, C, H, W) in [0, 1] to logits (N, num_classes)."""
        x = self.flatten(self.pool(self.conv(self.normalize(x))))
        logits: Tensor = self.fc2(self.relu(self.fc1(x)))
        return logits
