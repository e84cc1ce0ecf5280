"""The weights of the epoch that validation liked best."""

from __future__ import annotations

import logging

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint
from torch import Tensor

from lcomp.modules.baseline import BaselineModule
from lcomp.training.checkpoint_content import BestState
from lcomp.training.epochs import exportable_metric

log = logging.getLogger(__name__)
Weights = dict[str, Tensor]


class BestEpoch(Checkpoint):  # Lightning calls these after all other callbacks, such as one that averages weights
    """Keeps what validation saw at its best, of the epochs after all schedules have ended; of equal ones the first.

    Attributes:
        epoch: its number, from 1; None before there is one.
        metric: what it came to.
    """

    def __init__(self) -> None:
        self.epoch: int | None = None
        self.metric = 0.0
        self.weights: Weights = {}
        self._seen: Weights = {}

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._seen = {name: value.detach().cpu().clone() for name, value in pl_module.state_dict().items()}

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        found, seen, self._seen = exportable_metric(trainer, pl_module), self._seen, {}
        more = not isinstance(pl_module, BaselineModule) or pl_module.task.metric.higher_is_better
        if found is not None and (self.epoch is None or (found > self.metric if more else found < self.metric)):
            self.epoch, self.metric, self.weights = trainer.current_epoch + 1, found, seen

    def take(self, module: pl.LightningModule) -> None:
        """Gives `module` these weights; says so where there are none, and leaves it as training did."""
        if self.epoch is None:
            log.warning(
                "checkpoint=best: no validation followed the end of the techniques' schedules; the last weights are "
                "taken; end the schedules earlier, or train longer"
            )
            return
        module.load_state_dict(self.weights)

    def state(self) -> BestState:
        """What a checkpoint keeps."""
        return {"epoch": self.epoch, "metric": self.metric, "weights": self.weights}

    def load(self, state: BestState) -> None:
        self.epoch, self.metric, self.weights = state["epoch"], state["metric"], dict(state["weights"])
