"""The one exception for what the user can mend, and how it names what is nearest."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from lcomp.escaping import terminal

NEAR = 0.7  # of two words, twice the letters that agree over all letters: a slip or two, not another word


class UserError(Exception):
    """Bad input: the message names the key or file, what was seen, what is allowed and what to do next."""

    def __str__(self) -> str:
        return terminal(super().__str__())  # whatever was seen


class TrialPruned(Exception):
    """A search gave a run up: at this epoch others were better."""


def suggestion(value: str, allowed: Sequence[str]) -> str:
    """`; did you mean X?` for the one of `allowed` that is near, or has `value` for one of its words, or nothing; what
    stands before a key's last dot in all of them says nothing of nearness."""
    prefix = value[: value.rfind(".") + 1]
    names, name = {candidate.removeprefix(prefix): candidate for candidate in allowed}, value.removeprefix(prefix)
    containing = [candidate for candidate in names if name in candidate.split("_")]
    close = difflib.get_close_matches(name, names, 1, NEAR) or (containing if len(containing) == 1 else [])
    return f"; did you mean {names[close[0]]}?" if close else ""


def validate_choice(key: str, value: str, allowed: Sequence[str]) -> None:
    """Raises UserError unless `value` is one of `allowed`."""
    if value not in allowed:
        raise UserError(f"{key}={value}: allowed are {', '.join(allowed)}{suggestion(str(value), allowed)}")
