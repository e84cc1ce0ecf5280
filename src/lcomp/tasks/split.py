"""A whole split as arrays, to be measured on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]  # by the names of a task's inputs, each of its own type
Labels = NDArray[Any]  # int64 classes, or what another task has
MASK = "attention_mask"  # the name of an input (N, L), 0 where an example that is shorter than others has ended


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
    """Some of the examples, as long as the longest of them."""
    some = {name: values[rows] for name, values in inputs.items()}
    if MASK not in some:
        return some
    width, longest = some[MASK].shape[1], max(1, int(np.flatnonzero(some[MASK].any(0)).max(initial=0)) + 1)
    return {
        name: np.ascontiguousarray(values[:, :longest]) if values.shape[1:2] == (width,) else values
        for name, values in some.items()
    }


def joined(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Batches (n, ...) one after another; those that are shorter than others end with zeros."""
    sizes = np.array([one.shape[1:] for one in parts])
    if (sizes == sizes[0]).all():
        return np.concatenate(parts)
    whole = np.zeros((sum(map(len, parts)), *sizes.max(0)), parts[0].dtype)
    start = 0
    for one in parts:
        whole[(slice(start, start + len(one)), *map(slice, one.shape[1:]))] = one
        start += len(one)
    return whole
