"""A whole split as arrays, to be measured on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]  # by the names of a task's inputs, each of its own type
Labels = NDArray[Any]  # int64 classes, or what another task has


@dataclass(frozen=True)
class Split:
    """Inputs (N, ...) and labels (N, ...) of every example."""

    inputs: Arrays
    labels: Labels

    @property
    def pixels(self) -> NDArray[np.float32]:
        """Of images: (N, C, H, W) in [0, 1]."""
        return self.inputs["pixels"]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Splits:
    """What a run is measured on."""

    validation: Split
    test: Split


def part(inputs: Arrays, rows: slice) -> Arrays:
    """Some of the examples."""
    return {name: values[rows] for name, values in inputs.items()}
