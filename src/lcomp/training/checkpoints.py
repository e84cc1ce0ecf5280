"""Checkpoints of a fit, from which it goes on to the same bits: at the ends of epochs, within them, at a signal."""

from __future__ import annotations

import logging
import time
import zlib
from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
from lightning_fabric.utilities.data import _set_sampler_epoch
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.utilities.types import STEP_OUTPUT
from torch import Tensor

from lcomp.modules.baseline import BaselineModule
from lcomp.record.interruption import Stopped, StopRequest
from lcomp.tasks import Batch
from lcomp.techniques.technique import network_of
from lcomp.training import random_states
from lcomp.training.best_epoch import BestEpoch
from lcomp.training.checkpoint_content import KEY, Content, FitState
from lcomp.training.checkpoint_files import ENDED, EPOCH, WITHIN, CheckpointFiles
from lcomp.training.epochs import Epochs

log = logging.getLogger(__name__)
LEAST = 10.0  # seconds of training that are worth a checkpoint


class Checkpoints(Checkpoint):  # Lightning calls these after all other callbacks
    """Writes checkpoints, and restores what Lightning does not of the one that the fit goes on from.

    That of an epoch's end is written as the next one begins, when everything that an epoch does is done. One within an
    epoch holds the random states of its beginning too: the loader is read again from there, up to the same batch.

    Args:
        files: where they go, and how often.
        epochs, best: whose state is part of them.
        loaders: what the fit reads, whose own generators are part of them; the first is the training loader.
        stop: set by a signal: the fit ends after the step, with a checkpoint.
    """

    def __init__(
        self, files: CheckpointFiles, epochs: Epochs, best: BestEpoch | None, loaders: Sequence[Any], stop: StopRequest
    ):
        self.files, self.epochs, self.best, self.loaders, self.stop = files, epochs, best, loaders, stop
        self.interval = LEAST if files.minutes is None else 60 * files.minutes
        self.last = time.monotonic()  # when one was written, or training began
        self.enabled = True
        self.epoch_random = random_states.capture(loaders)  # of the first epoch, whose iterator the Trainer makes early
        self.loaded: FitState | None = None  # of the checkpoint that the fit goes on from, until it does

    def begin(self, checkpoint: Content) -> None:
        """Before the Trainer makes an iterator: that of the first epoch is made as it was, where the fit goes on within
        that."""
        if KEY not in checkpoint:
            return
        epoch, batches = int(checkpoint["epoch"]), int(checkpoint[KEY]["batches"])
        log.info("goes on from a checkpoint, in epoch %d%s", epoch + 1, f" after {batches} batches" if batches else "")
        if batches and not epoch:
            random_states.restore(checkpoint[KEY]["epoch_random"], self.loaders)

    @property
    def is_due(self) -> bool:
        return time.monotonic() - self.last >= self.interval

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.last = time.monotonic()
        trainer.callbacks = sorted(trainer.callbacks, key=lambda one: one is self)  # type: ignore[attr-defined]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.loaded is None or not self.loaded["batches"]:
            return
        state, self.loaded = self.loaded, None
        if isinstance(pl_module, BaselineModule):
            pl_module.load_epoch_state(state["module"])
        self.epoch_random = state["epoch_random"]
        if trainer.current_epoch:
            random_states.restore(self.epoch_random, self.loaders)
            read_anew(trainer)
        self.skip_batches(trainer, pl_module, state["batches"], state["labels"])
        random_states.restore(state["random"], self.loaders)

    def skip_batches(self, trainer: pl.Trainer, module: pl.LightningModule, count: int, labels: int) -> None:
        """Reads the epoch's batches up to that count; says so where they are others than before."""
        fetcher = trainer.fit_loop._data_fetcher
        assert fetcher is not None and fetcher.iterator is not None
        for _ in range(count):
            batch, *_ = next(fetcher.iterator)
        if labels != digest_of_labels(module, batch):
            log.warning(
                "the training loader gives other batches than before; the run goes on with them, and may end otherwise "
                "than it would have: draw the epoch's order when its iterator is made, from a generator or torch's own"
            )

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.loaded is not None:
            random_states.restore(self.loaded["random"], self.loaders)
            self.loaded = None
            self.epoch_random = random_states.capture(self.loaders)
            read_anew(trainer)
            return
        if trainer.current_epoch:
            self.epoch_random = random_states.capture(self.loaders)
        if trainer.current_epoch and (self.stop.requested or self.is_due):
            self.write(trainer, pl_module, EPOCH)
        self.stop_if_requested()

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: STEP_OUTPUT,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        self.take_over_sigterm(trainer)
        ends_epoch = trainer.fit_loop.epoch_loop._num_ready_batches_reached()
        if ends_epoch or (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        if self.stop.requested or (self.files.minutes is not None and self.is_due):
            self.write(trainer, pl_module, WITHIN, batch)
        self.stop_if_requested()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.take_over_sigterm(trainer)

    def take_over_sigterm(self, trainer: pl.Trainer) -> None:
        """Ends the fit as Ctrl-C does where Lightning would, after the step, without a checkpoint."""
        if trainer.received_sigterm:
            trainer._signal_connector.received_sigterm = False
            self.stop.requested = True

    def stop_if_requested(self) -> None:
        if self.stop.requested:
            raise Stopped

    def write(self, trainer: pl.Trainer, module: pl.LightningModule, where: str, batch: Batch | None = None) -> None:
        """Writes one, `where` in the fit.

        Args:
            batch: the last one, within an epoch.
        """
        if not self.enabled:
            return
        content = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
        state: FitState = {**self.common_state(), "batches": 0, "random": random_states.capture(self.loaders)}
        if batch is not None:
            state |= {
                "batches": trainer.fit_loop.batch_idx + 1,
                "epoch_random": self.epoch_random,
                "labels": digest_of_labels(module, batch),
                "module": module.epoch_state() if isinstance(module, BaselineModule) else {},
            }
        else:  # the coming epoch is counted as ready
            for tracker in content["loops"]["fit_loop"]["epoch_progress"].values():
                tracker["ready"] -= 1
        self.enabled = self.files.write(content | {KEY: state}, trainer.global_step, where) is not None
        self.last = time.monotonic()

    def write_end(self, module: pl.LightningModule, steps: int) -> None:
        """Writes what training came to: what is left to do is no training."""
        if self.enabled and (self.is_due or self.stop.requested):
            state: FitState = {**self.common_state(), "steps": steps}
            self.files.write({"state_dict": module.state_dict(), KEY: state}, steps, ENDED)

    def restore_end(self, module: pl.LightningModule, checkpoint: Content) -> int:
        """Makes `module` what it was when its training had ended; returns the optimizer's steps."""
        self.load(checkpoint[KEY])
        network = network_of(module)
        for technique in module.techniques if isinstance(module, BaselineModule) else ():
            technique.prepare_after_others(network)
        module.load_state_dict(checkpoint["state_dict"])
        self.epochs.pass_on(len(self.epochs.curves.rows))
        return int(checkpoint[KEY]["steps"])

    def common_state(self) -> FitState:
        return {"epochs": self.epochs.state(), "best": self.best.state() if self.best else None}

    def load(self, state: FitState) -> None:
        """Takes what the checkpoint has beside Lightning's part."""
        self.loaded = state
        self.epochs.load(state["epochs"])
        if self.best and state["best"]:
            self.best.load(state["best"])

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if KEY in checkpoint:
            self.load(checkpoint[KEY])


def read_anew(trainer: pl.Trainer) -> None:
    """Begins the epoch's batches anew, as of its number."""
    loop = trainer.fit_loop
    assert loop._combined_loader is not None and loop._data_fetcher is not None
    for loader in loop._combined_loader.flattened:
        _set_sampler_epoch(loader, trainer.current_epoch)
    iter(loop._data_fetcher)


def digest_of_labels(module: pl.LightningModule, batch: Batch) -> int:
    """What tells a batch from others, however its inputs are augmented."""
    labels = module.task.labels(batch) if isinstance(module, BaselineModule) else batch
    return zlib.crc32(labels.detach().cpu().contiguous().numpy().tobytes()) if isinstance(labels, Tensor) else 0


def is_end(checkpoint: Content) -> bool:
    """Whether it was written when training had ended."""
    return "steps" in checkpoint.get(KEY, {})
