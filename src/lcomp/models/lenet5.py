"""LeNet-5 (LeCun et al. 1998) as the paper trains it: no padding, ReLU, max-pooling."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lcomp.models.blocks import PooledReLU, glorot, normalization


class LeNet5(nn.Module):
    """conv 5x5, pool, conv 5x5, pool, two hidden layers; 44,426 parameters at the default widths on 28x28 digits.

    Args:
        channels: outputs of the two convolutions.
        hidden: outputs of the two hidden linear layers.
        num_classes: logits.
        input_shape: (channels, height, width) of an example.
        mean, std: of the training inputs, for the normalization; 0 and 1 leave them as they are.
    """

    memory_format = torch.channels_last  # in training: convolutions and pooling take half the time

    def __init__(
        self,
        channels: Sequence[int] = (6, 16),
        hidden: Sequence[int] = (120, 84),
        num_classes: int = 10,
        input_shape: Sequence[int] = (1, 28, 28),
        mean: float | Sequence[float] = 0.1307,
        std: float | Sequence[float] = 0.3081,
    ):
        super().__init__()
        side = [((n - 4) // 2 - 4) // 2 for n in input_shape[1:]]
        self.normalize = normalization(input_shape, mean, std)
        self.conv1 = nn.Conv2d(input_shape[0], channels[0], 5)
        self.conv2 = nn.Conv2d(channels[0], channels[1], 5)
        self.fc1 = nn.Linear(channels[1] * side[0] * side[1], hidden[0])
        self.fc2 = nn.Linear(hidden[0], hidden[1])
        self.fc3 = nn.Linear(hidden[1], num_classes)
        self.pool, self.relu, self.flatten = PooledReLU(), nn.ReLU(), nn.Flatten()
        glorot(self)

    def forward(self, x: Tensor) -> Tensor:
        """Inputs (N, C, H, W) in [0, 1] to logits (N, num_classes)."""
        x = self.pool(self.conv1(self.normalize(x)))
        x = self.flatten(self.pool(self.conv2(x)))
        logits: Tensor = self.fc3(self.relu(self.fc2(self.relu(self.fc1(x)))))
        return logits
