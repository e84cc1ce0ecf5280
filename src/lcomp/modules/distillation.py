"""Training a student under a teacher."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from lcomp.modules.baseline import BaselineModule
from lcomp.techniques.distillation import Distillation
from lcomp.techniques.schedule import Window, training_progress
from lcomp.techniques.technique import Technique


class Objective(Protocol):
    """A distillation loss: student logits, teacher logits (both (N, classes)) and labels (N,) to a scalar."""

    def __call__(self, student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Tensor: ...


class DistillationModule(BaselineModule):
    """Trains `network`, the student, on `objective`; the teacher is frozen and no part of the checkpoint.

    Args:
        network: the student.
        teacher: logits to learn from.
        objective: the loss, see `Objective`; a `Distillation` may learn something itself, and read features.
        techniques, learning_rate, schedule, warmup: as in `BaselineModule`.
        logits_in_batch: the batches' third tensor is the teacher's logits; it is not called then.
        input_shape: (C, H, W) of an image, which objectives on features need.
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
        logits_in_batch: bool = False,
        input_shape: Sequence[int] | None = None,
        seed: int = 0,
    ):
        super().__init__(network, techniques, learning_rate, schedule, warmup)
        self._teacher = [teacher.eval().requires_grad_(False)]  # in a list: not a submodule, not in the checkpoint
        self.objective, self.logits_in_batch, self._progress = objective, logits_in_batch, 0.0
        if isinstance(objective, Distillation):
            objective.prepare(network, teacher, input_shape, seed)

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

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        if isinstance(self.objective, Distillation) and self.objective.ends:
            self._progress = training_progress(self.trainer)

    def windows(self) -> list[Window]:
        ending = self.objective.windows if isinstance(self.objective, Distillation) else []
        return [*super().windows(), *ending]

    def loss(self, x: Tensor, labels: Tensor, *extra: Any) -> Tensor:
        with self.watching():
            if self.logits_in_batch:
                teacher_logits = extra[0]
            else:
                with torch.no_grad():
                    teacher_logits = self.teacher.to(x.device)(x)
            return self.objective(self.network(x), teacher_logits, labels)

    def watching(self) -> AbstractContextManager[None]:
        """Inside it, an objective on features knows what layers of the two networks give."""
        if isinstance(self.objective, Distillation):
            return self.objective.watching(self.network, self.teacher, self._progress)
        return nullcontext()

    def on_train_epoch_end(self) -> None:
        super().on_train_epoch_end()
        if isinstance(self.objective, Distillation):
            self.log_dict(self.objective.scalars())
