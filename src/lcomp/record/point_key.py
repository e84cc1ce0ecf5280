"""When two points of a sweep are one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import lru_cache

from lcomp.record import redaction

DIGEST = "#"  # what the digest of secrets begins with


def canonical_point(point: Iterable[str], hidden: str | None = None) -> tuple[str, ...]:
    """What two runs of one point have in common: its overrides in one form, without secrets, and a digest of these.

    Args:
        hidden: the digest, of a point that was written without its secrets.
    """
    known = redaction.environment_secrets()
    pairs = [(given, redaction.redacted_override(given, known)) for given in (one.replace("\\:", ":") for one in point)]
    secrets = sorted(secret_digest(given) for given, shown in pairs if shown != given)
    digests = [DIGEST + "".join(secrets)] if secrets else [hidden] if hidden else []
    return (*sorted(canonical_override(shown) for _, shown in pairs), *digests)


def hidden_digest(point: Iterable[str]) -> str | None:
    """The digest of a point's secrets, for a record of it that has none; None where it has none itself."""
    last = canonical_point(point)[-1:]
    return last[0] if last and last[0].startswith(DIGEST) else None


@lru_cache(1 << 12)
def secret_digest(override: str) -> str:
    """What tells one secret from another and says no more: too short to have one value, too slow to try many."""
    return hashlib.scrypt(override.encode(), salt=b"lcomp", n=1 << 13, r=8, p=1, dklen=4).hex()


def canonical_override(override: str) -> str:
    """The override with its number, if it is one, in one form: 3 and 3.0 are one point."""
    name, _, value = override.partition("=")
    try:
        return f"{name}={float(value):.12g}"
    except ValueError:
        return override
