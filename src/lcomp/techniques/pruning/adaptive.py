"""Sparsity-informed adaptive pruning: the PQ Index of the weights says how many may go (Diao et al. 2023)."""

from __future__ import annotations

from typing import Unpack

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from lcomp.errors import UserError
from lcomp.techniques.parametrizations import weight_before
from lcomp.techniques.pruning.mask import Mask
from lcomp.techniques.pruning.pruning import Pruning
from lcomp.techniques.pruning.settings import PruningSettings
from lcomp.techniques.schedule import training_progress


def pq_index(values: Tensor, p: float = 0.5, q: float = 1.0) -> float:
    """I = 1 - d^(1/q - 1/p) |w|_p / |w|_q: 0 where all d values are alike, towards 1 where few carry the rest (Diao et
    al. 2023, eq. 1). 0 for no values, or zeros alone."""
    sizes = values.detach().double().abs().flatten()
    if not sizes.any():
        return 0.0
    sizes = sizes / sizes.max()
    norms = [float(sizes.pow(power).sum() ** (1 / power)) for power in (p, q)]
    index: float = 1 - len(sizes) ** (1 / q - 1 / p) * norms[0] / norms[1]
    return max(0.0, index)


def prune_count(values: Tensor, p: float, q: float, eta: float, gamma: float, beta: float) -> int:
    """How many of the d values go: floor(d min(gamma (1 - r / d), beta)) with r = d (1 + eta)^(-q / (q - p))
    (1 - I)^(p q / (q - p)), the number that must stay (the same, algorithm 1)."""
    count = values.numel()
    stay = count * (1 + eta) ** (-q / (q - p)) * (1 - pq_index(values, p, q)) ** (p * q / (q - p))
    return int(count * min(gamma * (1 - stay / count), beta)) if count else 0


class AdaptivePruning(Pruning):
    """Every `interval` steps of the window, takes as many of the weights that are left as their PQ Index allows.

    Args:
        sparsity: where it ends at the latest; what was reached may stay below, and is recorded.
        gamma: scales the share that goes; larger prunes faster.
        beta: the largest share of what is left that one round takes, above 0 to below 1.
        eta: how much of the rest's norm may be lost, 0 or more.
        p, q: of the index, 0 < p < q, p at most 1.
        others: as in `Pruning`; there is no schedule.

    Raises:
        UserError: a value outside its range.
    """

    def __init__(
        self,
        sparsity: float = 0.98,
        gamma: float = 1.2,
        beta: float = 0.9,
        eta: float = 0.001,
        p: float = 0.5,
        q: float = 1.0,
        **pruning: Unpack[PruningSettings],
    ):
        super().__init__(sparsity, **pruning)
        if gamma <= 0 or not 0 < beta < 1 or eta < 0 or not (0 < p <= 1 and p < q):
            raise UserError(
                f"prune.gamma={gamma}, beta={beta}, eta={eta}, p={p}, q={q}: gamma above 0, beta between 0 and 1, "
                "eta 0 or more, 0 < p < q with p at most 1"
            )
        self.gamma, self.beta, self.eta, self.p, self.q = gamma, beta, eta, p, q

    def promised_zeros(self, network: nn.Module) -> tuple[int, int]:
        return 1, super().promised_zeros(network)[1]  # as many as the network allows

    def update_masks(self, trainer: pl.Trainer) -> None:
        progress = training_progress(trainer)
        if trainer.global_step % self.update_interval(trainer) == 0 and self.begin <= progress < self.end:
            self.prune_round()

    def unfinished(self, network: nn.Module) -> str:
        return ""  # the weights decide

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Nothing to catch up with: the weights decide."""

    @torch.no_grad()
    def prune_round(self) -> None:
        """One round."""
        for group in [self.masked] if self.scope == "global" else [[layer] for layer in self.masked]:
            masks = [self.mask_of(layer).mask for layer in group]
            left = torch.cat([weight_before(layer, Mask)[mask] for layer, mask in zip(group, masks, strict=True)])
            total = sum(mask.numel() for mask in masks)
            gone = total - left.numel() + prune_count(left, self.p, self.q, self.eta, self.gamma, self.beta)
            self.prune_group(group, min(self.sparsity, gone / total))
