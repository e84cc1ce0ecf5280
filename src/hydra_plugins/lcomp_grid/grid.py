"""Hydra's grid sweeper, less what makes no difference: keys of a family that is off, and points that are equal."""

from __future__ import annotations

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.types import Override

from lcomp.config import FAMILIES


class GridSweeper(BasicSweeper):
    """Every combination of the swept values, in their order; see the module."""

    @staticmethod
    def split_arguments(overrides: list[Override], max_batch_size: int | None) -> list[list[list[str]]]:
        [points] = BasicSweeper.split_arguments(overrides, None)
        seen: dict[tuple[str, ...], list[str]] = {}
        for point in points:
            active = without_inactive(point)
            seen.setdefault(tuple(canonical(override) for override in active), active)
        unique = list(seen.values())
        return list(BasicSweeper.split_overrides_to_chunks(unique, max_batch_size))


def without_inactive(point: list[str]) -> list[str]:
    """The point's overrides less those of keys that belong to a family whose choice is `none`."""
    off = tuple(f"{family}{mark}" for family in FAMILIES if f"{family}=none" in point for mark in "./")
    return [override for override in point if not (off and override.lstrip("+~").startswith(off))]


def canonical(override: str) -> str:
    """The override with its number, if it is one, in one form: 3 and 3.0 are one point."""
    key, _, value = override.partition("=")
    try:
        return f"{key}={float(value):.12g}"
    except ValueError:
        return override


SETTINGS = {"_target_": "hydra_plugins.lcomp_grid.grid.GridSweeper", "max_batch_size": None, "params": None}
ConfigStore.instance().store(group="hydra/sweeper", name="grid", node=SETTINGS, provider="lcomp")
