"""Commands that can be run as they are printed: quoted for the shell, and for Hydra what it reads after the shell."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from lcomp.composition import folder as own_folder

MADE = ("resume=", "hydra.sweep.dir=", "hydra.sweeper.resume=")  # of a command, by the one that resumes


def command(arguments: Iterable[Any], flags: Sequence[str] = ()) -> str:
    """A command of lcomp's, for a POSIX shell.

    Args:
        arguments: overrides, in Hydra's grammar.
        flags: as `flags` gives them, and `-m`.
    """
    return shlex.join(["python", "-m", "lcomp", *flags, *map(str, arguments)])


def resuming(arguments: Iterable[Any], folder: Path, flags: Sequence[str] = ()) -> str:
    """The command that goes on with the sweep in `folder`."""
    kept = [argument for argument in arguments if not str(argument).startswith(MADE)]
    return command([*kept, f"resume={folder}"], ["-m", *flags])


def resume(folder: Path | str) -> str:
    """What is added to a sweep's command to go on with it."""
    return shlex.quote(f"resume={folder}")


def value(text: str) -> str:
    """`text` as Hydra's grammar has it: as it is, where that means itself, else in quotes."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        if "$" not in text and OverridesParser.create().parse_override(f"key={text}").value() == text:
            return text
    except HydraException:
        pass
    escaped = re.sub(r"(\\*)\$\{", r"\1\1\\${", text)  # no interpolation
    escaped = re.sub(r"(\\+)(?='|$)", r"\1\1", escaped).replace("'", "\\'")
    return f"'{escaped}'"


def flags(hydra: Any) -> list[str]:
    """The flags that a command was given to find its configuration.

    Args:
        hydra: Hydra's own part of a configuration; one that says nothing of the sort has no flags.
    """
    made = []
    for source in OmegaConf.select(hydra, "runtime.config_sources") or ():
        path = str(source.get("path"))
        if source.get("schema") == "file" and source.get("provider") == "command-line":
            made += ["--config-dir", path]
        elif (
            source.get("schema") == "file" and source.get("provider") == "main" and path != str(own_folder().resolve())
        ):
            made += ["--config-path", path]
    name = OmegaConf.select(hydra, "job.config_name")
    return made + (["--config-name", str(name)] if name not in (None, "config") else [])


def search_paths(hydra: Any) -> list[str]:
    """The overrides of Hydra itself that a single run needs to find its configuration."""
    given = OmegaConf.select(hydra, "overrides.hydra")
    written: Any = () if given is None else OmegaConf.to_container(given)  # unresolved
    return [str(one) for one in written if str(one).lstrip("+").startswith("hydra.searchpath=")]
