"""What a class that prunes hands on to `Pruning`, and what `Pruning` refuses."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TypedDict

from lcomp.errors import UserError
from lcomp.techniques.pruning.criteria import Criterion
from lcomp.techniques.technique import fits


class PruningSettings(TypedDict, total=False):
    """Arguments of `Pruning` but its sparsity."""

    initial_sparsity: float
    begin: float
    end: float
    interval: int
    schedule: Callable[[float, float, float], float]
    criterion: Criterion
    scope: str
    sparsities: Mapping[str, float] | None
    exclude: Sequence[str]


class AllPruningSettings(PruningSettings, total=False):
    """Arguments of `Pruning`."""

    sparsity: float


def check_shares(sparsity: float, initial_sparsity: float, sparsities: Mapping[str, float]) -> None:
    """Raises UserError for a sparsity, of all or of single layers, that is no share of the weights."""
    single = {f"sparsities.{name}": value for name, value in sparsities.items()}
    for key, value in {"sparsity": sparsity, "initial_sparsity": initial_sparsity, **single}.items():
        if not 0 <= value < 1:
            likely = f"; {value / 100:g}?" if 2 <= value < 100 else ""
            raise UserError(f"prune.{key}={value}: a share of the weights, from 0 to below 1{likely}")
    if initial_sparsity > sparsity:
        raise UserError(f"prune.initial_sparsity={initial_sparsity} is above prune.sparsity={sparsity}")


def check_own_sparsities(sparsities: Collection[str], left_alone: Mapping[str, str]) -> None:
    """Raises UserError for a sparsity of a layer that is left alone."""
    for pattern in sparsities:
        for name, reason in left_alone.items():
            if fits(name, pattern):
                raise UserError(f"prune.sparsities.{pattern}: {name} cannot be pruned ({reason})")
