"""Going on with a single run: in its folder, with its command."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, ListConfig

from lcomp.config import quoting
from lcomp.errors import UserError
from lcomp.record.containers import plain_list
from lcomp.record.limits import Refused
from lcomp.record.point_key import DIGEST, canonical_point
from lcomp.record.redaction import redacted
from lcomp.record.result import FILE_NAME, read_result
from lcomp.record.run_folders import MANIFEST
from lcomp.record.untrusted import read_yaml

NOTE = Path(".hydra") / "overrides.yaml"
HYDRAS = Path(".hydra") / "hydra.yaml"
TYPED_ALONE = ("_target_", "${", "***")  # what a folder may name code, or the environment, with, and hidden values


def find_run(value: str) -> Path:
    """The folder of the run that `resume=` names: a folder, or `last`, the newest under multirun.

    Raises:
        UserError: there is none, it is a sweep's, or the run has ended.
    """
    if value == "last":
        notes = list(Path("multirun").glob(f"*/{NOTE}"))
        if not notes:
            raise UserError("resume=last: no run under multirun; name its folder, or add -m to go on with a sweep")
        folder = max(notes, key=lambda path: path.stat().st_mtime).parents[1]
    else:
        folder = Path(value)
    for sweep in (folder, folder.parent):
        if (sweep / MANIFEST).exists():
            raise UserError(f"{quoting.resume_advice(folder)}: belongs to a sweep; add -m, as in resume={sweep} -m ...")
    if not (folder / NOTE).is_file():
        raise UserError(
            f"{quoting.resume_advice(folder)}: no run there ({NOTE} is missing); name a run's folder, or last"
        )
    try:
        result = read_result(folder / FILE_NAME)
    except (OSError, Refused):  # killed before it left one
        return folder
    if result.is_final:
        raise UserError(f"{quoting.resume_advice(folder)}: that run has ended ({result.status}); its record is there")
    return folder


def overrides_of(folder: Path, typed: Sequence[str]) -> list[str]:
    """The overrides to go on with in `folder`: those that are typed, or its own where none are.

    Its own are only taken where they choose among what lcomp has: what lies in a folder names no code.

    Raises:
        UserError: those that are typed are others; its own must be typed; none can be read.
    """
    own, flags = recorded_overrides(folder), recorded_flags(folder)
    command = quoting.shell_command([*own, f"resume={folder}"], flags)
    given = [one for one in typed if not one.lstrip("+~").startswith(("hydra.", "hydra/"))]
    if given:
        before, now = (Counter(one for one in canonical_point(point) if one[:1] != DIGEST) for point in (own, given))
        if before != now:
            lacking, more = ", ".join(before - now) or "nothing", ", ".join(now - before) or "nothing"
            raise UserError(
                f"{quoting.resume_advice(folder)}: that run was another one; it had {lacking}, and the command has "
                f"{more}; to go on: {command}"
            )
        return list(typed)
    for one in own:
        if one.startswith(("+", "~", "hydra")) or any(part in one for part in TYPED_ALONE) or flags:
            raise UserError(
                f"{quoting.resume_advice(folder)}: its command is not taken from its folder; type it: {command}"
            )
    return [*typed, *own]


def recorded_overrides(folder: Path) -> list[str]:
    try:
        written = read_yaml(folder / NOTE)
    except (OSError, Refused) as error:
        raise UserError(str(error)) from error
    if not isinstance(written, ListConfig):
        raise UserError(f"{folder / NOTE}: no list of overrides; start the run anew")
    return [str(one) for one in plain_list(written)]


def recorded_flags(folder: Path) -> list[str]:
    """The flags by which the run found its configuration."""
    try:
        written = read_yaml(folder / HYDRAS)
    except (OSError, Refused):
        return []
    hydra = written.get("hydra") if isinstance(written, DictConfig) else None
    return quoting.recorded_search_flags(hydra)


def resume_command(overrides: Sequence[str], folder: Path, flags: Sequence[str]) -> str:
    """The command that goes on with the run in `folder`."""
    return quoting.shell_command([*redacted(list(overrides)), f"resume={folder}"], flags)
