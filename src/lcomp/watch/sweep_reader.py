"""What lies in a sweep's folder, read again only where it has changed."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from lcomp.errors import UserError, terminal
from lcomp.record.result import FILE_NAME, Result
from lcomp.record.run_folders import MANIFEST, NUMBER
from lcomp.report.runs import read_record
from lcomp.sweeps.broken_files import read_overrides

Stamp = tuple[int, int, int]  # of a file's content: when it was written, its size, its number


@dataclass
class RunFolder:
    """A run's folder.

    Attributes:
        path: where it lies.
        stamp: of the record that was read; None while there is none.
        result: the record; None also for one that cannot be shown.
    """

    path: Path
    stamp: Stamp | None = None
    result: Result | None = None

    @cached_property
    def point(self) -> tuple[str, ...]:
        """Of a run that has a record: what it has in common with other tries."""
        assert self.result is not None
        return self.result.point

    @cached_property
    def started(self) -> float:
        """When it began, in seconds since 1970."""
        return written(self.path / ".hydra") or written(self.path) or 0.0

    @property
    def overrides(self) -> list[str]:
        """What was asked for."""
        return self.result.overrides if self.result else self.noted_overrides

    @cached_property
    def noted_overrides(self) -> list[str]:
        return read_overrides(self.path / ".hydra" / "overrides.yaml")


@dataclass
class SweepReader:
    """One sweep.

    Attributes:
        folder, root: the sweep's, and the one that the user named, which holds it or is it.
        key: what the page calls it.
        runs: by the name of their folders, in the order of their numbers.
        changes: how often a look has found something else than the one before.
        reads: how many records were read.
    """

    folder: Path
    root: Path
    key: str
    runs: dict[str, RunFolder] = field(default_factory=dict)
    changes: int = 0
    reads: int = 0

    def look(self) -> None:
        """Reads the records that are new or were written again since the last look."""
        names, changed = self.run_names(), False
        if gone := self.runs.keys() - set(names):
            self.runs, changed = {name: run for name, run in self.runs.items() if name not in gone}, True
        for name in names:
            if name not in self.runs:
                self.runs[name] = RunFolder(self.folder / name)
            run = self.runs[name]
            found = stamp_of(f"{run.path}/{FILE_NAME}")
            if found != run.stamp:
                self.runs[name] = new = RunFolder(run.path, found)
                if found is not None:
                    new.result, self.reads = read_record(new.path / FILE_NAME), self.reads + 1
                changed = True
        if changed:
            self.runs = {name: self.runs[name] for name in names}
            self.changes += 1

    def run_names(self) -> list[str]:
        try:
            with os.scandir(self.folder) as inside:
                names = [one.name for one in inside if NUMBER.fullmatch(one.name) and one.is_dir(follow_symlinks=False)]
        except OSError:  # taken away: nothing is left to show
            return []
        return sorted(names, key=lambda name: (int(name), name))

    @property
    def recorded(self) -> list[RunFolder]:
        return [run for run in self.runs.values() if run.result is not None]

    @property
    def unrecorded(self) -> list[RunFolder]:
        """Runs that go on, or whose process was killed."""
        return [run for run in self.runs.values() if run.stamp is None]


def stamp_of(path: str) -> Stamp | None:
    """What changes when a regular file is written anew; None where there is none, through a link neither."""
    try:
        about = os.stat(path, follow_symlinks=False)
    except OSError:
        return None
    return (about.st_mtime_ns, about.st_size, about.st_ino) if stat.S_ISREG(about.st_mode) else None


def written(path: Path) -> float | None:
    """When a file or a folder was last written, in seconds since 1970; None where there is none."""
    try:
        return os.stat(path, follow_symlinks=False).st_mtime
    except OSError:
        return None


def sweeps_in(root: Path) -> list[Path]:
    """The folder itself where it is a sweep's, else the sweeps that lie in it."""
    if stamp_of(f"{root}/{MANIFEST}"):
        return [root]
    try:
        with os.scandir(root) as inside:
            names = [one.name for one in inside if one.is_dir(follow_symlinks=False)]
    except OSError:
        return []
    return [root / name for name in sorted(names) if stamp_of(f"{root}/{name}/{MANIFEST}")]


def check_sweeps(roots: Sequence[Path]) -> None:
    """Raises UserError for a folder in which no sweep lies."""
    for root in roots:
        if not root.is_dir():
            raise UserError(f"{terminal(root)}: no folder; name a sweep's, or multirun")
        if not sweeps_in(root):
            raise UserError(
                f"{terminal(root)}: no sweep in it ({MANIFEST} is missing); name a sweep's folder, or multirun"
            )
