"""Results that are found again instead of run again."""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from lcomp.record.environment import cpu
from lcomp.record.files import CHECKSUM_KEY, Damaged, sha256
from lcomp.record.result import FILE_NAME, LATENCIES, Result, read_verified

log = logging.getLogger("lcomp")
NAMES = ("config_hash", "code_hash", CHECKSUM_KEY)
NAMED = re.compile(rf'(?m)^  "({"|".join(NAMES)})": "([^"\\]*)"')  # in a record as `with_checksum` writes it
ADOPTED = (
    "params",
    "environment",
    "metrics",
    "baseline",
    "artifact",
    "files",
    "seconds",
    "steps",
    "epochs",
    "best_epoch",
    "stacked",
)


def adopt_equal_run(root: Path, folder: Path, result: Result, evaluated: Iterable[str] = ()) -> bool:
    """Fills `result`, whose hashes are known, and `folder` from an equal run of a sweep under `root`, if there is one.

    Args:
        evaluated: the perturbations that the run is to be measured under: an equal run without them does not do.

    Returns:
        Whether there was one.
    """
    if (found := find_equal_run(root, folder, result, evaluated)) is None:
        return False
    path, equal, base = found
    for file in equal.files:
        link_or_copy(path.parent / file, folder / file)
    for name in ADOPTED:
        setattr(result, name, getattr(equal, name))
    result.baseline_artifact = equal.baseline_artifact | {"path": os.path.relpath(base, folder.resolve())}
    result.reused = os.path.relpath(path.parent.resolve(), folder.resolve())
    if equal.environment.get("cpu") != cpu():  # latencies are another processor's
        for metrics in (result.metrics, result.baseline):
            for name in LATENCIES:
                metrics.pop(name, None)
    return True


def find_equal_run(
    root: Path, folder: Path, result: Result, evaluated: Iterable[str] = ()
) -> tuple[Path, Result, Path] | None:
    """The record of an equal run, what it says, and where its baseline's artifact lies or lay; arguments as in
    `adopt_equal_run`."""
    for path in known_records(root.resolve()).equal_to(result):
        if path.parent.resolve() == folder.resolve():
            continue
        try:
            equal = read_verified(path)
            base = baseline_path(equal, path.parent.resolve())
        except (OSError, Damaged) as error:
            log.warning("%s: a damaged record; its run is not taken (%s)", path, error)
            continue
        measured = all(f"{equal.chosen_by.name}/{name}" in equal.metrics for name in evaluated)
        if (equal.config_hash, equal.code_hash) != (result.config_hash, result.code_hash):
            continue
        if equal.status != "ok" or not measured or not holds_artifact(equal):
            continue
        return path, equal, base
    return None


class KnownRecords:
    """The records of the sweeps under a folder, by the hashes that they name. Each is read once: a lookup reads those
    that have come since, so that the runs of a large sweep do not each read all the others.

    Attributes:
        root: the folder, resolved.
        by_hashes: the records' paths by their hashes of configuration and code.
        read: for each sweep's folder, the names of the runs' folders in it whose records are in `by_hashes`.
    """

    def __init__(self, root: Path):
        self.root = root
        self.by_hashes: dict[tuple[str, str], list[Path]] = {}
        self.read: dict[str, set[str]] = {}

    def equal_to(self, result: Result) -> Iterator[Path]:
        """The records that named the hashes of `result` when they were read, in the order of their paths."""
        for sweep in folders_in(self.root):
            read = self.read.setdefault(sweep, set())
            for name in names_in(Path(sweep)) - read:
                path = Path(sweep, name, FILE_NAME)
                if (hashes := self.hashes_of(path)) is not None:
                    self.by_hashes.setdefault(hashes, []).append(path)
                    read.add(name)
        own = str(result.config_hash), str(result.code_hash)
        return filter(self.is_inside, sorted(self.by_hashes.get(own, ())))

    def is_inside(self, path: Path) -> bool:
        """Whether it is a file that lies under `root`, wherever links lead."""
        return path.is_file() and path.resolve().is_relative_to(self.root)

    def hashes_of(self, path: Path) -> tuple[str, str] | None:
        """What a record under `root` names; None where there is none yet, or it lacks a hash or a checksum, as one of
        an older version does: nothing of it can be relied on."""
        if not self.is_inside(path):
            return None
        named = dict(NAMED.findall(path.read_text(errors="replace")))
        return (named["config_hash"], named["code_hash"]) if len(named) == len(NAMES) else None


@cache
def known_records(root: Path) -> KnownRecords:
    """What this process knows of the records under `root`."""
    return KnownRecords(root)


def folders_in(folder: Path) -> list[str]:
    """The paths of the folders in it."""
    try:
        with os.scandir(folder) as entries:
            return [entry.path for entry in entries if entry.is_dir()]
    except OSError:  # moved away since
        return []


def names_in(folder: Path) -> set[str]:
    """The names of whatever lies in it."""
    try:
        return set(os.listdir(folder))
    except OSError:
        return set()


def holds_artifact(result: Result) -> bool:
    """Whether the artifact is one of the run's files."""
    name = result.artifact.get("path", "")
    return name in result.files and result.artifact.get("sha256") == result.files[name]


def baseline_path(result: Result, folder: Path) -> Path:
    """Where the baseline's artifact lies, or lay, seen from the run's folder.

    Raises:
        Damaged: something else lies there.
    """
    base = folder / result.baseline_artifact.get("path", "")
    if not result.baseline_artifact.get("path") or (
        base.exists() and (not base.is_file() or sha256(base) != result.baseline_artifact.get("sha256"))
    ):
        raise Damaged("its baseline's artifact is another")
    return base


def link_or_copy(source: Path, target: Path) -> None:
    """The same file under another name, or a copy where the file system has no such thing."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
