"""A technique of one's own: linear layers of low rank, such as Xue et al. 2013 trained them."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lcomp.errors import UserError
from lcomp.techniques.short_training import ShortTraining
from lcomp.techniques.technique import Technique


class Factors(nn.Sequential):
    """Two linear layers that stand for one: W ~ B A, with A (rank, inputs) and B (outputs, rank)."""

    def __init__(self, linear: nn.Linear, rank: int):
        super().__init__(
            nn.Linear(linear.in_features, rank, bias=False),
            nn.Linear(rank, linear.out_features, bias=linear.bias is not None),
        )
        u, s, v = torch.linalg.svd(linear.weight.detach(), full_matrices=False)
        with torch.no_grad():
            self[0].weight.copy_(s[:rank].sqrt()[:, None] * v[:rank])
            self[1].weight.copy_(u[:, :rank] * s[:rank].sqrt())
            if linear.bias is not None:
                self[1].bias.copy_(linear.bias)


class LinearSVD(Technique):
    """Puts the two factors of its truncated SVD in the place of each linear layer that they make smaller.

    That happens before training, so that the factors learn: what is exported is what was trained. Quantization acts on
    the factors as on any other layer, because its `stage` is a later one.

    Args:
        rank: of the product, 1 or more.

    Raises:
        UserError: another rank, or one that makes no layer smaller.
    """

    stage = 1
    short = ShortTraining({"rank": 8})  # what 40 steps of a small student can bear

    def __init__(self, rank: int = 8):
        if rank < 1:
            raise UserError(f"prune.rank={rank}: of a linear layer's factors, 1 or more")
        self.rank = rank

    def selected(self, network: nn.Module) -> dict[str, nn.Linear]:
        """The linear layers that two factors would make smaller, by name."""
        factors = {layer for module in network.modules() if isinstance(module, Factors) for layer in module}
        return {
            name: layer
            for name, layer in network.named_modules()
            if isinstance(layer, nn.Linear) and layer not in factors
            if self.rank * (layer.in_features + layer.out_features) < layer.weight.numel()
        }

    def check(self, network: nn.Module, example: Tensor | None = None) -> None:
        """Called before the baseline trains, so that a mistake costs no training."""
        super().check(network, example)
        if not self.selected(network):
            raise UserError(f"prune.rank={self.rank}: makes no linear layer of {type(network).__name__} smaller")

    def prepare(self, network: nn.Module) -> None:
        """Called before the optimizer is made; a second time, it finds nothing left to do."""
        for name, layer in self.selected(network).items():
            network.set_submodule(name, Factors(layer, self.rank))

    def finalize(self, network: nn.Module, calibration: Iterable[Tensor] = ()) -> nn.Module:
        """The network that is exported: as it was trained."""
        return network

    def broken_promise(self, before: nn.Module, after: nn.Module, weights: Sequence[np.ndarray[Any, Any]]) -> str:
        """For the contract, from the weights in the file: have they become as few as the rank promises?"""
        linear = self.selected(before).values()
        saved = sum(layer.weight.numel() - self.rank * (layer.in_features + layer.out_features) for layer in linear)
        expected = sum(p.numel() for p in before.parameters() if p.dim() > 1) - saved
        found = sum(array.size for array in weights)
        return "" if found == expected else f"{found} weights, not {expected}"
