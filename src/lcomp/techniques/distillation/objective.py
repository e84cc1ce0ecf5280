"""What the core asks of an objective of distillation, and never guesses."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Protocol

from torch import Tensor

from lcomp.tasks import Task


class Objective(Protocol):
    """What a student learns from: its own outputs, the teacher's (both as the task has them) and labels, to a scalar.

    A function will do, or an `nn.Module`. What else it needs it declares as attributes of these names, see
    `ObjectiveNeeds`; what it does not declare has the default there. A method `check` may refuse a task, see
    `check_task`.
    """

    def __call__(self, student_outputs: Tensor, teacher_outputs: Tensor, labels: Tensor, /) -> Tensor: ...


@dataclass(frozen=True)
class ObjectiveNeeds:
    """What an objective declares of itself.

    Attributes:
        reads: the kind of outputs that it is for, `Task.output`, such as "logits"; None: any.
        reads_features: whether the teacher itself must see every batch, not its outputs alone.
        module: the dotted name of the LightningModule that trains a student under it; None: `DistillationModule`.
        temperature: above 0, by which the logits of several teachers are softened before they are joined.
        reads_indices: whether batches must carry the numbers of their examples among all that are trained on.
    """

    reads: str | None = None
    reads_features: bool = False
    module: str | None = None
    temperature: float = 1.0
    reads_indices: bool = False


def needs_of(objective: Objective | None) -> ObjectiveNeeds:
    """What `objective` declares; of none, the defaults."""
    names = [field.name for field in fields(ObjectiveNeeds) if hasattr(objective, field.name)]
    declared = ObjectiveNeeds(**{name: getattr(objective, name) for name in names})
    # A layer of an nn.Module's own may have that name.
    return declared if isinstance(declared.module, str) else replace(declared, module=None)


def check_task(objective: Objective | None, task: Task) -> None:
    """Has an objective with a method `check` look at the task: it raises UserError for one that it cannot teach."""
    check = getattr(objective, "check", None)
    if callable(check):
        check(task)
