"""Supervised training, carrying any techniques."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import TypedDict

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from torch.optim.optimizer import ParamsT

from lcomp.data.protocol import Data
from lcomp.errors import UserError, validate_choice
from lcomp.modules.optimizers import ADAM, OptimizerFactory, spare_vectors
from lcomp.modules.schedulers import Restarting, SchedulerFactory
from lcomp.tasks import Batch, ImageClassification, Loader, Task
from lcomp.tasks.task import Inputs
from lcomp.techniques.schedule import Window, first_step_after, total_steps, warn_of_short
from lcomp.techniques.technique import Technique, finalize


class EpochState(TypedDict, total=False):
    """What is kept of an epoch's batches until it ends: losses, lengths, and the objectives' values by name."""

    losses: Tensor
    examples: Tensor
    objective: dict[str, Tensor]


class BaselineModule(pl.LightningModule):
    """Trains `network` on the loss of `task`; its techniques reach the Trainer as callbacks.

    Args:
        network: the task's inputs to its outputs (N, output_size).
        techniques: callbacks that constrain the network while it learns.
        learning_rate: the optimizer's, above 0.
        schedule: of the learning rate, `constant` or `cosine` (falls to 0 over training; Loshchilov & Hutter 2017).
        warmup: share of training, 0 to below 1, over which the rate first rises in a line (Goyal et al. 2017); a rate
            that is high from the first step silences ReLUs for good.
        optimizer: makes it of the parameters; biases and norms decay under none.
        task: what a batch means; None is `ImageClassification`.
        scheduler: makes what moves the learning rate, instead of `schedule` and `warmup`; it steps with the
            optimizer.

    Raises:
        UserError: another schedule, or a warm-up outside its range.
    """

    def __init__(
        self,
        network: nn.Module,
        techniques: Sequence[Technique] = (),
        learning_rate: float = 1e-3,
        schedule: str = "constant",
        warmup: float = 0.0,
        optimizer: OptimizerFactory = ADAM,
        task: Task | None = None,
        scheduler: SchedulerFactory | None = None,
    ):
        super().__init__()
        self.task = task or ImageClassification()
        validate_choice("trainer.schedule", schedule, ("constant", "cosine"))
        if not 0 <= warmup < 1:
            raise UserError(f"trainer.warmup={warmup}: a share of training, from 0 to below 1")
        self.network, self.learning_rate, self.schedule, self.warmup = network, learning_rate, schedule, warmup
        self.optimizer, self.scheduler = optimizer, scheduler
        self._losses: list[tuple[Tensor, int]] = []  # of this epoch's batches, with their lengths
        self.techniques = sorted(techniques, key=lambda technique: technique.stage)

    def configure_callbacks(self) -> list[pl.Callback]:
        return list(self.techniques)

    def finalize(self, calibration: Iterable[Inputs] = ()) -> nn.Module:
        """The network as it is deployed: masks baked, weights integers.

        Args:
            calibration: batches of training inputs, for the techniques that observe ranges after training.
        """
        self.network = finalize(self.network, self.techniques, calibration)
        return self.network

    def batches(self, data: Data) -> Loader:
        """The batches of one epoch of training: those of the DataModule, unless a subclass makes its own."""
        return data.train_dataloader()

    def calibration(self, data: Data) -> Iterable[Inputs]:
        """Inputs of the training batches, for `finalize`; each technique reads them from the first on."""
        return CalibrationInputs(self, data)

    def inputs(self, batch: Batch) -> Inputs:
        """What the network sees of a training batch."""
        return self.task.inputs(batch)

    def parameter_groups(self) -> ParamsT:
        """What the optimizer moves: parameters, or groups of them with learning rates of their own."""
        return self.parameters()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = self.optimizer(self.parameter_groups(), lr=self.learning_rate)
        spare_vectors(optimizer)
        if self.scheduler is None and self.schedule == "constant" and not self.warmup:
            return optimizer
        scheduler = self.make_scheduler(optimizer, total_steps(self.trainer))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def make_scheduler(self, optimizer: torch.optim.Optimizer, total: int) -> LRScheduler:
        """What moves the learning rate in `total` steps; begun anew where techniques ask for it."""
        if self.scheduler is None:
            return LambdaLR(optimizer, lambda step: self.share_of_rate(step / total, 1 / total))
        if self.restarts:
            starts = {first_step_after(share, total) for share in (0.0, *self.restarts)} - {total}
            return Restarting(optimizer, self.scheduler, sorted(starts), total)
        return self.scheduler(optimizer, total)

    @property
    def restarts(self) -> list[float]:
        """Shares of training, rising, at which the learning rate's schedule begins anew."""
        return sorted({share for technique in self.techniques for share in technique.restarts})

    def on_train_start(self) -> None:
        warn_of_short(self.windows(), self.trainer)

    def windows(self) -> list[Window]:
        """In which parts of training something acts that is no technique; a part between two restarts has its own."""
        shortest = min(end - begin for begin, end in pairwise([0.0, *self.restarts, 1.0]))
        otherwise = "the learning rate does not rise step by step"
        rise = Window(f"trainer.warmup={self.warmup:.3g}", 0.0, self.warmup * shortest, 2, otherwise)
        return [rise] if self.warmup and self.scheduler is None else []

    def share_of_rate(self, progress: float, step: float) -> float:
        """The learning rate as a share of its highest, 0 to 1, after `progress` of training; a step is `step` of it.

        Where techniques ask for restarts, each part of training between them has the whole schedule.
        """
        begin = max((share for share in self.restarts if share <= progress), default=0.0)
        end = min((share for share in self.restarts if share > progress), default=1.0)
        progress, step = (progress - begin) / (end - begin), step / (end - begin)
        rise = min(1.0, (progress + step) / self.warmup) if self.warmup else 1.0
        return rise * (0.5 * (1 + math.cos(math.pi * progress)) if self.schedule == "cosine" else 1.0)

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)  # type: ignore[no-any-return]

    def outputs(self, batch: Batch) -> Tensor:
        """What the network says of a batch."""
        outputs: Tensor = self.network(*self.inputs(batch).values())
        return in_32_bits(outputs)

    def loss(self, batch: Batch) -> Tensor:
        """The training loss of one batch."""
        return self.task.loss(self.outputs(batch), self.task.labels(batch))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss, examples = self.loss(batch), len(self.task.labels(batch))
        self._losses.append((loss.detach(), examples))  # logging each step takes a tenth of a small network's
        return loss

    def on_train_epoch_start(self) -> None:
        self._losses.clear()

    def epoch_state(self) -> EpochState:
        """What is kept of this epoch's batches until it ends, for a checkpoint within it."""
        if not self._losses:
            return {}
        losses, examples = zip(*self._losses, strict=True)
        return {"losses": torch.stack(losses).cpu(), "examples": torch.tensor(examples)}

    def load_epoch_state(self, state: EpochState) -> None:
        """Goes on within an epoch."""
        none = torch.tensor([])
        losses, examples = state.get("losses", none).to(self.device), state.get("examples", none)
        self._losses = [(loss, int(n)) for loss, n in zip(losses, examples, strict=True)]

    def on_train_epoch_end(self) -> None:
        if not self._losses:  # a subclass with a step of its own
            return
        losses, examples = zip(*self._losses, strict=True)
        weights = torch.tensor(examples, device=losses[0].device) / sum(examples)
        self.log("train_loss", torch.stack(losses) @ weights)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        labels = self.task.labels(batch)
        outputs = in_32_bits(self.network(*self.task.inputs(batch).values()))
        for name, value in self.task.metrics(outputs, labels).items():
            chooses = name == self.task.metric.name
            self.log(f"val_{name}", value, prog_bar=chooses, batch_size=len(labels))


class CalibrationInputs:
    """What `module` sees of the training batches of `data`, as often as they are asked for."""

    def __init__(self, module: BaselineModule, data: Data):
        self.module, self.data = module, data

    def __iter__(self) -> Iterator[Inputs]:
        return (self.module.inputs(batch) for batch in self.module.batches(self.data))


def in_32_bits(outputs: Tensor) -> Tensor:
    """What a network says under autocast, for losses and metrics; they round to 24 bits, not to 8."""
    return outputs.float() if outputs.dtype in (torch.bfloat16, torch.float16) else outputs
