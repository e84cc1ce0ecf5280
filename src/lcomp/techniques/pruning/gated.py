"""Pruning that waits for the network: "the percentage of weights being pruned is slowly increased if the accuracy is
not being affected" (the paper, section VI.A)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

import pytorch_lightning as pl
from torch import nn

from lcomp.errors import UserError
from lcomp.techniques.pruning.pruning import Pruning
from lcomp.techniques.pruning.settings import AllPruningSettings
from lcomp.techniques.schedule import Window, total_steps, training_progress

STATE = ("reached", "best", "is_open", "last_step")  # in a checkpoint


class GatedPruning(Pruning):
    """Raises the sparsity by one step every `interval` steps of the window, but only while the last validation accuracy
    lies within `tolerance` of the best one seen; the sparsity reached may stay below `sparsity`, and is recorded.

    Args:
        tolerance: how far accuracy may fall, 0 to 1.
        monitor: the validation metric, higher is better.
        others: as in `Pruning`; the steps are those that would take a linear schedule to `sparsity`.
    """

    def __init__(self, tolerance: float = 0.005, monitor: str = "val_accuracy", **pruning: Unpack[AllPruningSettings]):
        super().__init__(**pruning)
        if not 0 <= tolerance <= 1:
            raise UserError(f"prune.tolerance={tolerance}: a share of the validation images, 0 to 1")
        self.tolerance, self.monitor = tolerance, monitor
        self.reached, self.best, self.is_open, self.last_step = self.initial_sparsity, 0.0, True, -1

    def promised_zeros(self, network: nn.Module) -> tuple[int, int]:
        return 1, super().promised_zeros(network)[1]  # as many as the network allows

    def update_masks(self, trainer: pl.Trainer) -> None:
        step, progress = trainer.global_step, training_progress(trainer)
        acted = step == self.last_step  # several batches can make one step
        if acted or step % self.update_interval(trainer) or not self.begin <= progress < self.end or not self.is_open:
            return
        self.last_step = step
        updates = max(1, int((self.end - self.begin) * total_steps(trainer)) // self.update_interval(trainer))
        self.reached = min(self.sparsity, self.reached + (self.sparsity - self.initial_sparsity) / updates)
        self.prune(self.reached)

    def windows(self, trainer: pl.Trainer) -> Sequence[Window]:
        epochs = trainer.check_val_every_n_epoch or 1
        first = (epochs - 1) * trainer.num_training_batches + (trainer.val_check_batch or 0)
        steps = first // trainer.accumulate_grad_batches if trainer.enable_validation else total_steps(trainer)
        otherwise = "no validation comes before it ends, and the gate never closes"
        gate = Window(
            f"prune.monitor={self.monitor}", 0.0, self.end, int(min(steps, total_steps(trainer))) + 1, otherwise
        )
        return [*super().windows(trainer), gate]

    def unfinished(self, network: nn.Module) -> str:
        return ""  # the gate decides

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Nothing to catch up with: the gate decides."""

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking:
            return
        if self.monitor not in trainer.callback_metrics:
            raise UserError(f"prune.monitor={self.monitor}: not logged; there are {sorted(trainer.callback_metrics)}")
        accuracy = float(trainer.callback_metrics[self.monitor])
        self.best = max(self.best, accuracy)
        self.is_open = accuracy >= self.best - self.tolerance

    def state_dict(self) -> dict[str, float]:
        return {key: getattr(self, key) for key in STATE}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        for key in STATE:
            setattr(self, key, state_dict[key])
