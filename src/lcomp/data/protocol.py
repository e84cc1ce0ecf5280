"""What the core asks of data, and never guesses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from torch import Tensor

from lcomp.tasks import Loader, Task


class Data(Protocol):
    """A DataModule, set up. A user's own needs the three loaders alone; `loaders.set_up` adds what it lacks.

    Attributes:
        task: what its batches mean.
        eval_perturbations: what an artifact is measured on besides clean test examples: perturbations to severities, by
            a key of the user's.
        mnist_c_root: the folder of the published MNIST-C, or None.
    """

    task: Task
    eval_perturbations: Mapping[str, Mapping[str, int]]
    mnist_c_root: Path | None

    def train_dataloader(self) -> Loader: ...

    def val_dataloader(self) -> Loader: ...

    def test_dataloader(self) -> Loader: ...

    def further_dataloaders(self) -> Mapping[str, Loader]:
        """Labelled examples that an artifact is measured on beside the test split, by name."""
        ...

    def carry_outputs(self, teacher: Callable[..., Tensor]) -> bool:
        """Makes each training batch carry the teacher's outputs as its last tensor; False where it cannot, and must
        call the teacher itself."""
        ...

    def carry_indices(self) -> Tensor | None:
        """Makes each training batch carry, as its last tensor, the numbers (N,) of its examples, int64 from 0; returns
        the labels of all examples by these numbers, or None where it cannot number them."""
        ...
