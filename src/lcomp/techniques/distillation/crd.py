"""Contrastive representation distillation (Tian, Krishnan & Isola 2020)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lcomp.data.perturbations import seeded_generator
from lcomp.errors import UserError, validate_choice
from lcomp.techniques.distillation.features import FeatureObjective
from lcomp.techniques.distillation.weighted import Setting, Shown, classes
from lcomp.techniques.short_training import ShortTraining


def contrastive_loss(positive: Tensor, negative: Tensor, log_mean: Tensor, kept: Tensor | None = None) -> Tensor:
    """Noise-contrastive estimation of which pairs come from one example (eq. 10 to 13): log h of the pair that does and
    log (1 - h) of the K that do not, summed, less the sign, mean over the batch.

    h = r / (r + K) with r = exp(score) / exp(log_mean); the M examples of the paper's h cancel, as its constant is M
    times a mean.

    Args:
        positive: (N,) scores, over the temperature, of the pairs from one example.
        negative: (N, K) those of pairs from two.
        log_mean: log of the mean of exp(score).
        kept: (N, K) bool, which of `negative` are such pairs; None: all.
    """
    count = negative.new_tensor(negative.shape[1]) if kept is None else kept.sum(1, keepdim=True).clamp(min=1)
    offset = log_mean + count.log()
    wrong = F.softplus(negative - offset)
    wrong = wrong if kept is None else wrong * kept
    return F.softplus(offset.flatten() - positive).mean() + wrong.sum(1).mean()


def log_mean_exp(scores: Tensor) -> Tensor:
    """log of the mean of exp(score), over all."""
    return scores.flatten().logsumexp(0) - math.log(scores.numel())


class CRD(FeatureObjective):
    """What the student says of an example lies close to what the teacher says of it, and far from what it says of
    others (Tian et al. 2020): `contrastive_loss` of the student's features with the teacher's, and the other way.

    Features of each network are mapped to `dimension` by a learned linear map, and have norm 1 there. The last of every
    training example are remembered; each example of a batch is held against its own in the other network's memory, and
    against `negatives` of examples of other classes, drawn from there. The mean of exp(score), of which the paper
    makes its constant Z, is that of the first batch. What is drawn is a function of the seed and of how many batches
    came before, which the checkpoint holds, as it does the memories.

    Args:
        weight, student_layer, teacher_layer, until: see `FeatureObjective`.
        contrast: `memory`, as said; or `batch`: against the current features of the others in the batch that are of
            other classes, for data that do not number their examples.
        negatives: K, 1 or more, but no more than there are examples of other classes.
        temperature: of the scores, above 0.
        dimension: of what is compared, 1 or more.
        momentum: share of what was remembered that stays when an example comes again, 0 to below 1.

    Raises:
        UserError: a value outside its range, or, when prepared, data that do not number their examples.
    """

    key = "kd.objectives.crd"
    penultimate = True
    short = ShortTraining({"negatives": 64})

    student_memory: Tensor
    teacher_memory: Tensor
    batches: Tensor
    log_means: Tensor
    labels: Tensor
    by_class: Tensor
    first: Tensor
    sizes: Tensor

    def __init__(
        self,
        weight: float = 0.8,
        student_layer: str | None = None,
        teacher_layer: str | None = None,
        until: float = 1.0,
        contrast: str = "memory",
        negatives: int = 16384,
        temperature: float = 0.07,
        dimension: int = 128,
        momentum: float = 0.5,
    ):
        super().__init__(weight, student_layer, teacher_layer, until)
        validate_choice(f"{self.key}.contrast", contrast, ("memory", "batch"))
        for name, count in (("negatives", negatives), ("dimension", dimension)):
            if isinstance(count, bool) or not isinstance(count, int) or count < 1:
                raise UserError(f"{self.key}.{name}={count}: a whole number, 1 or more")
        if not self.number("temperature", temperature) > 0:
            raise UserError(f"{self.key}.temperature={temperature}: must be above 0; 0.07 is the paper's")
        if not self.number("momentum", momentum) < 1:
            raise UserError(f"{self.key}.momentum={momentum}: a share of what is remembered, from 0 to below 1")
        self.contrast, self.negatives, self.temperature = contrast, negatives, temperature
        self.dimension, self.momentum, self.seed = dimension, momentum, 0
        self.reads_indices = contrast == "memory"

    def prepare(self, student: nn.Module, teacher: nn.Module, setting: Setting) -> None:
        if self.reads_indices and setting.labels is None:
            raise UserError(
                f"{self.key}.contrast=memory: must know which training example each is, and the data do not say so; "
                f"give them a carry_indices (see lcomp.data.protocol.Data), or choose {self.key}.contrast=batch"
            )
        super().prepare(student, teacher, setting)
        self.seed = setting.seed
        self.register_buffer("batches", torch.tensor(0))
        self.register_buffer("log_means", torch.zeros(2))  # of student against teacher, of teacher against student
        if self.reads_indices and setting.labels is not None:
            self.remember_classes(setting.labels)
            shape = len(setting.labels), self.dimension
            for name in ("student_memory", "teacher_memory"):
                self.register_buffer(name, (2 * torch.rand(shape) - 1) * math.sqrt(3 / self.dimension))

    def build(self, student: torch.Size, teacher: torch.Size) -> None:
        self.embed_student = nn.Linear(student.numel(), self.dimension)
        self.embed_teacher = nn.Linear(teacher.numel(), self.dimension)

    def remember_classes(self, labels: Tensor) -> None:
        """Keeps all examples by their classes, to draw from all but one."""
        sizes = labels.bincount()
        self.register_buffer("labels", labels, persistent=False)
        self.register_buffer("by_class", labels.argsort(stable=True), persistent=False)
        self.register_buffer("sizes", sizes, persistent=False)
        self.register_buffer("first", sizes.cumsum(0) - sizes, persistent=False)  # of each class in `by_class`
        self.drawn = min(self.negatives, len(labels) - int(sizes.max()))
        if not self.drawn:
            raise UserError(
                f"{self.key}: all {len(labels)} training examples are of one class; none is left to contrast"
            )

    def value(self, shown: Shown) -> Tensor:
        loss: Tensor = self(*self.features(shown), classes(shown.labels), shown.indices)
        return loss

    def forward(self, student: Tensor, teacher: Tensor, targets: Tensor, indices: Tensor | None) -> Tensor:
        with torch.autocast(student.device.type, enabled=False):  # scores are up to 1 / temperature
            own = F.normalize(self.embed_student(student.float().flatten(1)), dim=1)
            given = F.normalize(self.embed_teacher(teacher.float().flatten(1)), dim=1)
            if self.contrast == "batch" or indices is None:
                scores, others = own @ given.T / self.temperature, targets[:, None] != targets
                loss = self.loss(0, scores.diagonal(), scores, others)
                loss = loss + self.loss(1, scores.diagonal(), scores.T, others)
            else:
                chosen = torch.cat([indices[:, None], self.draw(indices)], 1)
                against_teacher = (own @ self.teacher_memory.T / self.temperature).gather(1, chosen)
                against_student = (given @ self.student_memory.T / self.temperature).gather(1, chosen)
                loss = self.loss(0, against_teacher[:, 0], against_teacher[:, 1:])
                loss = loss + self.loss(1, against_student[:, 0], against_student[:, 1:])
                self.student_memory = self.remembered(self.student_memory, indices, own)
                self.teacher_memory = self.remembered(self.teacher_memory, indices, given)
        self.batches += 1
        return loss

    def loss(self, side: int, positive: Tensor, negative: Tensor, kept: Tensor | None = None) -> Tensor:
        """`contrastive_loss`, with the mean of the first batch.

        Args:
            side: 0 of the student against the teacher, 1 the other way.
        """
        if not self.batches:
            seen = negative if kept is None else negative[kept]
            self.log_means[side] = log_mean_exp(torch.cat([positive, seen.flatten()]).detach())
        return contrastive_loss(positive, negative, self.log_means[side], kept)

    def draw(self, indices: Tensor) -> Tensor:
        """The numbers (N, K) of examples that are not of the class of each of `indices`, every one as likely."""
        generator = torch.Generator(indices.device)
        generator.manual_seed(seeded_generator(self.seed, int(self.batches)).initial_seed())
        of = self.labels[indices][:, None]
        first, size, all_others = self.first[of], self.sizes[of], len(self.labels) - self.sizes[of]
        shape = len(indices), self.drawn
        share = torch.rand(shape, generator=generator, device=indices.device, dtype=torch.float64)
        place = (share * all_others).long()
        return self.by_class[place + size * (place >= first)]

    @torch.no_grad()
    def remembered(self, memory: Tensor, indices: Tensor, features: Tensor) -> Tensor:
        """`memory` with new features of those examples; another tensor, for the backward pass reads the old one."""
        mixed = self.momentum * memory[indices] + (1 - self.momentum) * features
        return memory.index_copy(0, indices, F.normalize(mixed, dim=1))
