"""Distillation without data (Chen et al. 2019, "Data-Free Learning of Student Networks", DAFL)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lcomp.errors import UserError
from lcomp.techniques.distillation.logit import logit_distillation
from lcomp.techniques.technique import Technique

if TYPE_CHECKING:
    from lcomp.modules.data_free import DataFreeModule


class Generator(nn.Module):
    """Latents (N, latent) to images (N, C, H, W) in [0, 1]: a linear layer to a quarter of the side, then twice
    upsampling and convolution, as in the paper's code, narrower; a sigmoid ends it, since networks take pixels.

    Args:
        latent: length of a latent.
        shape: (C, H, W) of an image.
        width: channels of its inner layers; those of the last one are half as many.
    """

    def __init__(self, latent: int, shape: Sequence[int], width: int = 32):
        super().__init__()
        self.shape, half = tuple(shape), -(-width // 2)
        self.start = (width, *(-(-side // 4) for side in shape[1:]))
        self.halves = tuple(-(-side // 2) for side in shape[1:])
        self.fc = nn.Linear(latent, self.start[0] * self.start[1] * self.start[2])
        self.norm1, self.conv1 = nn.BatchNorm2d(width), nn.Conv2d(width, width, 3, padding=1)
        self.norm2, self.conv2 = nn.BatchNorm2d(width), nn.Conv2d(width, half, 3, padding=1)
        self.norm3, self.conv3 = nn.BatchNorm2d(half), nn.Conv2d(half, shape[0], 3, padding=1)
        self.norm4 = nn.BatchNorm2d(shape[0])

    def forward(self, latents: Tensor) -> Tensor:
        x = self.norm1(self.fc(latents).unflatten(1, self.start))
        x = self.norm2(self.conv1(F.interpolate(x, self.halves)))
        x = self.norm3(self.conv2(F.interpolate(F.leaky_relu(x, 0.2), self.shape[1:])))
        return self.norm4(self.conv3(F.leaky_relu(x, 0.2))).sigmoid()


def one_hot_loss(logits: Tensor) -> Tensor:
    """Cross-entropy of the teacher's logits (N, classes) with its own answers (eq. 4): an image shall be of one class."""
    return F.cross_entropy(logits, logits.argmax(1))


def activation_loss(features: Tensor) -> Tensor:
    """Minus the mean of abs(feature) (eq. 5): an image that the teacher knows excites its features (N, ...)."""
    return -features.abs().mean()


def information_loss(logits: Tensor) -> Tensor:
    """Minus the entropy, in nats, of the mean of the softmax over the batch (eq. 6): classes shall be equally many."""
    mean = logits.log_softmax(1).logsumexp(0) - torch.tensor(float(len(logits))).log()
    return (mean.exp() * mean).sum()


class DataFreeDistillation:
    """The student learns a teacher's answers to images of a generator, which learns to please the teacher meanwhile.

    generator: one_hot `one_hot_loss` + activation `activation_loss` + information `information_loss` (eq. 7)
    student: T^2 KL(teacher_T || student_T) on the same images; its gradient stays in the student.

    No training image is read; the teacher's own training is behind it.

    Args:
        temperature: T > 0.
        one_hot, activation, information: weights of the generator's three losses, 0 or more.
        latent: length of a latent, drawn from N(0, 1).
        batch_size: images of an optimizer step.
        width: channels of the generator's inner layers.
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
        latent: int = 100,
        batch_size: int = 256,
        width: int = 32,
        generator_learning_rate: float = 0.001,
    ):
        for key, value in (("temperature", temperature), ("generator_learning_rate", generator_learning_rate)):
            if not value > 0:
                raise UserError(f"kd.{key}={value}: must be above 0")
        for key, value in (("one_hot", one_hot), ("activation", activation), ("information", information)):
            if not value >= 0:
                raise UserError(f"kd.{key}={value}: a weight of the generator's loss, 0 or more")
        for key, value, least in (("latent", latent, 1), ("batch_size", batch_size, 2), ("width", width, 1)):
            if value < least:
                raise UserError(f"kd.{key}={value}: a whole number, {least} or more")
        self.temperature, self.one_hot, self.activation, self.information = temperature, one_hot, activation, information
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
