"""What shows a run fails without costing it anything."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger("lcomp")
said: set[tuple[str, str]] = set()  # what was said not to be shown, and by whom, in this process


@contextmanager
def without_errors(what: str = "this", who: str = "W&B") -> Iterator[None]:
    """Says the first time what failed, and lets nothing through but an interruption."""
    try:
        yield
    except Exception as error:
        if (who, what) not in said:
            said.add((who, what))
            cause = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            log.warning(
                "%s does not show %s (%s); the record holds it all; logger=none does without %s", who, what, cause, who
            )
