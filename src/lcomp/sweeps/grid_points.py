"""When two points of a sweep are one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from functools import lru_cache

from lcomp.config.run_config import FAMILIES, GROUPS
from lcomp.record import redaction

DIGEST = "#"  # what the digest of secrets begins with


def key(point: Iterable[str], hidden: str | None = None) -> tuple[str, ...]:
    """What two runs of one point have in common: its overrides in one form, without secrets, and a digest of these.

    Args:
        hidden: the digest, of a point that was written without its secrets.
    """
    known = redaction.environment()
    pairs = [(given, redaction.override(given, known)) for given in (one.replace("\\:", ":") for one in point)]
    secrets = sorted(digest(given) for given, shown in pairs if shown != given)
    kept = [DIGEST + "".join(secrets)] if secrets else [hidden] if hidden else []
    return (*sorted(canonical(shown) for _, shown in pairs), *kept)


def hidden(point: Iterable[str]) -> str | None:
    """The digest of a point's secrets, for a record of it that has none; None where it has none itself."""
    last = key(point)[-1:]
    return last[0] if last and last[0].startswith(DIGEST) else None


@lru_cache(1 << 12)
def digest(override: str) -> str:
    """What tells one secret from another and says no more: too short to have one value, too slow to try many."""
    return hashlib.scrypt(override.encode(), salt=b"lcomp", n=1 << 13, r=8, p=1, dklen=4).hex()


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
