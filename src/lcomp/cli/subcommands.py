"""`lcomp report DIR` and its like: a first word that names a command, and the module whose `main` that is.

A module is imported when it is asked for, so that none waits for what another needs. Overrides never meet them: they
have `=` in them, or begin with `-`, `+` or `~`.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from lcomp.errors import UserError, suggestion

SUBCOMMANDS = {  # each is also `python -m lcomp.<name>`
    "report": "lcomp.report.__main__",
    "watch": "lcomp.watch.__main__",
    "summary": "lcomp.summary",
    "sensitivity": "lcomp.sensitivity",
    "pack": "lcomp.pack",
    "unpack": "lcomp.unpack",
    "c": "lcomp.c.__main__",
    "doctor": "lcomp.doctor",
}


def dispatch(name: str, arguments: Sequence[str]) -> int:
    """The exit code of a subcommand with its arguments."""
    code: int = importlib.import_module(SUBCOMMANDS[name]).main(arguments, f"{program()} {name}")
    return code


def program() -> str:
    """How lcomp was called: `lcomp`, or `python -m lcomp`."""
    name = Path(sys.argv[0]).name
    return "python -m lcomp" if name == "__main__.py" else name


def check_words(overrides: Sequence[str]) -> None:
    """Raises UserError for a word that is no override, and no subcommand where one can stand."""
    for word in overrides:
        if "=" in word or word.startswith(("-", "+", "~")):
            continue
        if word in SUBCOMMANDS:
            raise UserError(f"{word}: a subcommand stands first, as in {program()} {word} --help")
        raise UserError(
            f"{word}: neither a subcommand ({', '.join(SUBCOMMANDS)}) nor an override; write key=value, and quote what "
            f"the shell or Hydra would read: 'key=\"a=b\"'{suggestion(word, list(SUBCOMMANDS))}"
        )
