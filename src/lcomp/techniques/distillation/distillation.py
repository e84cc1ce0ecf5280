"""Everything that a student learns from a teacher, in one weighted sum."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lcomp.errors import UserError
from lcomp.techniques.distillation.features import capture_outputs
from lcomp.techniques.distillation.logit import LogitDistillation
from lcomp.techniques.distillation.noisy_teacher import TeacherNoise
from lcomp.techniques.distillation.weighted import Setting, Shown, WeightedObjective
from lcomp.techniques.example import Arguments
from lcomp.techniques.schedule import Window


class Watched(NamedTuple):
    """Objectives in force by name; the features that they read, by the names of layers of student and teacher; the
    numbers of the examples, how much of training is done, and where examples have ended."""

    objectives: dict[str, WeightedObjective]
    student: dict[str, Tensor]
    teacher: dict[str, Tensor]
    indices: Tensor | None
    progress: float
    mask: Tensor | None = None


NOTHING = Watched({}, {}, {}, None, 0.0)


class Distillation(nn.Module):
    """alpha labels_loss + (1 - alpha) T^2 KL + the sum of weight_i objective_i: what `LogitDistillation` has, and
    objectives beside it.

    Args:
        temperature, alpha: as in `LogitDistillation`.
        noise: what is done to the teacher's logits first, such as `TeacherNoise`; None: nothing.
        objectives: by name; each has a weight of its own.

    Raises:
        UserError: a value outside its range, or objectives that are no choice of files.
    """

    def __init__(
        self,
        temperature: float = 3.0,
        alpha: float = 0.1,
        noise: Callable[[Tensor], Tensor] | None = None,
        objectives: Mapping[str, WeightedObjective] | None = None,
    ):
        super().__init__()
        self.logit, self.temperature, self.noise = LogitDistillation(temperature, alpha), temperature, noise
        if isinstance(objectives, list | str) and objectives:
            raise UserError(f"kd.objectives={objectives}: a choice of files; write a slash, as in kd/objectives=[vid]")
        self.objectives = nn.ModuleDict(dict(objectives or {}))
        self._watched = NOTHING
        self._values: dict[str, list[Tensor]] = {}  # of this epoch's batches

    reads = "logits"

    @property
    def parts(self) -> dict[str, WeightedObjective]:
        return dict(self.objectives.items())  # type: ignore[arg-type]

    @property
    def reads_features(self) -> bool:
        """Whether the teacher itself must see every batch, not its logits alone."""
        return any(one.reads_features for one in self.parts.values())

    @property
    def reads_indices(self) -> bool:
        """Whether batches must carry the numbers of their examples."""
        return any(one.reads_indices for one in self.parts.values())

    @property
    def changes(self) -> bool:
        """Whether an objective changes, or is switched off, while training goes on."""
        return any(one.rises or one.until < 1 for one in self.parts.values())

    @property
    def windows(self) -> list[Window]:
        """In which parts of training objectives act that do not act alike in all of it."""
        return [window for name, one in self.parts.items() for window in one.windows(f"kd.objectives.{name}")]

    def prepare(
        self,
        student: nn.Module,
        teacher: nn.Module,
        input_shape: Sequence[int] | None,
        seed: int = 0,
        labels: Tensor | None = None,
        example: Arguments | None = None,
    ) -> None:
        """Makes what the objectives learn; before the optimizer exists, and without drawing from global random state.

        Args:
            input_shape: (C, H, W) of an example; only objectives on features need it.
            seed: of what is drawn.
            labels: of all training examples, where batches carry their numbers.
            example: what networks can be asked with, where that is not one tensor of that shape.
        """
        if isinstance(self.noise, TeacherNoise):
            self.noise.seed = seed
        if self.reads_features and input_shape is None:
            raise UserError(
                f"kd.objectives: {', '.join(self.parts)} must know how large features are; "
                "give DistillationModule an input_shape, such as (1, 28, 28)"
            )
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            for one in self.parts.values():
                one.prepare(student, teacher, Setting(input_shape or (), labels, seed, example))

    @contextmanager
    def watching(
        self,
        student: nn.Module,
        teacher: nn.Module,
        progress: float = 0.0,
        indices: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Iterator[None]:
        """Inside it, a pass of both networks and then `forward`, which reads the features of that pass.

        Args:
            progress: how much of training is done, 0 to 1.
            indices: (N,) int64, the numbers of the examples among all that are trained on.
            mask: (N, L), 0 where an example that is shorter than others has ended.
        """
        active = {name: one for name, one in self.parts.items() if one.weight and progress < one.until}
        read = [one.sources(student, teacher) for one in active.values()]
        with (
            capture_outputs(student, [name for names, _ in read for name in names]) as own,
            capture_outputs(teacher, [name for _, names in read for name in names]) as given,
        ):
            self._watched = Watched(active, own, given, indices, progress, mask)
            try:
                yield
            finally:
                self._watched = NOTHING

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Tensor:
        if self.noise is not None:
            teacher_logits = self.noise(teacher_logits)
        loss = self.logit(student_logits, teacher_logits, labels)
        shown = Shown(student_logits, teacher_logits, labels, *self._watched[1:])
        for name, one in self._watched.objectives.items():
            value = one.value(shown)
            self._values.setdefault(name, []).append(value.detach())
            loss = loss + one.weight * value
        return loss

    def epoch_state(self) -> dict[str, Tensor]:
        """What the objectives came to since they were asked last, for a checkpoint within an epoch."""
        return {name: torch.stack(values).cpu() for name, values in self._values.items()}

    def load_epoch_state(self, state: Mapping[str, Tensor], device: torch.device) -> None:
        self._values = {name: [*values.to(device)] for name, values in state.items()}

    def scalars(self) -> dict[str, float]:
        """The mean of each objective, unweighted, over the batches since this was asked last, as `objective/vid`."""
        means = {f"objective/{name}": float(torch.stack(values).mean()) for name, values in self._values.items()}
        self._values.clear()
        return means
