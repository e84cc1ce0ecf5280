"""Hints from a layer of the teacher (FitNets; Romero et al. 2015)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lcomp.techniques.distillation.features import FeatureObjective, same_size


def hint_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """1/2 (teacher - student)^2 (eq. 3), mean over every element; the paper sums over those of an example.

    Args:
        student: the regressor's output, of the teacher's shape.
        teacher: (N, C, H, W).
    """
    return (teacher - student).square().mean() / 2


class FitNets(FeatureObjective):
    """Draws a layer of the student, through a learned 1 x 1 convolution, to one of the teacher (Romero et al. 2015).

    The paper's two stages are one training here: the hint acts beside the other losses, and `until` ends it. Where
    sizes of the maps differ, the larger one is pooled to the smaller.

    Args:
        weight, student_layer, teacher_layer, until: see `FeatureObjective`.
    """

    key = "kd.objectives.fitnets"

    def build(self, student: torch.Size, teacher: torch.Size) -> None:
        self.regressor = nn.Conv2d(student[1], teacher[1], 1)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        student, teacher = same_size(student, teacher)
        return hint_loss(self.regressor(student), teacher)
