"""One fit of a LightningModule, and the checkpoint it leaves."""

from __future__ import annotations

import logging
import pickle
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
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
from lcomp.record.untrusted import check_checkpoint
from lcomp.techniques.schedule import total_steps, training_progress
from lcomp.techniques.technique import Technique, network_of

log = logging.getLogger(__name__)
CHECKPOINT = "checkpoint.ckpt"
Report = Callable[[int, float], None]


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


class Curves(Logger):
    """Keeps what a fit logs: for each name a value per epoch, None where there was none; `seconds` since the fit began
    are added."""

    name, version = "curves", ""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[dict[str, float]] = []
        self.epoch = 0  # that is under way
        self.start = time.monotonic()

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        found = dict(metrics)
        epoch = int(found.pop("epoch", self.epoch))  # a callback's own may say none
        self.rows += [{} for _ in range(epoch + 1 - len(self.rows))]
        self.rows[epoch].update(found, seconds=time.monotonic() - self.start)

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """The record has them."""

    @property
    def columns(self) -> dict[str, list[float | None]]:
        """A list as long as there were epochs for each name, names in their order."""
        return {name: [row.get(name) for row in self.rows] for name in sorted({n for row in self.rows for n in row})}


class Epochs(pl.Callback):
    """Logs what techniques say of the network after each epoch, and tells a search of those that can be compared.

    Args:
        report: is given the epoch, from 1, and its validation metric, once the schedules of the network's techniques
            have ended: before, a network is denser than the one that is exported. It raises `TrialPruned` to give the
            run up; after the last epoch there is nothing to give up, and it is not asked.
        live: is given the epoch, from 1, and all that was logged of it.

    Attributes:
        curves: what was logged so far.
    """

    def __init__(self, report: Report | None = None, live: Callable[[int, dict[str, float]], None] | None = None):
        self.report, self.live, self.curves = report, live, Curves()

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.curves.start = time.monotonic()

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        network = network_of(pl_module)
        for technique in techniques_of(trainer):
            pl_module.log_dict(technique.scalars(network))

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        judged = pl_module.task.metric.validation if isinstance(pl_module, BaselineModule) else "val_accuracy"
        if judged not in trainer.callback_metrics:  # a module of the user's that logs another
            return
        settled = max((one.export_ready_from for one in techniques_of(trainer)), default=0.0)
        last = (trainer.global_step - 1) / total_steps(trainer)  # techniques act as a step begins
        if self.report and settled <= last and training_progress(trainer) < 1:
            self.report(trainer.current_epoch + 1, float(trainer.callback_metrics[judged]))

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.curves.epoch = trainer.current_epoch
        self.pass_on(trainer.current_epoch)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.pass_on(trainer.current_epoch)

    def pass_on(self, epoch: int) -> None:
        """Passes the epoch of that number on; the module logs the training loss when callbacks have had their turn."""
        if self.live and epoch:
            self.live(epoch, dict(self.curves.rows[epoch - 1]))


def techniques_of(trainer: pl.Trainer) -> list[Technique]:
    return [one for one in trainer.callbacks if isinstance(one, Technique)]  # type: ignore[attr-defined]


def fit(
    module: pl.LightningModule,
    data: Any,
    max_epochs: int,
    seed: int,
    progress: bool | str = "auto",
    epochs: Epochs | None = None,
    device: str = "cpu",
    loggers: Sequence[Logger] = (),
    callbacks: Sequence[pl.Callback] = (),
    **settings: Unpack[TrainerArguments],
) -> int:
    """Trains `module` on `data` with one progress bar; returns the optimizer's steps.

    Args:
        seed: of whatever the network draws while it learns, such as dropout.
        progress: true, false, or `auto`: a bar when standard error is a terminal.
        epochs: what keeps the curves, and is told of each epoch.
        device: `cpu`, or a GPU such as `cuda:1`; the network is on the processor again when training has ended.
        loggers: Lightning's, of the user's choice.
        callbacks: likewise; they have not been in a fit before.
        settings: of the Trainer.

    Raises:
        UserError: no epoch is asked for, or the Trainer refuses a callback or a setting.
        NotFinite: a loss was.
    """
    epochs = epochs or Epochs()
    batches = module.batches(data) if isinstance(module, BaselineModule) else data.train_dataloader()
    if max_epochs < 1:
        raise UserError(f"trainer.max_epochs={max_epochs}: 1 or more")
    pl.seed_everything(seed, verbose=False)
    module.train().to(memory_format=getattr(network_of(module), "memory_format", torch.contiguous_format))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\).*")  # Lightning under torch 2.14
        warnings.filterwarnings("ignore", message=r".*does not have many workers.*")  # batches are views of memory
        warnings.filterwarnings("ignore", message=r".*smaller than the logging interval.*")  # an epoch is logged
        warnings.filterwarnings("ignore", message=r".*`lr_scheduler.step\(\)` before.*")  # float16 skips steps at first
        trainer = made_trainer(
            max_epochs=max_epochs,
            accelerator="cpu" if device == "cpu" else "gpu",
            devices=1 if device == "cpu" else [int(device.partition(":")[2])],
            logger=[epochs.curves, *loggers],
            enable_checkpointing=False,
            enable_progress_bar=sys.stderr.isatty() if progress == "auto" else bool(progress),
            enable_model_summary=False,
            num_sanity_val_steps=0,
            callbacks=[StopWhenNotFinite(), epochs, *callbacks],
            **settings,
        )
        # Loaders, not the DataModule: its setup has run, and a second one might draw another split.
        try:
            trainer.fit(module, batches, data.val_dataloader())
        except SystemExit as exit:  # Lightning's answer to Ctrl-C, unless the user's code exits
            if isinstance(exit.__context__, KeyboardInterrupt):
                raise exit.__context__ from None
            raise
    if trainer.current_epoch < max_epochs:
        log.warning("training ended after %d of %d epochs: a callback asked for it", trainer.current_epoch, max_epochs)
    module.to(device="cpu", memory_format=torch.contiguous_format)
    for optimizer in trainer.optimizers:  # a checkpoint's moments lie as its weights do: a fused Adam does not look
        for state in optimizer.state.values():
            state.update({key: value.contiguous() for key, value in state.items() if torch.is_tensor(value)})
    return trainer.global_step


def made_trainer(**arguments: Any) -> pl.Trainer:
    """Lightning's Trainer.

    Raises:
        UserError: it refuses what a user chose, such as a callback.
    """
    try:
        return pl.Trainer(**arguments)
    except MisconfigurationException as error:
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


def load_checkpoint(path: Path, network: nn.Module) -> nn.Module:
    """`network` with the weights of a checkpoint; nothing in the file is executed.

    Raises:
        UserError: the file is missing, is no checkpoint, takes more memory than it has bytes, or belongs to another
            network.
    """
    try:
        check_checkpoint(path)
        state = torch.load(path, weights_only=True, map_location="cpu")["state_dict"]
        if any(".parametrizations." in key for key in state):
            raise UserError(f"{path}: holds a pruned or quantized network; a teacher comes from a run without either")
        own = {key.removeprefix("network."): value for key, value in state.items() if key.startswith("network.")}
        network.load_state_dict(own or state)  # a module may hold more than the network, such as a generator
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such checkpoint; a run leaves one as {CHECKPOINT} in its folder") from error
    except Exception as error:
        unreadable = isinstance(error, pickle.UnpicklingError)
        cause = "cannot be read without executing code" if unreadable else " ".join(str(error).split())[:200]
        raise UserError(f"{path}: not a checkpoint of {type(network).__name__} ({cause})") from error
    return network
