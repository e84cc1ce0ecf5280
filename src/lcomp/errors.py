"""The one exception for what the user can mend, how it names what is nearest, and what installs a missing package."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec

NEAR = 0.7  # of two words, twice the letters that agree over all letters: a slip or two, not another word
UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def terminal(text: object) -> str:
    """Text whose control characters, and those that turn the direction of writing, are shown and not obeyed."""
    return UNSEEN.sub(lambda match: ascii(match[0])[1:-1], str(text))


class UserError(Exception):
    """Bad input: the message names the key or file, what was seen, what is allowed and what to do next."""

    def __str__(self) -> str:
        return terminal(super().__str__())  # whatever was seen


@contextmanager
def needing(extra: str, what: str, instead: str = "") -> Iterator[None]:
    """Imports within are of packages that an extra of lcomp's installs.

    Args:
        what: needs them, such as `model=timm`.
        instead: what does without them.

    Raises:
        UserError: one is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise UserError(missing_package(extra, what, instead)) from error


def check_installed(extra: str, what: str, *modules: str, instead: str = "") -> None:
    """Raises UserError, as `needing` would, where a module of an extra's is missing; imports none."""
    if any(find_spec(module) is None for module in modules):
        raise UserError(missing_package(extra, what, instead))


def missing_package(extra: str, what: str, instead: str = "") -> str:
    """What is said where a package of an extra is missing."""
    return f"{what}: needs a package: pip install 'lcomp[{extra}]'{instead and f'; {instead}'}"


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
