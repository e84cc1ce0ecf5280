"""The kinds of layers with a weight, and which of them techniques act on: one place for all techniques."""

from __future__ import annotations

from typing import NamedTuple

from torch import nn


class LayerKind(NamedTuple):
    """A kind of layer.

    Attributes:
        layer: its class in torch.
        acted_on: whether masks, quantizers and the removal of channels know it. Others are left as they are, and named
            in the log.
    """

    layer: type[nn.Module]
    acted_on: bool


KINDS = (
    LayerKind(nn.Conv1d, False),
    LayerKind(nn.Conv2d, True),
    LayerKind(nn.ConvTranspose1d, False),
    LayerKind(nn.ConvTranspose2d, False),
    LayerKind(nn.Linear, True),
    LayerKind(nn.Embedding, False),
)
ACTED_ON = tuple(kind.layer for kind in KINDS if kind.acted_on)
ACTED_ON_NAMES = " and ".join(layer.__name__ for layer in ACTED_ON)
Layer = nn.Conv2d | nn.Linear  # those that are acted on, as a type


def is_acted_on(module: nn.Module) -> bool:
    """Whether techniques act on layers of this kind."""
    return isinstance(module, ACTED_ON)
