"""A run that can be watched while it trains, and asked to end."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.utilities.types import STEP_OUTPUT

from lcomp.errors import TrialPruned
from lcomp.record import live_run
from lcomp.record.live_run import Progress
from lcomp.techniques.schedule import total_steps
from lcomp.training.epochs import validation_metric

INTERVAL = 1.0  # seconds between two looks at the folder


class Watched(pl.Callback):
    """Says in the run's folder how far training is, once a second, and ends the run where somebody asks for it there.

    Args:
        folder: the run's.
    """

    def __init__(self, folder: Path):
        self.folder, self.last = folder, 0.0
        self.value: float | None = None  # of the last validation

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.look(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: STEP_OUTPUT, batch: Any, batch_idx: int
    ) -> None:
        if time.monotonic() - self.last >= INTERVAL:
            self.look(trainer, pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if (figure := trainer.callback_metrics.get(validation_metric(pl_module))) is not None:
            self.value = float(figure)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.tell(trainer, pl_module)

    def look(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Tells, and asks.

        Raises:
            TrialPruned: somebody wants the run to end.
        """
        self.last = time.monotonic()
        self.tell(trainer, module)
        if live_run.is_stop_requested(self.folder):
            raise TrialPruned(f"{live_run.STOPPED} in epoch {trainer.current_epoch + 1} of {trainer.max_epochs}")

    def tell(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        epochs, steps = trainer.max_epochs or 0, int(total_steps(trainer))
        epoch = min(trainer.current_epoch + 1, epochs)
        told = Progress(epoch, epochs, trainer.global_step, steps, validation_metric(module), self.value)
        live_run.tell_progress(self.folder, told)
