"""What the networks share: normalisation as a first layer, pooled ReLUs, the paper's initialisation."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lcomp.errors import UserError

COLOUR_MEAN, COLOUR_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, which most checkpoints expect


class Normalize(nn.Module):
    """(x - mean) / std, as buffers: a network takes what the sensor gives, and so does its artifact.

    Args:
        mean, std: of the training inputs, a number, or one for each channel.
    """

    def __init__(self, mean: float | Sequence[float] = 0.1307, std: float | Sequence[float] = 0.3081):
        super().__init__()
        self.register_buffer("mean", per_channel(mean))
        self.register_buffer("std", per_channel(std))
        self.mean: Tensor
        self.std: Tensor

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


class Subtract(nn.Module):
    """x - mean: what is left of a normalization before a layer whose weights hold the division."""

    def __init__(self, mean: Tensor):
        super().__init__()
        self.register_buffer("mean", mean)
        self.mean: Tensor

    def forward(self, x: Tensor) -> Tensor:
        return x - self.mean


def per_channel(value: float | Sequence[float]) -> Tensor:
    """A number as (), several as (C, 1, 1)."""
    made = torch.tensor(value)
    return made.view(-1, 1, 1) if made.dim() else made


def normalization(input_shape: Sequence[int], mean: float | Sequence[float], std: float | Sequence[float]) -> Normalize:
    """The first layer of a network for examples of shape (C, H, W). One channel takes the average of several numbers:
    grey is the average of colours.

    Raises:
        UserError: as many numbers as there are no channels, or a deviation of zero.
    """
    channels, of = input_shape[0], {}
    for name, value in {"mean": mean, "std": std}.items():
        several = list(value) if isinstance(value, Sequence) else None
        if several is not None and channels == 1 and several:
            value = statistics.fmean(several)
        elif several is not None and len(several) != channels:
            raise UserError(f"model.{name}={several}: give a number, or one for each of the {channels} channels")
        of[name] = value
    if not (per_channel(of["std"]) > 0).all():
        raise UserError(f"model.std={of['std']}: what inputs are divided by, above 0")
    return Normalize(**of)


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
    if normalize.mean.numel() > 1:
        shift = (normalize.mean * weight).flatten(1).sum(1)
    else:
        shift = normalize.mean.squeeze() * weight.flatten(1).sum(1)
    return nn.Parameter(-shift if bias is None else bias - shift)


def glorot(network: nn.Module) -> None:
    """Glorot uniform weights and zero biases in every Conv2d and Linear (the paper's framework's default)."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
