"""Distillation without data (Chen et al. 2019, "Data-Free Learning of Student Networks", DAFL)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from lcomp.errors import UserError
from lcomp.techniques.distillation.logit import logit_distillation
from lcomp.techniques.short_training import ShortTraining

CONTROLS = 4  # points of a cubic Bezier curve
WIDTHS = (0.8, 1.3)  # a pen's standard deviation, pixels of a side of 28
INK = 1.5  # under the pen's middle


class Generator(nn.Module):
    """Latents (N, latent) to images (N, C, H, W) in [0, 1], drawn with a pen: two hidden layers give an image's curves
    and the width of its pen, which then runs along them. Gradients reach the curves.

    A teacher of written figures is asked about strokes alone. A generator of free pixels finds textures that please the
    teacher and look like no digit, and its step takes a processor many times as long.

    Args:
        latent: length of a latent.
        shape: (C, H, W) of an image; its channels are alike.
        width: of the hidden layers.
        strokes: cubic Bezier curves of an image.
        points: of each curve, where the pen leaves ink.
    """

    def __init__(self, latent: int, shape: Sequence[int], width: int = 256, strokes: int = 4, points: int = 12):
        super().__init__()
        self.shape, self.strokes = tuple(shape), strokes
        self.network = nn.Sequential(
            *(nn.Linear(latent, width), nn.BatchNorm1d(width), nn.LeakyReLU(0.2)),
            *(nn.Linear(width, width), nn.BatchNorm1d(width), nn.LeakyReLU(0.2)),
            nn.Linear(width, strokes * CONTROLS * 2 + 1),
        )
        t = torch.linspace(0, 1, points)
        terms = [math.comb(3, k) * t**k * (1 - t) ** (3 - k) for k in range(CONTROLS)]
        self.register_buffer("bernstein", torch.stack(terms, 1), persistent=False)  # (points, controls)

    def forward(self, latents: Tensor) -> Tensor:
        drawn = self.network(latents)
        controls = drawn[:, :-1].unflatten(1, (self.strokes, CONTROLS, 2)).tanh()
        points = torch.einsum("pk,nskd->nspd", self.bernstein, controls).flatten(1, 2)  # (N, strokes x points, 2)
        least, most = WIDTHS
        pen = least + (most - least) * drawn[:, -1:].sigmoid()
        down, across = (self.profile(points[:, :, axis], pen, side) for axis, side in enumerate(self.shape[1:]))
        image = 1 - (-INK * torch.bmm(down.mT, across)).exp()
        return image[:, None].expand(-1, *self.shape)

    def profile(self, centres: Tensor, pen: Tensor, side: int) -> Tensor:
        """How much ink each point (N, P), in -1 to 1, leaves along one axis: (N, P, side); a Gaussian."""
        pixels = torch.arange(side, device=centres.device) - (side - 1) / 2
        distance = (centres[:, :, None] * (10 / 28) * side - pixels) * (28 / side)
        return (-((distance / pen[:, :, None]) ** 2) / 2).exp()


def one_hot_loss(logits: Tensor) -> Tensor:
    """Cross-entropy of the teacher's logits (N, classes) with its own answers (eq. 4): one class an image."""
    return F.cross_entropy(logits, logits.argmax(1))


def activation_loss(features: Tensor) -> Tensor:
    """Minus the mean of abs(feature) (eq. 5): an image that the teacher knows excites its features (N, ...)."""
    return -features.abs().mean()


def information_loss(logits: Tensor) -> Tensor:
    """Minus the entropy, in nats, of the mean of the softmax over the batch (eq. 6): classes shall be equally many."""
    mean = logits.log_softmax(1).logsumexp(0) - torch.tensor(float(len(logits))).log()
    return (mean.exp() * mean).sum()


class Weighted(FunctionCtx):
    """What the backward pass of `GradientReversal` knows of the forward pass."""

    weight: float


class GradientReversal(torch.autograd.Function):
    """The identity, whose gradient is multiplied by -weight (Ganin & Lempitsky 2015, eq. 6)."""

    @staticmethod
    def forward(ctx: Weighted, x: Tensor, weight: float) -> Tensor:
        ctx.weight = weight
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Weighted, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.weight * gradients[0], None


def reverse_gradient(x: Tensor, weight: float) -> Tensor:
    """`x`; what lies behind it climbs weight times the loss that whatever reads it descends. 0 detaches."""
    reversed_: Tensor = GradientReversal.apply(x, weight) if weight else x.detach()
    return reversed_


class DataFreeDistillation:
    """The student learns a teacher's answers to images of a generator, which learns to please the teacher meanwhile.

    generator: one_hot `one_hot_loss` + activation `activation_loss` + information `information_loss` (eq. 7)
    student: T^2 KL(teacher_T || student_T) on the same images

    The generator also climbs `adversarial` times the student's loss, to draw what the student has not learned yet (Fang
    et al. 2019, "Data-Free Adversarial Distillation", eq. 1 and 4, with this loss for the distance). Both networks move
    in one backward pass: `reverse_gradient` stands before what the student's loss reads, so the student's own gradient
    is that of its loss alone.

    The student also learns images that the generator drew before, `replays` for each new one (as Binici et al. 2022 do,
    "Preventing Catastrophic Forgetting and Distribution Mismatch in Knowledge Distillation via Synthetic Data").

    No training image is read; the teacher's own training is behind it.

    Args:
        temperature: T > 0.
        one_hot, activation, information: weights of the generator's three losses, 0 or more.
        adversarial: weight of the student's loss, which the generator maximizes, 0 or more; 0 is DAFL.
        latent: length of a latent, drawn from N(0, 1).
        batch_size: images of an optimizer step.
        width: of the generator's hidden layers.
        strokes: curves that it draws an image of.
        replays: earlier images for each new one, 0 or more.
        memory: earlier images that are kept.
        generator_learning_rate: the optimizer's for the generator; it follows the schedule of the student's.

    Raises:
        UserError: a value out of its range.
    """

    reads = "logits"
    module = "lcomp.modules.DataFreeModule"  # what trains a student under it: its batches are not the data's
    # A generator from fresh weights has drawn nothing in 40 steps that a student could know digits from.
    short = ShortTraining({"width": 4, "batch_size": 64}, least=-1)

    def __init__(
        self,
        temperature: float = 1.0,
        one_hot: float = 1.0,
        activation: float = 0.1,
        information: float = 5.0,
        adversarial: float = 1.0,
        latent: int = 100,
        batch_size: int = 256,
        width: int = 256,
        strokes: int = 4,
        replays: int = 2,
        memory: int = 12_800,
        generator_learning_rate: float = 0.001,
    ):
        for key, value in (("temperature", temperature), ("generator_learning_rate", generator_learning_rate)):
            if not value > 0:
                raise UserError(f"kd.{key}={value}: must be above 0")
        weights = {"one_hot": one_hot, "activation": activation, "information": information}
        for key, value in (weights | {"adversarial": adversarial}).items():
            if not value >= 0:
                raise UserError(f"kd.{key}={value}: a weight of the generator's loss, 0 or more")
        counts = {"latent": (latent, 1), "batch_size": (batch_size, 2), "width": (width, 1), "strokes": (strokes, 1)}
        for key, (value, least) in (counts | {"replays": (replays, 0), "memory": (memory, batch_size)}).items():
            if value < least:
                raise UserError(f"kd.{key}={value}: a whole number, {least} or more")
        self.temperature, self.one_hot, self.activation, self.information = (
            temperature,
            one_hot,
            activation,
            information,
        )
        self.adversarial = adversarial
        self.latent, self.batch_size, self.width, self.strokes = latent, batch_size, width, strokes
        self.replays, self.memory = replays, memory
        self.generator_learning_rate = generator_learning_rate

    def __call__(self, student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Tensor:
        """The student's loss; nothing is known of labels."""
        return logit_distillation(student_logits, teacher_logits, labels, self.temperature, alpha=0.0)

    def generator_loss(self, teacher_logits: Tensor, features: Tensor) -> Tensor:
        return (
            self.one_hot * one_hot_loss(teacher_logits)
            + self.activation * activation_loss(features)
            + self.information * information_loss(teacher_logits)
        )
