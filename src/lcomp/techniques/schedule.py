"""When techniques act: shares of training as steps, windows that are too short, and what may be chosen meanwhile."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.callbacks.early_stopping import EarlyStoppingReason

from lcomp.errors import UserError

log = logging.getLogger(__name__)


class Window(NamedTuple):
    """A part of training in which something acts.

    Args:
        key: the setting with its value, as the user writes it.
        begin, end: shares of training.
        needed: how often it must act there to do what it says.
        otherwise: what happens where it acts less often.
        every: it acts once in so many optimizer steps.
    """

    key: str
    begin: float
    end: float
    needed: int
    otherwise: str
    every: int = 1


class Scheduled(pl.Callback):
    """A callback that changes the network at times of its own."""

    trains = True  # False: the technique acts after training, and a run with nothing else trains nothing
    export_ready_from = 0.0  # share of training after which validation sees a network of the kind that is exported

    def windows(self, trainer: pl.Trainer) -> Sequence[Window]:
        """In which parts of training it acts."""
        return ()


class CandidateGate(pl.Callback):
    """Keeps others from choosing a network whose schedules have not ended; the Trainer gets it from its techniques.

    Until then stopping early is held back, and what a ModelCheckpoint or EarlyStopping has seen best counts as worst.
    Where no validation follows, a ModelCheckpoint that monitors something has no best path.
    """

    end: int | None = None  # optimizer steps after which validation sees what is exported; None: from the first one on
    over = warned = False
    trainer_min_steps: int | None = None  # the Trainer's own min_steps

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
        techniques = [callback for callback in callbacks if isinstance(callback, Scheduled) and callback.trains]
        warn_of_short([window for technique in techniques for window in technique.windows(trainer)], trainer)
        ready_from = max((technique.export_ready_from for technique in techniques), default=0.0)
        self.end, self.warned = None, False
        if ready_from > 0:
            total = total_steps(trainer)
            self.end = first_step_after(ready_from, total) + 1
            self.over = trainer.global_step >= self.end
            loop = trainer.fit_loop.epoch_loop
            self.trainer_min_steps, loop.min_steps = loop.min_steps, max(loop.min_steps or 0, min(self.end, total))

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
        if self.end is None or self.over:
            return
        if trainer.global_step >= self.end:
            self.open_gate(trainer)
        elif trainer.should_stop and not self.warned:
            self.warned = True
            log.warning(
                "stopping early is held back to step %d, when the techniques' schedules have ended",
                min(self.end, total_steps(trainer)),
            )

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.end is None:
            return
        if not self.over:
            self.open_gate(trainer)
        trainer.fit_loop.epoch_loop.min_steps = self.trainer_min_steps
        for checkpoint in monitoring_checkpoints(trainer):
            drop_early_checkpoints(checkpoint, trainer)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        if self.end is not None:
            trainer.fit_loop.epoch_loop.min_steps = self.trainer_min_steps

    def open_gate(self, trainer: pl.Trainer) -> None:
        """Lets checkpoints and early stopping choose from here on."""
        self.over = True
        for checkpoint in monitoring_checkpoints(trainer):
            checkpoint.best_k_models.update(dict.fromkeys(checkpoint.best_k_models, worst_value(checkpoint)))
            checkpoint.best_model_path, checkpoint.best_model_score = "", None
        for stopping in trainer.early_stopping_callbacks:
            if stopping.stopping_reason in (
                EarlyStoppingReason.PATIENCE_EXHAUSTED,
                EarlyStoppingReason.STOPPING_THRESHOLD,
            ):
                trainer.should_stop = False  # a Timer that wants to stop says so again
            stopping.wait_count, stopping.stopped_epoch, stopping.best_score = 0, 0, worst_value(stopping)
            stopping.stopping_reason = EarlyStoppingReason.NOT_STOPPED


def monitoring_checkpoints(trainer: pl.Trainer) -> list[ModelCheckpoint]:
    """The Trainer's ModelCheckpoints that choose by a metric."""
    return [
        callback
        for callback in trainer.checkpoint_callbacks
        if isinstance(callback, ModelCheckpoint) and callback.monitor
    ]


def worst_value(callback: ModelCheckpoint | EarlyStopping) -> torch.Tensor:
    """The worst value of what is monitored."""
    return torch.tensor(math.inf if callback.mode == "min" else -math.inf)


def drop_early_checkpoints(checkpoint: ModelCheckpoint, trainer: pl.Trainer) -> None:
    """Removes what `checkpoint` keeps from before the schedules ended, if it has something better; else says so."""
    if not checkpoint.best_model_path and checkpoint.best_k_models:
        log.warning(
            "ModelCheckpoint(monitor='%s') has no best checkpoint: no validation followed the end of the techniques' "
            "schedules; take the network as training has left it, or end them earlier", checkpoint.monitor
        )  # fmt: skip
    elif checkpoint.save_top_k > 0:
        for path, score in list(checkpoint.best_k_models.items()):
            if score == worst_value(checkpoint) and path != checkpoint.best_model_path:
                del checkpoint.best_k_models[path]
                if path not in (checkpoint.last_model_path, trainer.ckpt_path):
                    trainer.strategy.remove_checkpoint(path)


def warn_of_short(windows: Iterable[Window], trainer: pl.Trainer) -> None:
    """Says of each window in which something acts less often than it needs what happens instead."""
    for window in windows:
        total = total_steps(trainer)
        steps = first_step_after(window.end, total) - first_step_after(window.begin, total)
        updates = f", {steps // window.every} updates" if window.every > 1 else ""
        if steps // window.every < window.needed:
            log.warning(
                "%s: its window (%.0f to %.0f %% of training) has %d of the %d steps%s, and needs %d: %s",
                window.key, 100 * window.begin, 100 * window.end, steps, total, updates, window.needed, window.otherwise
            )  # fmt: skip


def first_step_after(fraction: float, total: int) -> int:
    """The first of `total` steps before which that share of training is done; `total` for 1."""
    near = math.floor(fraction * total)
    return next(step for step in range(max(0, near - 1), near + 3) if step / total >= fraction)


def training_progress(trainer: pl.Trainer) -> float:
    """How much of training is done, 0 to 1, before the coming step."""
    total = total_steps(trainer)
    return min(1.0, trainer.global_step / total)


def has_reached(trainer: pl.Trainer, fraction: float) -> bool:
    """Whether that share of training is done before the coming step, or this is the last one."""
    return training_progress(trainer) >= fraction or trainer.global_step == total_steps(trainer) - 1


def total_steps(trainer: pl.Trainer) -> int:
    total = trainer.estimated_stepping_batches
    if total == float("inf") or total <= 0:
        raise UserError("a schedule needs an end: give the Trainer max_epochs or max_steps, and a sized DataLoader")
    return int(total)


def check_window(begin_key: str, begin: float, end_key: str, end: float) -> None:
    """Raises UserError, naming the two keys, unless 0 <= begin <= end <= 1."""
    if not 0 <= begin <= end <= 1:
        raise UserError(f"{begin_key}={begin}, {end_key}={end}: shares of training, in this order, from 0 to 1")
