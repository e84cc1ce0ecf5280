"""What is told and kept of the epochs of a fit."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers import Logger

from lcomp.modules.baseline import BaselineModule
from lcomp.techniques.schedule import total_steps, training_progress
from lcomp.techniques.technique import Technique, network_of
from lcomp.training.checkpoint_content import CurvesState, Row

Report = Callable[[int, float], None]


class Curves(Logger):
    """Keeps what a fit logs: for each name a value per epoch, None where there was none; `seconds` since the fit began
    are added."""

    name, version = "curves", ""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[Row] = []
        self.epoch = 0  # that is under way
        self.start = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the fit began; of one that goes on, those of the processes before included."""
        return time.monotonic() - self.start

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        found = dict(metrics)
        epoch = int(found.pop("epoch", self.epoch))  # a callback's own may say none
        self.rows += [{} for _ in range(epoch + 1 - len(self.rows))]
        self.rows[epoch].update(found, seconds=self.seconds)

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
        reported: the epochs that can be compared, with their metric, whoever was told.
        networks: how many networks learned at once; None: this one alone.
    """

    def __init__(self, report: Report | None = None, live: Callable[[int, Row], None] | None = None):
        self.report, self.live, self.curves = report, live, Curves()
        self.reported: list[tuple[int, float]] = []
        self.passed = 0  # epochs that were passed on
        self.networks: int | None = None
        self.seconds_before = 0.0  # of the processes that carried the fit out before

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.curves.start = time.monotonic() - self.seconds_before

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        network = network_of(pl_module)
        for technique in techniques_of(trainer):
            pl_module.log_dict(technique.scalars(network))

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        metric = exportable_metric(trainer, pl_module)
        if metric is not None and training_progress(trainer) < 1:
            self.reported.append((trainer.current_epoch + 1, metric))
            if self.report:
                self.report(*self.reported[-1])

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.curves.epoch = trainer.current_epoch
        self.pass_on(trainer.current_epoch)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.pass_on(trainer.current_epoch)

    def pass_on(self, epoch: int) -> None:
        """Passes on the epochs up to that number; the module logs the training loss when callbacks have had their
        turn."""
        for number in range(self.passed + 1, epoch + 1):
            if self.live:
                self.live(number, dict(self.curves.rows[number - 1]))
        self.passed = max(self.passed, epoch)

    def state(self) -> CurvesState:
        """What a checkpoint keeps."""
        return {"rows": self.curves.rows, "reported": [*self.reported], "seconds": self.curves.seconds}

    def load(self, state: CurvesState) -> None:
        """Goes on from a checkpoint. Whoever is told of epochs, in this process for the first time, is told of those
        before."""
        self.curves.rows, self.seconds_before = [dict(row) for row in state["rows"]], float(state["seconds"])
        self.curves.start = time.monotonic() - self.seconds_before
        self.reported, self.networks = [*state["reported"]], state.get("networks")
        for epoch, metric in self.reported if self.report else ():
            self.report(epoch, metric)  # type: ignore[misc]


def exportable_metric(trainer: pl.Trainer, module: pl.LightningModule) -> float | None:
    """The task's metric of the validation that has just ended; None where the network was not yet of the kind that is
    exported, for schedules go on, or a module of the user's logs another."""
    judged = validation_metric(module)
    settled = max((one.export_ready_from for one in techniques_of(trainer)), default=0.0)
    last = (trainer.global_step - 1) / total_steps(trainer)  # techniques act as a step begins
    if judged not in trainer.callback_metrics or settled > last:
        return None
    return float(trainer.callback_metrics[judged])


def validation_metric(module: pl.LightningModule) -> str:
    """What a module logs of validation examples that its task is judged by."""
    return module.task.metric.validation if isinstance(module, BaselineModule) else "val_accuracy"


def techniques_of(trainer: pl.Trainer) -> Sequence[Technique]:
    return [one for one in trainer.callbacks if isinstance(one, Technique)]  # type: ignore[attr-defined]
