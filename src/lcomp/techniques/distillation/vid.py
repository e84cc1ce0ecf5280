"""Variational information distillation (Ahn et al. 2019)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lcomp.techniques.distillation.features import FeatureObjective, same_size

VARIANCE, LEAST = 5.0, 1e-5  # at the start, and what is added so that it stays above 0 (the authors' values)


def negative_log_likelihood(teacher: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """log sigma_c + (t_c - mu_c)^2 / (2 sigma_c^2) (eq. 5, less its constant), mean over every element.

    Args:
        teacher, mean: (N, C, H, W).
        variance: sigma_c^2, (C,), above 0.
    """
    variance = variance[:, None, None]
    return (variance.log() / 2 + (teacher - mean).square() / (2 * variance)).mean()


class VID(FeatureObjective):
    """Raises what a layer of the student tells of one of the teacher, by a bound on their mutual information (Ahn et
    al. 2019, eq. 4 and 5).

    The bound is a Gaussian of the teacher's features, with a mean that three 1 x 1 convolutions read from the student's
    and a learned variance per channel, softplus(a_c) + 1e-5, 5 at the start. Where sizes of the maps differ, the larger
    one is pooled to the smaller.

    Args:
        weight: lambda of the paper.
        student_layer, teacher_layer, until: see `FeatureObjective`.
    """

    key = "kd.objectives.vid"

    def build(self, student: torch.Size, teacher: torch.Size) -> None:
        inputs, channels = student[1], teacher[1]
        self.mean = nn.Sequential(
            nn.Conv2d(inputs, channels, 1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 1),
        )
        self.scale = nn.Parameter(torch.full((channels,), math.log(math.expm1(VARIANCE - LEAST))))  # softplus's inverse

    @property
    def variance(self) -> Tensor:
        """sigma_c^2, (C,)."""
        return F.softplus(self.scale) + LEAST

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        student, teacher = same_size(student, teacher)
        return negative_log_likelihood(teacher, self.mean(student), self.variance)
