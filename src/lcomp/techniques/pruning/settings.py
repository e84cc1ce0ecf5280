"""What a class that prunes hands on to `Pruning`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypedDict

from torch import Tensor

from lcomp.techniques.pruning.criteria import GradientCriterion


class PruningSettings(TypedDict, total=False):
    """Arguments of `Pruning` but its sparsity."""

    initial_sparsity: float
    begin: float
    end: float
    interval: int
    schedule: Callable[[float, float, float], float]
    criterion: Callable[[Tensor], Tensor] | GradientCriterion
    scope: str
    sparsities: Mapping[str, float] | None
    exclude: Sequence[str]


class AllPruningSettings(PruningSettings, total=False):
    """Arguments of `Pruning`."""

    sparsity: float
