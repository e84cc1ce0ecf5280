"""Training a student under a teacher."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from lcomp.modules.baseline import BaselineModule, EpochState, in_32_bits
from lcomp.modules.optimizers import ADAM, OptimizerFactory
from lcomp.modules.schedulers import SchedulerFactory
from lcomp.tasks import Batch, Task
from lcomp.tasks.split import MASK
from lcomp.techniques.distillation import Distillation, LogitDistillation
from lcomp.techniques.distillation.objective import Objective
from lcomp.techniques.example import Arguments
from lcomp.techniques.schedule import Window, training_progress
from lcomp.techniques.technique import Technique


class DistillationModule(BaselineModule):
    """Trains `network`, the student, on `objective`; the teacher is frozen and no part of the checkpoint.

    Args:
        network: the student.
        teacher: whose outputs it learns from.
        objective: the loss, see `Objective`; a `Distillation` may learn something itself, and read features.
        techniques, learning_rate, schedule, warmup, optimizer, task, scheduler: as in `BaselineModule`.
        outputs_in_batch: the last tensor of a batch is the teacher's outputs; it is not called then.
        labels: of all training examples, where the last tensor of a batch is the numbers of its examples among them.
        input_shape: (C, H, W) of an example, which objectives on features need.
        seed: of what the objective draws.
    """

    def __init__(
        self,
        network: nn.Module,
        teacher: nn.Module,
        objective: Objective,
        techniques: Sequence[Technique] = (),
        learning_rate: float = 1e-3,
        schedule: str = "constant",
        warmup: float = 0.0,
        optimizer: OptimizerFactory = ADAM,
        outputs_in_batch: bool = False,
        input_shape: Sequence[int] | None = None,
        seed: int = 0,
        task: Task | None = None,
        scheduler: SchedulerFactory | None = None,
        labels: Tensor | None = None,
    ):
        super().__init__(network, techniques, learning_rate, schedule, warmup, optimizer, task, scheduler)
        self._teacher = [teacher.eval().requires_grad_(False)]  # in a list: not a submodule, not in the checkpoint
        self.objective, self.outputs_in_batch, self._progress = objective, outputs_in_batch, 0.0
        self.indices_in_batch = labels is not None
        logit = objective.logit if isinstance(objective, Distillation) else objective
        if isinstance(logit, LogitDistillation):
            logit.labels_loss = self.task.loss
        if isinstance(objective, Distillation):
            objective.prepare(network, teacher, input_shape, seed, labels, example_of(self.task))

    def on_fit_start(self) -> None:
        for network in self.teacher.modules():  # the members of an ensemble too; `fit` does this for the student
            if hasattr(network, "memory_format"):
                network.to(memory_format=network.memory_format)  # type: ignore[call-overload]

    def on_fit_end(self) -> None:
        # It is no submodule: neither Lightning nor `fit` sees that it followed the batches.
        self.teacher.cpu().to(memory_format=torch.contiguous_format)

    @property
    def teacher(self) -> nn.Module:
        return self._teacher[0]

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        if isinstance(self.objective, Distillation) and self.objective.changes:
            self._progress = training_progress(self.trainer)

    def windows(self) -> list[Window]:
        own = self.objective.windows if isinstance(self.objective, Distillation) else []
        return [*super().windows(), *own]

    def loss(self, batch: Batch) -> Tensor:
        labels = self.task.labels(batch)
        with self.watching(batch[-1] if self.indices_in_batch else None, self.inputs(batch).get(MASK)):
            if self.outputs_in_batch:
                expected = batch[-1]
            else:
                with torch.no_grad():
                    expected = in_32_bits(self.teacher.to(labels.device)(*self.inputs(batch).values()))
            return self.objective(self.outputs(batch), expected, labels)

    def watching(self, indices: Tensor | None, mask: Tensor | None) -> AbstractContextManager[None]:
        """Inside it, an objective on features knows what layers of the two networks give, and of which examples."""
        if isinstance(self.objective, Distillation):
            return self.objective.watching(self.network, self.teacher, self._progress, indices, mask)
        return nullcontext()

    def epoch_state(self) -> EpochState:
        own = self.objective.epoch_state() if isinstance(self.objective, Distillation) else {}
        return {**super().epoch_state(), "objective": own}

    def load_epoch_state(self, state: EpochState) -> None:
        super().load_epoch_state(state)
        if isinstance(self.objective, Distillation):
            self.objective.load_epoch_state(state["objective"], self.device)

    def on_train_epoch_end(self) -> None:
        super().on_train_epoch_end()
        if isinstance(self.objective, Distillation):
            self.log_dict(self.objective.scalars())


def example_of(task: Task) -> Arguments | None:
    """What networks of the task are asked with, where that is not one tensor of its shape."""
    given = tuple(task.example_inputs(1).values())
    return None if len(given) == 1 else given
