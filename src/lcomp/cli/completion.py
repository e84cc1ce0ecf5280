"""What a shell asks when Tab is pressed: the line so far, in the words that Hydra completes."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from lcomp.cli import shorthand
from lcomp.cli.subcommands import SUBCOMMANDS
from lcomp.errors import UserError


def is_asked(typed: Sequence[str]) -> bool:
    """Whether the arguments are those that a shell asks with, `-sc query=bash`."""
    return "-sc" in typed and any(word.startswith("query=") for word in typed)


def explicit(line: str) -> str | None:
    """The line to complete with its short forms written out, as `shorthand.expand` does with one that is carried out.

    Hydra completes keys of chosen techniques only, and nothing after a word that it does not know. Of several values,
    the first one stands for all.

    Returns:
        The line, its last word as it was typed, or None where nothing can follow: subcommands take no overrides.
    """
    try:
        name, *words = shlex.split(line) or [""]
        last = words.pop() if words and not line[-1].isspace() else ""
        if words and words[0] in SUBCOMMANDS:
            return None
        asked = [] if not last or last.startswith("-") else [last if "=" in last else f"{last}="]
        found, _ = shorthand.expand([*(word for word in words if not word.startswith("resume=")), *asked])
        before = [one for word in (found[:-1] if asked else found) for one in first_value(word)]
    except (UserError, HydraException, ValueError):  # which running the line says
        return None
    return " ".join([name, *(word for word in before if not any(map(str.isspace, word))), last])


def first_value(word: str) -> list[str]:
    """A flag or an override of one value as it is; of several values the first; nothing for a range."""
    if "=" not in word or word.startswith("-"):
        return [word]
    parsed = OverridesParser.create().parse_override(word)
    if not parsed.is_sweep_override():
        return [word]
    return [f"{word.partition('=')[0]}={next(parsed.sweep_string_iterator())}"] if parsed.is_choice_sweep() else []
