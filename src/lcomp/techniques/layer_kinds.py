"""The kinds of layers with a weight, and which of them techniques act on: one place for all techniques."""

from __future__ import annotations

from typing import NamedTuple

from torch import nn


class LayerKind(NamedTuple):
    """A kind of layer.

    Attributes:
        layer: its class in torch.
        acted_on: whether masks and quantizers know it. Others are left as they are, and named in the log.
        looks_up: whether it reads indices, of rows of its weight, and no numbers that could be rounded.
    """

    layer: type[nn.Module]
    acted_on: bool
    looks_up: bool = False


KINDS = (
    LayerKind(nn.Conv1d, False),
    LayerKind(nn.Conv2d, True),
    LayerKind(nn.ConvTranspose1d, False),
    LayerKind(nn.ConvTranspose2d, False),
    LayerKind(nn.Linear, True),
    LayerKind(nn.Embedding, True, looks_up=True),
)
ACTED_ON = tuple(kind.layer for kind in KINDS if kind.acted_on)
LOOK_UPS = tuple(kind.layer for kind in KINDS if kind.acted_on and kind.looks_up)
ACTED_ON_NAMES = ", ".join(layer.__name__ for layer in ACTED_ON[:-1]) + f" and {ACTED_ON[-1].__name__}"
Layer = nn.Conv2d | nn.Linear | nn.Embedding  # those that are acted on, as a type


def is_acted_on(module: nn.Module) -> bool:
    """Whether techniques act on layers of this kind."""
    return isinstance(module, ACTED_ON)


def looks_up(module: nn.Module) -> bool:
    """Whether a layer that is acted on reads indices."""
    return isinstance(module, LOOK_UPS)
