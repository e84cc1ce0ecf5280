"""One fit of a LightningModule, and the checkpoint it leaves."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypedDict, Unpack

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.loggers import Logger
from torch import nn

from lcomp.errors import UserError
from lcomp.modules.baseline import BaselineModule
from lcomp.record.files import write_atomically
from lcomp.record.interruption import StopRequest, stop_after_step
from lcomp.techniques.technique import network_of
from lcomp.training import random_states
from lcomp.training.best_epoch import BestEpoch
from lcomp.training.checkpoint_content import KEY, Row
from lcomp.training.checkpoint_files import CheckpointFiles
from lcomp.training.checkpoints import Checkpoints, is_end
from lcomp.training.epochs import Epochs
from lcomp.training.progress_line import ProgressLine
from lcomp.training.watched import Watched

log = logging.getLogger(__name__)
CHECKPOINT = "checkpoint.ckpt"


class TrainerArguments(TypedDict, total=False):
    """Of Lightning's Trainer, as it calls them."""

    gradient_clip_val: float | None
    accumulate_grad_batches: int
    precision: Any  # "32-true", "bf16-mixed" or "16-mixed"


class NotFinite(ArithmeticError):
    """A loss or a logit became NaN or infinite."""


class StopWhenNotFinite(pl.Callback):
    """Raises `NotFinite` on the first step whose loss is not a finite number."""

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not torch.isfinite(outputs["loss"]):
            raise NotFinite(f"the training loss is {float(outputs['loss'])} at step {trainer.global_step}")


def fit(
    module: pl.LightningModule,
    data: Any,
    max_epochs: int,
    seed: int,
    progress: bool | str = "auto",
    epochs: Epochs | None = None,
    device: str = "cpu",
    loggers: Sequence[Logger] = (),
    checkpoints: CheckpointFiles | None = None,
    best: BestEpoch | None = None,
    callbacks: Sequence[pl.Callback] = (),
    memory_format: str | None = None,
    watched: Watched | None = None,
    **settings: Unpack[TrainerArguments],
) -> int:
    """Trains `module` on `data` with one progress line; returns the optimizer's steps.

    Args:
        seed: of whatever the network draws while it learns, such as dropout.
        progress: true, false, or `auto`: a bar when standard error is a terminal.
        epochs: what keeps the curves, and is told of each epoch.
        device: `cpu`, or a GPU such as `cuda:1`; the network is on the processor again when training has ended.
        loggers: Lightning's, of the user's choice.
        checkpoints: where it leaves some, and goes on from the latest; None: nowhere.
        best: keeps the best epoch's weights, which `module` then has; None: those of the last step.
        callbacks: of the user's choice; they have not been in a fit before.
        memory_format: of inputs and weights, `channels_last` or `contiguous`; None: that of the network's class.
        watched: what says how far it is, and may be asked to end it.
        settings: of the Trainer.

    Raises:
        UserError: no epoch is asked for, or the Trainer refuses a callback or a setting.
        NotFinite: a loss was not finite.
        TrialPruned: `epochs`' report gave it up, or `watched` was asked to.
        Stopped: a signal asked for it; there is a checkpoint, where there are any.
    """
    epochs = epochs or Epochs()
    batches = module.batches(data) if isinstance(module, BaselineModule) else data.train_dataloader()
    if max_epochs < 1:
        raise UserError(f"trainer.max_epochs={max_epochs}: 1 or more")
    pl.seed_everything(seed, verbose=False)
    random_states.begin_anew(data)
    module.train().to(memory_format=layout(network_of(module), memory_format))
    with warnings.catch_warnings(), stop_after_step() if checkpoints else nullcontext(StopRequest()) as stop:
        warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\).*")  # Lightning under torch 2.14
        warnings.filterwarnings("ignore", message=r".*does not have many workers.*")  # batches are views of memory
        warnings.filterwarnings("ignore", message=r".*smaller than the logging interval.*")  # an epoch is logged
        warnings.filterwarnings("ignore", message=r".*`lr_scheduler.step\(\)` before.*")  # float16 skips steps at first
        warnings.filterwarnings("ignore", message=r".*dataloader is not resumable.*")  # `Checkpoints` reads it anew
        held_out = data.val_dataloader()
        saver = Checkpoints(checkpoints, epochs, best, [batches, held_out, data], stop) if checkpoints else None
        latest, content = (checkpoints.newest() if checkpoints else None) or (None, {})
        if saver is not None and is_end(content):
            if fault := content[KEY].get("not_finite"):
                saver.load(content[KEY])
                raise NotFinite(fault)
            steps = saver.restore_end(module, content)
            if epochs.networks is not None:  # that learned at once: no logger has heard of their epochs
                replay(epochs.curves.rows, loggers, steps)
            module.to(memory_format=torch.contiguous_format)
            return steps
        if saver is not None:
            saver.begin(content)
        content = {}  # as large as the network and its optimizer
        savers = [one for one in (best, saver) if one is not None]
        trainer = made_trainer(
            max_epochs=max_epochs,
            accelerator="cpu" if device == "cpu" else "gpu",
            devices=1 if device == "cpu" else [int(device.partition(":")[2])],
            logger=[epochs.curves, *loggers],
            enable_checkpointing=bool(savers),
            enable_progress_bar=progress is not False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            callbacks=[
                *(StopWhenNotFinite(), epochs, *callbacks, *([watched] if watched else []), *savers),
                *([ProgressLine(progress)] if progress else []),
            ],
            **settings,
        )
        # Loaders, not the DataModule: its setup has run, and a second one might draw another split.
        try:
            trainer.fit(module, batches, held_out, ckpt_path=latest, weights_only=True if latest else None)
        except SystemExit as exit:  # Lightning's answer to Ctrl-C, unless the user's code exits
            if isinstance(exit.__context__, KeyboardInterrupt):
                raise exit.__context__ from None
            raise
        if trainer.current_epoch < max_epochs:
            ended = "training ended after %d of %d epochs: a callback asked for it"
            log.warning(ended, trainer.current_epoch, max_epochs)
        module.to(device="cpu", memory_format=torch.contiguous_format)
        for optimizer in trainer.optimizers:  # a checkpoint's moments lie as its weights do: a fused Adam does not look
            for state in optimizer.state.values():
                state.update({key: value.contiguous() for key, value in state.items() if torch.is_tensor(value)})
        if best is not None:
            best.take(module)
        if saver is not None:
            saver.write_end(module, trainer.global_step)
            saver.stop_if_requested()
    return trainer.global_step


def layout(network: nn.Module, name: str | None) -> torch.memory_format:
    """The memory format of that name, or, of None, that which the network's class has for training."""
    own: torch.memory_format = getattr(network, "memory_format", torch.contiguous_format)
    return own if name is None else {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}[name]


def replay(rows: Sequence[Row], loggers: Sequence[Logger], steps: int) -> None:
    """Tells loggers of epochs as the Trainer does while these pass."""
    for epoch, row in enumerate(rows):
        figures = {name: value for name, value in row.items() if name != "seconds"}
        for logger in loggers:
            logger.log_metrics(figures | {"epoch": epoch}, (epoch + 1) * steps // len(rows) - 1)


def made_trainer(**arguments: Any) -> pl.Trainer:
    """Lightning's Trainer.

    Raises:
        UserError: it refuses what a user chose, such as a callback.
    """
    try:
        return pl.Trainer(**arguments)
    except (MisconfigurationException, RuntimeError) as error:  # the second for two that would keep one state
        raise UserError(f"trainer, callbacks: Lightning refuses them: {' '.join(str(error).split())}") from error


def save(module: pl.LightningModule, folder: Path) -> Path:
    """Writes the module's state, before anything is baked, as a checkpoint that loads without unpickling code.

    It is Lightning's own (optimizer and loops too) after a fit, and weights alone where nothing was trained.
    """
    path, temporary = folder / CHECKPOINT, folder / f".{CHECKPOINT}"
    try:
        if module._trainer is not None:
            module.trainer.save_checkpoint(temporary, weights_only=False)
        else:
            torch.save(
                {"state_dict": module.state_dict(), "pytorch-lightning_version": version("pytorch-lightning")},
                temporary,
            )
        write_atomically(path, temporary.read_bytes())
    finally:
        temporary.unlink(missing_ok=True)
    return path
