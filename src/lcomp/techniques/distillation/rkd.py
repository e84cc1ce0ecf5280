"""Relational knowledge distillation (Park et al. 2019), and similarities that are preserved (Tung & Mori 2019)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lcomp.techniques.distillation.features import FeatureObjective


def unit(vectors: Tensor) -> Tensor:
    """Vectors (..., D) of length 1; of zeros, zeros, with a gradient that stays small."""
    length = vectors.norm(dim=-1, keepdim=True)
    made: Tensor = vectors / length.where(length > 0, 1)
    return made


def distances(features: Tensor) -> Tensor:
    """How far examples (N, D) are apart, over the mean of those that are apart (eq. 4 and 5): (N, N)."""
    apart = torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist")
    mean = apart.sum() / (apart > 0).sum().clamp(min=1)
    return apart / mean.where(mean > 0, 1)


def angles(features: Tensor) -> Tensor:
    """The cosine at example j between the ways to i and k (eq. 7), by [j, i, k]: (N, N, N) of (N, D)."""
    ways = unit(features[None] - features[:, None])
    return ways @ ways.mT


def similarities(features: Tensor) -> Tensor:
    """Inner products of examples (N, D), each example's with all of norm 1 (Tung & Mori 2019, eq. 2): (N, N)."""
    return unit(features @ features.T)


class RKD(FeatureObjective):
    """Examples of a batch lie to each other in the student as they do in the teacher (Park et al. 2019).

    distance: Huber's loss between `distances` of the two networks, mean over pairs (eq. 6)
    angle: Huber's loss between `angles`, mean over triples (eq. 8); they take N^3 numbers
    similarity: squared difference of `similarities`, mean over pairs (Tung & Mori 2019, eq. 4)

    Layers of any two sizes will do, and nothing is learned beside the student. Examples count with themselves, as in
    the authors' code.

    Args:
        weight, student_layer, teacher_layer, until: see `FeatureObjective`.
        distance, angle, similarity: weights of the parts, 0 or more; of 0 it is not computed.

    Raises:
        UserError: a value outside its range.
    """

    key = "kd.objectives.rkd"
    penultimate = True

    def __init__(
        self,
        weight: float = 1.0,
        student_layer: str | None = None,
        teacher_layer: str | None = None,
        until: float = 1.0,
        distance: float = 25.0,
        angle: float = 50.0,
        similarity: float = 0.0,
    ):
        super().__init__(weight, student_layer, teacher_layer, until)
        self.distance, self.angle = self.number("distance", distance), self.number("angle", angle)
        self.similarity = self.number("similarity", similarity)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        with torch.autocast(student.device.type, enabled=False):  # differences of numbers that are close
            own, given = student.float().flatten(1), teacher.float().flatten(1)
            loss = own.new_zeros(())
            if self.distance:
                loss = loss + self.distance * F.smooth_l1_loss(distances(own), distances(given))
            if self.angle:
                loss = loss + self.angle * F.smooth_l1_loss(angles(own), angles(given))
            if self.similarity:
                loss = loss + self.similarity * F.mse_loss(similarities(own), similarities(given))
            return loss
