"""Distillation of softened logits (Hinton, Vinyals & Dean 2015)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lcomp.errors import UserError
from lcomp.tasks import ImageClassification

Loss = Callable[[Tensor, Tensor], Tensor]  # of outputs and labels: a task's
LABELS_LOSS: Loss = ImageClassification().loss


def logit_distillation(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    temperature: float | Tensor,
    alpha: float | Tensor,
    labels_loss: Loss = LABELS_LOSS,
) -> Tensor:
    """alpha labels_loss(student, labels) + (1 - alpha) T^2 KL(teacher_T || student_T), mean over the batch.

    T^2 keeps the size of the soft gradient independent of the temperature (section 2 of the paper).

    Args:
        student_logits, teacher_logits: (N, classes).
        labels: (N,) int64.
        temperature: T > 0; both softmaxes divide by it.
        alpha: weight of the labels' loss, 0 to 1.
        labels_loss: the task's.
    """
    student, teacher = (F.log_softmax(logits / temperature, 1) for logits in (student_logits, teacher_logits))
    soft = (teacher.exp() * (teacher - student)).sum() / len(student)  # F.kl_div to the bit; that cannot be mapped over
    return alpha * labels_loss(student_logits, labels) + (1 - alpha) * temperature**2 * soft


class Ensemble(nn.Module):
    """Several teachers as one: its logits, softened by `temperature`, are the mean of theirs.

    Args:
        members: networks with the same classes.
        temperature: T > 0, that of the objective.
    """

    def __init__(self, members: Sequence[nn.Module], temperature: float):
        super().__init__()
        self.members, self.temperature = nn.ModuleList(members), temperature

    def forward(self, x: Tensor) -> Tensor:
        softened = torch.stack([F.log_softmax(member(x) / self.temperature, 1) for member in self.members])
        return self.temperature * (softened.logsumexp(0) - math.log(len(self.members)))


class LogitDistillation:
    """`logit_distillation` at one temperature and alpha; `DistillationModule` sets its `labels_loss` to the task's.

    Args:
        temperature: what both sets of logits are divided by, above 0; 1 to 10 is usual.
        alpha: weight of the labels' loss, 0 to 1.

    Raises:
        UserError: temperature not above 0, or alpha outside 0 to 1.
    """

    def __init__(self, temperature: float = 3.0, alpha: float = 0.1):
        if not temperature > 0:
            raise UserError(f"kd.temperature={temperature}: must be above 0; 1 to 10 is usual")
        if not 0 <= alpha <= 1:
            raise UserError(f"kd.alpha={alpha}: must lie between 0 and 1; it is the weight of the labels' loss")
        self.temperature, self.alpha, self.labels_loss = temperature, alpha, LABELS_LOSS

    def __call__(self, student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Tensor:
        settings = self.temperature, self.alpha, self.labels_loss
        return logit_distillation(student_logits, teacher_logits, labels, *settings)
