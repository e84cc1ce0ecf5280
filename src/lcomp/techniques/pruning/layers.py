"""Removal of whole layers and blocks before training (the residual blocks of a network, as in Chen & Zhao 2018)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lcomp import graph
from lcomp.errors import UserError, nearest
from lcomp.techniques.technique import Technique


class LayerPruning(Technique):
    """Puts an identity in the place of named submodules, before training; what is left fine-tunes.

    Args:
        layers: names of submodules that take one tensor and give one of the same shape, such as a residual block
            `layer1.1`.

    Raises:
        UserError: a name of no submodule, or of one inside another; with the first batch: a submodule whose output has
            another shape than its input.
    """

    stage = 1

    def __init__(self, layers: Sequence[str] = ()):
        self.layers = tuple(layers)

    def check(self, network: nn.Module, example: Tensor | None = None) -> None:
        names = [name for name, _ in network.named_modules() if name]
        for layer in self.layers:
            if layer not in names:
                raise UserError(f"prune.layers: {layer} is no part of {type(network).__name__}{nearest(layer, names)}")
            for other in self.layers:
                if layer.startswith(f"{other}."):
                    raise UserError(f"prune.layers: {layer} goes with {other}; name one of them")

    def prepare(self, network: nn.Module) -> None:
        self.check(network)
        for name in self.layers:
            removed = network.get_submodule(name)
            if not isinstance(removed, nn.Identity):
                identity = nn.Identity()
                identity.register_forward_pre_hook(SameShape(name, removed))
                graph.replace(network, name, identity)

    def finalize(self, network: nn.Module, calibration: Iterable[Tensor] = ()) -> nn.Module:
        for name in self.layers:
            network.get_submodule(name)._forward_pre_hooks.clear()
        return network


class SameShape:
    """A forward pre-hook of what replaces `removed`: holds the first input against what would have come out."""

    def __init__(self, name: str, removed: nn.Module):
        self.name, self.removed = name, [removed]

    @torch.no_grad()
    def __call__(self, module: nn.Module, arguments: tuple[Any, ...]) -> None:
        if not self.removed:
            return
        removed, shapes = self.removed.pop().eval(), "it takes several inputs"
        if len(arguments) == 1:
            seen = removed(arguments[0])
            same = isinstance(seen, Tensor) and seen.shape == arguments[0].shape
            if same:
                return
            shapes = f"{tuple(arguments[0].shape[1:])} to {tuple(getattr(seen, 'shape', ()))[1:]}"
        raise UserError(f"prune.layers: {self.name} changes the shape ({shapes}); only what keeps it can be removed")
