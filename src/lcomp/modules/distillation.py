"""Training a student under a teacher."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from lcomp.modules.baseline import BaselineModule
from lcomp.techniques.technique import Technique


class Objective(Protocol):
    """A distillation loss: student logits, teacher logits (both (N, classes)) and labels (N,) to a scalar."""

    def __call__(self, student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Tensor: ...


class DistillationModule(BaselineModule):
    """Trains `network`, the student, on `objective`; the teacher is frozen and no part of the checkpoint.

    Args:
        network: the student.
        teacher: logits to learn from.
        objective: the loss, see `Objective`.
        techniques, learning_rate, schedule, warmup: as in `BaselineModule`.
        logits_in_batch: the batches' third tensor is the teacher's logits; it is not called then.
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
    ):
        super().__init__(network, techniques, learning_rate, schedule, warmup)
        self._teacher = [teacher.eval().requires_grad_(False)]  # in a list: not a submodule, not in the checkpoint
        self.objective, self.logits_in_batch = objective, logits_in_batch

    def on_fit_end(self) -> None:
        self.teacher.cpu()  # it is no submodule: Lightning does not see that it followed the batches

    @property
    def teacher(self) -> nn.Module:
        return self._teacher[0]

    def loss(self, x: Tensor, labels: Tensor, *extra: Any) -> Tensor:
        if self.logits_in_batch:
            teacher_logits = extra[0]
        else:
            with torch.no_grad():
                teacher_logits = self.teacher.to(x.device)(x)
        return self.objective(self.network(x), teacher_logits, labels)
