"""The folders of sweeps and of their runs, and the records in them."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from lcomp.errors import UserError
from lcomp.record.interruption import is_interruption
from lcomp.record.limits import Refused
from lcomp.record.plain import PlainValue
from lcomp.record.result import FILE_NAME, Result, read_result
from lcomp.record.untrusted import read_json

log = logging.getLogger("lcomp")
MANIFEST = "sweep.json"
NUMBER = re.compile("[0-9]{1,9}")  # what a run's folder is called
INTERRUPTED = "interrupted: the process ended before the run did"


class RecordedRun(NamedTuple):
    """A run that a sweep's folder has a record of."""

    folder: Path
    result: Result

    @property
    def was_tried(self) -> bool:
        """Whether it counts as a try: not when the user or the machine, not the run, ended it."""
        return not is_interruption(self.result.error)


def numbered_folders(folder: Path) -> list[Path]:
    """The folders of a sweep's runs, in the order of their numbers."""
    folders = [path for path in folder.iterdir() if NUMBER.fullmatch(path.name) and path.is_dir()]
    return sorted((path for path in folders if not path.is_symlink()), key=lambda path: (int(path.name), path.name))


def recorded_runs(folder: Path) -> list[RecordedRun]:
    """The runs that have a record, in the order of their numbers; one that cannot be read is named and left out."""
    recorded = []
    for path in numbered_folders(folder):
        try:
            recorded.append(RecordedRun(path, read_result(path / FILE_NAME)))
        except FileNotFoundError:
            continue
        except (OSError, Refused) as error:
            log.warning("%s; the run is left out", error)
    return recorded


def latest_by_point(recorded: Sequence[RecordedRun]) -> list[RecordedRun]:
    """The last run of each point: one that was tried again counts once, one that ended before it was known which point
    it was not at all."""
    known = [run for run in recorded if run.result.overrides or (run.was_tried and run.result.error != INTERRUPTED)]
    return list({run.result.point: run for run in known}.values())


def plan_in_manifest(manifest: Path) -> Mapping[str, PlainValue]:
    """The plan of the sweep that it is the manifest of.

    Raises:
        Refused: it is no manifest.
    """
    content = read_json(manifest)
    plan = content.get("plan") if isinstance(content, dict) else None
    if not isinstance(plan, dict):
        raise Refused(f"{manifest}: no manifest of a sweep (no plan in it); start the sweep anew")
    return plan


def latest_sweep(asked: str = "resume=last") -> str:
    """The folder of the newest sweep under multirun.

    Args:
        asked: what asks for it, in the message.

    Raises:
        UserError: there is none.
    """
    sweeps = [path.parent for path in Path("multirun").glob(f"*/{MANIFEST}")]
    newest = max(sweeps, key=lambda path: (path / MANIFEST).stat().st_mtime, default=None)
    if newest is None:
        raise UserError(f"{asked}: no sweep under multirun; name its folder")
    return str(newest)
