"""Points of a grid: which there are, which stand for all, and what of them makes no difference."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.types import Override

from lcomp.config.run_config import CHOSEN, FAMILIES
from lcomp.record.plain import PlainValue
from lcomp.record.point_key import DIGEST, canonical_point


def points_by_key(overrides: list[Override]) -> dict[tuple[str, ...], list[str]]:
    """The points of a grid, each once, by what makes it the point it is."""
    [points] = BasicSweeper.split_arguments(overrides, None)
    by_point: dict[tuple[str, ...], list[str]] = {}
    for point in points:
        active = without_inactive(point)
        by_point.setdefault(canonical_point(active), active)
    return by_point


def swept_values(points: Iterable[tuple[str, ...]]) -> dict[str, PlainValue]:
    """The points of a grid, by the keys that are swept."""
    values: dict[str, dict[str, None]] = {}
    for point in points:
        for override in point:
            name, _, value = override.partition("=")
            if override.startswith(DIGEST):
                name, value = "hidden values", override
            values.setdefault(name, {})[value] = None
    return {name: list(options) for name, options in values.items()}


def representative_points(points: Iterable[Sequence[str]]) -> list[Sequence[str]]:
    """Points in which each override stands beside each choice that it is swept with: a key is one of a single group, so
    if these can be composed, all can."""
    covered: set[tuple[str, str]] = set()
    chosen = []
    for point in points:
        choices = [override for override in point if is_choice(override)] or [""]
        pairs = {(choice, override) for choice in choices for override in point}
        if not pairs <= covered or not point:
            covered |= pairs
            chosen.append(point)
    return chosen


def is_choice(override: str) -> bool:
    """Whether an override chooses a file of a group, rather than a value."""
    name = override.lstrip("+~").partition("=")[0].partition("@")[0]
    return "/" in name or name in (*CHOSEN, "experiment")


def without_inactive(point: Sequence[str]) -> list[str]:
    """The point's overrides less those of keys that belong to a family whose choice is `none`."""
    off = tuple(f"{family}{mark}" for family in FAMILIES if f"{family}=none" in point for mark in "./")
    return [override for override in point if not (off and override.lstrip("+~").startswith(off))]
