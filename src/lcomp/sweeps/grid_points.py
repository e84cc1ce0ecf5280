"""Points of a grid: which stand for all, and what of them makes no difference."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lcomp.config.run_config import CHOSEN, FAMILIES


def representative_points(points: Iterable[Sequence[str]]) -> list[Sequence[str]]:
    """Points in which each override stands beside each choice that it is swept with: a key is one of a single group, so
    if these can be composed, all can."""
    seen: set[tuple[str, str]] = set()
    chosen = []
    for point in points:
        choices = [override for override in point if is_choice(override)] or [""]
        pairs = {(choice, override) for choice in choices for override in point}
        if not pairs <= seen or not point:
            seen |= pairs
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
