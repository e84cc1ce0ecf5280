"""Where the configuration's files lie, and what can be chosen there, without composing anything."""

from __future__ import annotations

from pathlib import Path


def folder() -> Path:
    """The folder of the configuration: beside `src` in a checkout, inside the package in a wheel."""
    package = Path(__file__).parents[1]
    inside = package / "conf"
    return inside if inside.is_dir() else package.parents[1] / "conf"


def choices_by_group() -> dict[str, list[str]]:
    """The choices of each group of the run's, both in order; Hydra's own groups are left out."""
    groups: dict[str, list[str]] = {}
    for path in sorted(folder().rglob("*.yaml")):
        group = path.parent.relative_to(folder()).as_posix()
        if group != "." and group.partition("/")[0] != "hydra":
            groups.setdefault(group, []).append(path.stem)
    return dict(sorted(groups.items()))
