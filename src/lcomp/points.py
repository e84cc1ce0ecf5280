"""When two points of a sweep are one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lcomp.config import FAMILIES, GROUPS
from lcomp.redact import text


def key(point: Iterable[str]) -> tuple[str, ...]:
    """What two runs of one point have in common: its overrides in one form, as they stand in records: no secrets."""
    return tuple(sorted(canonical(text(override.replace("\\:", ":"))) for override in point))


def covering(points: Iterable[Sequence[str]]) -> list[Sequence[str]]:
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
    return "/" in name or name in (*GROUPS, "trainer", "experiment", "logger")


def canonical(override: str) -> str:
    """The override with its number, if it is one, in one form: 3 and 3.0 are one point."""
    name, _, value = override.partition("=")
    try:
        return f"{name}={float(value):.12g}"
    except ValueError:
        return override


def without_inactive(point: Sequence[str]) -> list[str]:
    """The point's overrides less those of keys that belong to a family whose choice is `none`."""
    off = tuple(f"{family}{mark}" for family in FAMILIES if f"{family}=none" in point for mark in "./")
    return [override for override in point if not (off and override.lstrip("+~").startswith(off))]
