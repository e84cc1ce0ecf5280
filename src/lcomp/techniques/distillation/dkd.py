"""Decoupled knowledge distillation (Zhao et al. 2022)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lcomp.errors import UserError
from lcomp.techniques.distillation.weighted import Shown, WeightedObjective, classes
from lcomp.techniques.schedule import Window
from lcomp.techniques.short_training import ShortTraining


def decoupled_divergences(student: Tensor, teacher: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """KL(b_teacher || b_student) of the target class against all others, and KL(p_teacher || p_student) among the
    others (eq. 7), each (N,): the divergence of the whole is the first + (1 - p_target of the teacher) the second.

    Args:
        student, teacher: logits (N, classes), divided by the temperature.
        targets: (N,) int64.
    """
    target = F.one_hot(targets, student.shape[1]).bool()
    binary, among_others = [], []
    for logits in (student, teacher):
        log_p = logits.log_softmax(1)
        others = log_p.masked_fill(target, -torch.inf).logsumexp(1)
        binary.append(torch.stack([log_p.gather(1, targets[:, None]).squeeze(1), others], 1))
        among_others.append((log_p - others[:, None]).masked_fill(target, 0))
    of_target, of_others = (
        F.kl_div(own, given, reduction="none", log_target=True).sum(1) for own, given in (binary, among_others)
    )
    return of_target, of_others


class DKD(WeightedObjective):
    """The teacher's softened logits in two parts (Zhao et al. 2022, eq. 7 and 8): T^2 (target TCKD + non_target NCKD),
    mean over the batch. What it says of the classes that are not the label counts alike for examples of which it is
    sure, which the whole divergence weighs by 1 - p_target.

    Args:
        weight, until: see `WeightedObjective`.
        target: alpha of the paper, weight of the target class against all others, 0 or more.
        non_target: beta of the paper, weight of the others among themselves, 0 or more.
        temperature: T > 0; of all softmaxes.
        warmup: the share of training, 0 to below 1, over which the loss rises in a line, as in the authors' code.

    Raises:
        UserError: a value outside its range.
    """

    key = "kd.objectives.dkd"
    short = ShortTraining(least=-1)  # its loss is still rising then

    def __init__(
        self,
        weight: float = 1.0,
        target: float = 1.0,
        non_target: float = 8.0,
        temperature: float = 4.0,
        warmup: float = 0.083,
        until: float = 1.0,
    ):
        super().__init__(weight, until)
        self.target, self.non_target = self.number("target", target), self.number("non_target", non_target)
        if not self.number("temperature", temperature) > 0:
            raise UserError(f"{self.key}.temperature={temperature}: must be above 0; 4 is the paper's")
        if not self.number("warmup", warmup) < 1:
            raise UserError(f"{self.key}.warmup={warmup}: a share of training, from 0 to below 1")
        self.temperature, self.warmup = temperature, warmup
        self.rises = warmup > 0

    def windows(self, key: str) -> list[Window]:
        rise = Window(f"{key}.warmup={self.warmup:.3g}", 0.0, self.warmup, 2, "the loss does not rise step by step")
        return [*super().windows(key), *([rise] if self.rises else [])]

    def value(self, shown: Shown) -> Tensor:
        risen = min(shown.progress / self.warmup, 1.0) if self.rises else 1.0
        loss: Tensor = self(shown.student_outputs, shown.teacher_outputs, classes(shown.labels))
        return risen * loss

    def forward(self, student: Tensor, teacher: Tensor, targets: Tensor) -> Tensor:
        softened = student / self.temperature, teacher / self.temperature
        of_target, of_others = decoupled_divergences(*softened, targets)
        return self.temperature**2 * (self.target * of_target + self.non_target * of_others).mean()
