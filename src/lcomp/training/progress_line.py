"""What a single run shows of its training: epoch, time left, validation so far."""

from __future__ import annotations

import sys
import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ProgressBar
from pytorch_lightning.utilities.types import STEP_OUTPUT
from tqdm import tqdm

from lcomp.record.listener import listener
from lcomp.techniques.schedule import total_steps
from lcomp.training.epochs import validation_metric

BAR = "{desc} {percentage:3.0f}% |{bar:30}| {remaining} left{postfix}"
QUIET = 30.0  # seconds that must pass between two lines where there is no terminal


class ProgressLine(ProgressBar):
    """A bar over the whole of training on a terminal; elsewhere a line at an epoch's end, where half a minute has
    passed since the last.

    Args:
        shown: true, false, or `auto`: a bar when standard error is a terminal, else lines.
    """

    def __init__(self, shown: bool | str) -> None:
        super().__init__()
        self.has_bar = sys.stderr.isatty() if shown == "auto" else bool(shown)
        self.bar: Any = None
        self.begin = self.last = time.monotonic()
        self.first_step = 0
        self.validation = ""

    def disable(self) -> None:
        """Asked for by Lightning, of processes that have no line of their own."""
        self.has_bar = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.begin = self.last = time.monotonic()
        self.first_step = trainer.global_step
        if self.has_bar:
            total = total_steps(trainer)
            self.bar = tqdm(
                total=total, initial=self.first_step, bar_format=BAR, file=sys.stderr, dynamic_ncols=True, leave=False
            )
            self.describe(trainer)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.describe(trainer)

    def describe(self, trainer: pl.Trainer) -> None:
        if self.bar is not None:
            self.bar.set_description_str(epoch_of(trainer), refresh=False)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: STEP_OUTPUT, batch: Any, batch_idx: int
    ) -> None:
        if self.bar is not None:
            self.bar.update(trainer.global_step - self.bar.n)
        if listener.draws:
            text = ", ".join(filter(None, [epoch_of(trainer), self.validation]))
            listener.tell_progress(trainer.global_step, int(total_steps(trainer)), text)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        name = validation_metric(pl_module)
        if trainer.sanity_checking or name not in trainer.callback_metrics:
            return
        self.validation = f"{name} {float(trainer.callback_metrics[name]):.4f}"
        if self.bar is not None:
            self.bar.set_postfix_str(self.validation)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        now, done = time.monotonic(), trainer.global_step - self.first_step
        if self.has_bar or listener.draws or now - self.last < QUIET or not done:
            return
        self.last = now
        left = (now - self.begin) / done * (total_steps(trainer) - trainer.global_step)
        line = filter(None, [epoch_of(trainer), self.validation, f"{tqdm.format_interval(left)} left"])
        print(", ".join(line), file=sys.stderr, flush=True)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self.close()

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None


def epoch_of(trainer: pl.Trainer) -> str:
    return f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
