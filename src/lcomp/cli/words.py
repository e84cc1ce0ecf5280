"""Overrides as Python has them, in the words of the command line."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lcomp.cli.shorthand import SWEEP_KEYS
from lcomp.config import quoting
from lcomp.errors import UserError

SETTINGS = ("launcher.", "sweeper.", "sampler.", "pruner.", "constraint.", "hydra.", "hydra/")
Overrides = Mapping[str, Any] | Sequence[str] | None  # {"prune.sparsity": 0.9}, or ["prune.sparsity=0.9"]


def words_of(overrides: Overrides, keywords: Mapping[str, Any], swept: bool) -> list[str]:
    """The words of a command line.

    Args:
        overrides: keys and values, or the words themselves.
        keywords: further keys and values.
        swept: whether a list has the values of a sweep; else it is one value, a list.

    Raises:
        UserError: a key twice, or a value that has no word.
    """
    if isinstance(overrides, str):
        raise UserError(f"{overrides!r}: overrides are a dictionary, or a list of words such as [{overrides!r}]")
    given = dict(overrides) if isinstance(overrides, Mapping) else {}
    words = [str(one) for one in overrides or ()] if not isinstance(overrides, Mapping) else []
    if twice := sorted(given.keys() & keywords.keys()):
        raise UserError(f"{twice[0]}: given twice, among the overrides and by keyword; leave one out")
    return words + [word(str(key), value, swept) for key, value in {**given, **keywords}.items()]


def word(key: str, value: Any, swept: bool) -> str:
    """`key=value`; a text is Hydra's grammar, as on the command line: "interval(0.5,0.9)", "none,qat"."""
    value = plain(value)
    if isinstance(value, str):
        return f"{key}={value}"
    several = swept and isinstance(value, list | tuple | range) and not is_setting(key)
    if several and isinstance(value, range):
        return f"{key}=range({value.start},{value.stop},{value.step})"
    if several and not value:
        raise UserError(f"{key}=[]: a sweep over no value; name one or more")
    return f"{key}=" + (",".join(element(key, one) for one in value) if several else element(key, value))


def is_setting(key: str) -> bool:
    """Whether a key sets up a sweep or Hydra, and is not swept itself."""
    return key in (*SWEEP_KEYS, "launcher") or key.startswith(SETTINGS)


def element(key: str, value: Any) -> str:
    """One value, in Hydra's grammar; a text means itself.

    Raises:
        UserError: there is no word for it.
    """
    value = plain(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, str):
        return quoting.quoted_value(value)
    if isinstance(value, Path):
        return quoting.quoted_value(str(value))
    if isinstance(value, list | tuple | range):
        return "[" + ",".join(element(key, one) for one in value) + "]"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{name}:{element(key, one)}" for name, one in value.items()) + "}"
    if callable(value) and hasattr(value, "__qualname__"):
        return imported_name(key, value)
    raise UserError(
        f"{key}={value!r}: a {type(value).__name__} cannot be said on a command line; give a number, a text, a list, "
        "a dictionary, or a class that can be imported"
    )


def plain(value: Any) -> Any:
    """NumPy's, torch's and pandas' numbers and arrays as Python's own."""
    return value.tolist() if hasattr(value, "tolist") else value


def imported_name(key: str, made: Any) -> str:
    """The name by which another process finds a class or function.

    Raises:
        UserError: it is defined in the script or notebook itself, or inside a function.
    """
    found: Any = sys.modules.get(made.__module__)
    for part in made.__qualname__.split("."):
        found = getattr(found, part, None)
    if made.__module__ == "__main__" or found is not made:
        raise UserError(
            f"{key}={made.__qualname__}: runs are processes of their own, which cannot import it from "
            f"{made.__module__}; move it into a module (a .py file beside this one)"
        )
    return f"{made.__module__}.{made.__qualname__}"
