"""Distillation without data (Chen et al. 2019, "Data-Free Learning of Student Networks", DAFL)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lcomp.errors import UserError
from lcomp.techniques.distillation.logit import logit_distillation
from lcomp.techniques.technique import Technique

if TYPE_CHECKING:
    from lcomp.modules.data_free import DataFreeModule

CONTRAST = 3.0  # images are sigmoid(CONTRAST (N(0, 1) - 1)): mostly dark, some strokes bright


class Generator(nn.Module):
    """Latents (N, latent) to images (N, C, H, W) in [0, 1]: a linear layer to a sixth of the side, a convolution that
    doubles it, then linear interpolation. Much smaller than the paper's, whose step takes a processor seconds, and
    smooth: with finer pixels it finds textures that please the teacher and look like no digit. The last
    normalization learns nothing, so that images stay as dark as they begin.

    Args:
        latent: length of a latent.
        shape: (C, H, W) of an image.
        width: channels behind the linear layer.
    """

    def __init__(self, latent: int, shape: Sequence[int], width: int = 16):
        super().__init__()
        self.shape = tuple(shape)
        self.start = (width, *(-(-side // 6) for side in shape[1:]))
        self.fc, self.norm1 = nn.Linear(latent, math.prod(self.start)), nn.BatchNorm2d(width)
        self.conv, self.norm2 = nn.ConvTranspose2d(width, shape[0], 4, 2, 1), nn.BatchNorm2d(shape[0], affine=False)

    def forward(self, latents: Tensor) -> Tensor:
        x = F.leaky_relu(self.norm1(self.fc(latents).unflatten(1, self.start)), 0.2)
        x = F.interpolate(self.conv(x), self.shape[1:], mode="bilinear")
        images: Tensor = (CONTRAST * (self.norm2(x) - 1)).sigmoid()
        return images


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


class Reverse(torch.autograd.Function):
    """The identity, whose gradient is multiplied by -weight (Ganin & Lempitsky 2015, eq. 6)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: float) -> Tensor:
        ctx.weight = weight
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.weight * gradients[0], None


def reversed_gradient(x: Tensor, weight: float) -> Tensor:
    """`x`; what lies behind it climbs weight times the loss that whatever reads it descends. 0 detaches."""
    reversed_: Tensor = Reverse.apply(x, weight) if weight else x.detach()
    return reversed_


class DataFreeDistillation:
    """The student learns a teacher's answers to images of a generator, which learns to please the teacher meanwhile.

    generator: one_hot `one_hot_loss` + activation `activation_loss` + information `information_loss` (eq. 7)
    student: T^2 KL(teacher_T || student_T) on the same images

    The generator also climbs `adversarial` times the student's loss, to draw what the student has not learned yet (Fang
    et al. 2019, "Data-Free Adversarial Distillation", eq. 1 and 4, with this loss for the distance). Both networks move
    in one backward pass: `reversed_gradient` stands before what the student's loss reads, so the student's own gradient
    is that of its loss alone.

    No training image is read; the teacher's own training is behind it.

    Args:
        temperature: T > 0.
        one_hot, activation, information: weights of the generator's three losses, 0 or more.
        adversarial: weight of the student's loss, which the generator maximizes, 0 or more; 0 is DAFL.
        latent: length of a latent, drawn from N(0, 1).
        batch_size: images of an optimizer step.
        width: channels behind the generator's linear layer.
        generator_learning_rate: Adam's for the generator; it follows the schedule of the student's.

    Raises:
        UserError: a value out of its range.
    """

    def __init__(
        self,
        temperature: float = 1.0,
        one_hot: float = 1.0,
        activation: float = 0.1,
        information: float = 5.0,
        adversarial: float = 1.0,
        latent: int = 100,
        batch_size: int = 256,
        width: int = 16,
        generator_learning_rate: float = 0.001,
    ):
        for key, value in (("temperature", temperature), ("generator_learning_rate", generator_learning_rate)):
            if not value > 0:
                raise UserError(f"kd.{key}={value}: must be above 0")
        weights = {"one_hot": one_hot, "activation": activation, "information": information}
        for key, value in (weights | {"adversarial": adversarial}).items():
            if not value >= 0:
                raise UserError(f"kd.{key}={value}: a weight of the generator's loss, 0 or more")
        for key, value, least in (("latent", latent, 1), ("batch_size", batch_size, 2), ("width", width, 1)):
            if value < least:
                raise UserError(f"kd.{key}={value}: a whole number, {least} or more")
        self.temperature, self.one_hot, self.activation, self.information = (
            temperature,
            one_hot,
            activation,
            information,
        )
        self.adversarial = adversarial
        self.latent, self.batch_size, self.width = latent, batch_size, width
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

    def make_module(
        self, network: nn.Module, teacher: nn.Module, techniques: Sequence[Technique], **settings: object
    ) -> DataFreeModule:
        """What trains `network` under this objective; `settings` are those of `DataFreeModule`."""
        from lcomp.modules.data_free import DataFreeModule  # modules import techniques

        return DataFreeModule(network, teacher, self, techniques, **settings)  # type: ignore[arg-type]
