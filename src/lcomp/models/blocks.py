"""What the networks share: normalisation as a first layer, pooled ReLUs, the paper's initialisation."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Normalize(nn.Module):
    """(x - mean) / std, as buffers: a network takes what the sensor gives, and so does its artifact."""

    def __init__(self, mean: float = 0.1307, std: float = 0.3081):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std))
        self.mean: Tensor
        self.std: Tensor

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


class PooledReLU(nn.Module):
    """The maximum over 2x2 windows of ReLU(x). The two commute, gradients included: torch pools first, which leaves a
    quarter of the ReLUs; an artifact has ReLU first, which runtimes fuse into the convolution before it."""

    def __init__(self) -> None:
        super().__init__()
        self.pool, self.relu = nn.MaxPool2d(2), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.pool(self.relu(x)) if torch.compiler.is_exporting() else self.relu(self.pool(x))
        return y


def folded_bias(normalize: Normalize, weight: Tensor, bias: Tensor | None) -> nn.Parameter:
    """The bias of a layer whose weight (output channels, ...) already holds the division by std: what `normalize`
    subtracts goes into it, W (x - m) / s + b = (W / s) x + (b - m sum(W / s))."""
    shift = normalize.mean * weight.flatten(1).sum(1)
    return nn.Parameter(-shift if bias is None else bias - shift)


def glorot(network: nn.Module) -> None:
    """Glorot uniform weights and zero biases in every Conv2d and Linear (the paper's framework's default)."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
