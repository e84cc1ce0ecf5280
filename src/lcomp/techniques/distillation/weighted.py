"""One term of what a student learns from a teacher: its weight, when it acts, and what it is shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lcomp.errors import UserError
from lcomp.techniques.example import Arguments
from lcomp.techniques.schedule import Window


class Setting(NamedTuple):
    """What is known before training.

    Attributes:
        input_shape: of an example, such as (C, H, W); empty where nobody said.
        example: what networks can be asked with; None: zeros of that shape.
        labels: of all training examples, (examples,) int64, by the numbers that batches carry; None: they carry none.
        seed: of what is drawn.
    """

    input_shape: Sequence[int] = ()
    labels: Tensor | None = None
    seed: int = 0
    example: Arguments | None = None

    def arguments(self, network: nn.Module) -> Arguments:
        """What `network` is called with to see what its layers give, where it is."""
        device = next((p.device for p in network.parameters()), torch.device("cpu"))
        given = (torch.zeros(1, *self.input_shape),) if self.example is None else self.example
        return tuple(tensor.to(device) for tensor in given)


class Shown(NamedTuple):
    """What there is of one batch.

    Attributes:
        student_outputs, teacher_outputs: (N, classes).
        labels: (N,) classes, or shares of them (N, classes).
        student, teacher: what layers of the two networks gave, by the names of `capture_outputs`.
        indices: (N,) int64, the numbers of the examples; None where the batch carries none.
        progress: how much of training is done, 0 to 1.
        mask: (N, L), 0 where an example that is shorter than others has ended; None: they all have one length.
    """

    student_outputs: Tensor
    teacher_outputs: Tensor
    labels: Tensor
    student: dict[str, Tensor]
    teacher: dict[str, Tensor]
    indices: Tensor | None
    progress: float
    mask: Tensor | None = None


class WeightedObjective(nn.Module):
    """A loss with a weight in the whole; a subclass says in `value` what it is of a batch.

    Args:
        weight: of the loss in the sum of objectives, 0 or more.
        until: the share of training, above 0 to 1, after which the objective is off.

    Raises:
        UserError: a weight below 0, or `until` outside its range.
    """

    key = "kd.objectives"  # of the objective, as the user writes it
    reads_features = False  # True: of layers of both networks, not of their outputs alone
    reads_indices = False  # True: of the examples of a batch among all of them
    rises = False  # True: it depends on how much of training is done

    def __init__(self, weight: float, until: float = 1.0):
        super().__init__()
        self.weight, self.until = self.number("weight", weight), until
        if isinstance(until, bool) or not isinstance(until, int | float) or not 0 < until <= 1:
            raise UserError(f"{self.key}.until={until}: a share of training, above 0 to 1")

    def number(self, name: str, value: float) -> float:
        """`value`, which must be a number, 0 or more."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
            raise UserError(f"{self.key}.{name}={value}: must be a number, 0 or more")
        return value

    def windows(self, key: str) -> list[Window]:
        """In which parts of training it acts, where that is not all of it.

        Args:
            key: of this objective among others.
        """
        if self.until == 1:
            return []
        return [Window(f"{key}.until={self.until:.3g}", 0.0, self.until, 2, "the objective acts in one step alone")]

    def prepare(self, student: nn.Module, teacher: nn.Module, setting: Setting) -> None:
        """Makes what is learned or remembered, as if there had been no training before."""

    def sources(self, student: nn.Module, teacher: nn.Module) -> tuple[Sequence[str], Sequence[str]]:
        """Which layers of the two networks it reads, by the names of `capture_outputs`."""
        return (), ()

    def value(self, shown: Shown) -> Tensor:
        """The loss, without its weight."""
        raise NotImplementedError


def classes(labels: Tensor) -> Tensor:
    """(N,) classes: the largest of each example's where its label is shares of them."""
    return labels.argmax(1) if labels.dim() == 2 else labels
