"""`lcomp --help`: what Hydra would print, from the same files, without Hydra."""

from __future__ import annotations

import os
import pkgutil
import string
import sys
from pathlib import Path

import yaml

import hydra_plugins
from lcomp.config.choices import choices_by_group, folder

TEMPLATE = Path("hydra/help/lcomp.yaml")
PLUGINS = ("lcomp_", "hydra_ray_launcher", "hydra_submitit_launcher")  # of which none brings choices of a run


def is_plain(typed: list[str]) -> bool:
    """Whether a command line asks for the choices that lcomp's own files have: it names no others, and no package is
    installed whose plugin may bring some."""
    return typed in (["--help"], ["-h"]) and all(
        plugin.name.startswith(PLUGINS) for plugin in pkgutil.iter_modules(hydra_plugins.__path__)
    )


def help_text() -> str:
    """The help of the command line, as Hydra makes it of its template."""
    words = yaml.safe_load((folder() / TEMPLATE).read_text(encoding="utf-8"))
    template = words["template"]
    for part in ("header", "footer"):
        template = template.replace(f"${{hydra.help.{part}}}", words[part])
    groups = "".join(f"{group}: {', '.join(choices)}\n" for group, choices in choices_by_group().items())
    return string.Template(template).substitute(APP_CONFIG_GROUPS=groups)


def print_help() -> int:
    """Prints the help; returns the exit code."""
    try:
        print(help_text(), flush=True)
    except BrokenPipeError:
        return closed_output()
    return 0


def closed_output() -> int:
    """The exit code where whoever read the output, such as `head`, has enough; nothing more is written to it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1
