"""Commands that can be run as they are printed: quoted for the shell, and for Hydra what it reads after the shell."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import OmegaConf

from lcomp.config.choices import folder as own_folder

Kind = TypeVar("Kind", list[Any], str)
MADE = ("resume=", "hydra.sweep.dir=", "hydra.sweeper.resume=")  # of a command, by the one that resumes


def shell_command(arguments: Iterable[Any], flags: Sequence[str] = ()) -> str:
    """A command of lcomp's, for a POSIX shell.

    Args:
        arguments: overrides, in Hydra's grammar.
        flags: as `search_flags` gives them, and `-m`.
    """
    return shlex.join(["python", "-m", "lcomp", *flags, *map(str, arguments)])


def resume_command(arguments: Iterable[Any], folder: Path, flags: Sequence[str] = ()) -> str:
    """The command that goes on with the sweep in `folder`."""
    remaining = [argument for argument in arguments if not str(argument).startswith(MADE)]
    return shell_command([*remaining, f"resume={folder}"], ["-m", *flags])


def resume_advice(folder: Path | str) -> str:
    """What is added to a sweep's command to go on with it."""
    return shlex.quote(f"resume={folder}")


def quoted_value(text: str) -> str:
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


def recorded_search_flags(hydra: Any) -> list[str]:
    """The flags that a command was given to find its configuration.

    Args:
        hydra: Hydra's own part of a configuration, or what a file says that it was; one that says nothing of the sort
            has no flags.
    """
    flags = []
    for source in unresolved(hydra, "runtime", "config_sources", list):
        written = source if isinstance(source, dict) else {}
        path, provider = str(written.get("path")), written.get("provider")
        if written.get("schema") == "file" and provider == "command-line":
            flags += ["--config-dir", path]
        elif written.get("schema") == "file" and provider == "main" and path != str(own_folder().resolve()):
            flags += ["--config-path", path]
    name = unresolved(hydra, "job", "config_name", str)
    return flags + (["--config-name", name] if name not in ("", "config") else [])


def search_paths(hydra: Any) -> list[str]:
    """The overrides of Hydra itself that a single run needs to find its configuration; `hydra` as of `search_flags`."""
    given = unresolved(hydra, "overrides", "hydra", list)
    return [str(override) for override in given if str(override).lstrip("+").startswith("hydra.searchpath=")]


def unresolved(hydra: Any, part: str, key: str, kind: type[Kind]) -> Kind:
    """What Hydra's own part of a configuration says of itself, as it is written; nothing where that is of another kind:
    what somebody else wrote is not resolved, which would read this process's environment."""
    written = OmegaConf.to_container(hydra, resolve=False) if OmegaConf.is_config(hydra) else hydra
    inside = written.get(part) if isinstance(written, dict) else None
    found = inside.get(key) if isinstance(inside, dict) else None
    return found if isinstance(found, kind) else kind()
