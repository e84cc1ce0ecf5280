"""Channels of zeros in a shortcut without weights: what else they go with, and how they go."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lcomp.models.cifar_resnet import PaddedShortcut
from lcomp.techniques.layer_graph import replace_module
from lcomp.techniques.pruning.groups import Removal

Padding = dict[nn.Module, tuple[str, Removal]]  # what writes zeros: its shortcut's name, how they go


class ConcatenatedShortcut(nn.Module):
    """A `PaddedShortcut` whose zeros come out of convolutions, which a dependency graph can follow."""

    def __init__(self, shortcut: PaddedShortcut):
        super().__init__()
        self.pool = shortcut.pool
        self.before, self.after = (
            nn.Conv2d(1, count, 1, bias=False) if count else None for count in (shortcut.before, shortcut.after)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(x)
        one = x[:, :1].detach()  # zeros depend on no channel
        before, after = ([part(one)] if part is not None else [] for part in (self.before, self.after))
        return torch.cat([*before, x, *after], 1)


def followable(network: nn.Module) -> Padding:
    """Puts a `ConcatenatedShortcut` in the place of each `PaddedShortcut` of `network`."""
    padding: Padding = {}
    for name, module in list(network.named_modules()):
        if isinstance(module, PaddedShortcut):
            traced = ConcatenatedShortcut(module)
            replace_module(network, name, traced)
            for part, remove in ((traced.before, remove_before), (traced.after, remove_after)):
                if part is not None:
                    padding[part] = (name, remove)
    return padding


def remove_before(shortcut: nn.Module, positions: list[int]) -> nn.Module:
    assert isinstance(shortcut, PaddedShortcut)
    shortcut.before -= len(positions)
    return shortcut


def remove_after(shortcut: nn.Module, positions: list[int]) -> nn.Module:
    assert isinstance(shortcut, PaddedShortcut)
    shortcut.after -= len(positions)
    return shortcut
