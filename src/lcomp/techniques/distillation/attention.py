"""Attention transfer (Zagoruyko & Komodakis 2017)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lcomp.errors import UserError
from lcomp.techniques.distillation.features import FeatureObjective, same_size


def attention(features: Tensor, power: float = 2.0) -> Tensor:
    """Where a layer looks: the sum over channels of abs(A_c)^p (section 3.1), (N, C, H, W) to (N, 1, H, W)."""
    return features.abs().pow(power).sum(1, keepdim=True)


def attention_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """1/2 ||q_s / |q_s| - q_t / |q_t|| ||^2, mean over the batch: eq. 2, squared as in the authors' code. It takes the
    mean over positions besides: beta there is 2 weight / (H W) here.

    Args:
        student, teacher: attention maps (N, 1, H, W) of one size.
    """
    apart = F.normalize(student.flatten(1), dim=1) - F.normalize(teacher.flatten(1), dim=1)
    return apart.square().sum(1).mean() / 2


class AttentionTransfer(FeatureObjective):
    """Lets a layer of the student be active where one of the teacher is (Zagoruyko & Komodakis 2017, eq. 2).

    Where sizes differ, the larger attention map is pooled to the smaller; nothing is learned beside the student.

    Args:
        weight: beta of the paper.
        student_layer, teacher_layer, until: see `FeatureObjective`; layers that give maps.
        power: p, above 0; the larger, the more the most active places count.

    Raises:
        UserError: a value outside its range, or a layer whose maps have a single position.
    """

    key = "kd.objectives.attention"

    def __init__(
        self,
        weight: float = 10.0,
        student_layer: str | None = None,
        teacher_layer: str | None = None,
        until: float = 1.0,
        power: float = 2.0,
    ):
        super().__init__(weight, student_layer, teacher_layer, until)
        if isinstance(power, bool) or not isinstance(power, int | float) or not power > 0:
            raise UserError(f"{self.key}.power={power}: must be above 0; 2 is the paper's")
        self.power = power

    def build(self, student: torch.Size, teacher: torch.Size) -> None:
        for role, layer, seen in (("student", self.student_layer, student), ("teacher", self.teacher_layer, teacher)):
            if seen[2] * seen[3] == 1:
                raise UserError(
                    f"{self.key}.{role}_layer={layer}: gives one position; attention needs a map of several"
                )

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        return attention_loss(*same_size(attention(student, self.power), attention(teacher, self.power)))
