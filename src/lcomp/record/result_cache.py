"""Results that are found again instead of run again."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from lcomp.record.environment import cpu
from lcomp.record.files import CHECKSUM_KEY, Damaged, sha256
from lcomp.record.result import FILE_NAME, LATENCIES, Result, read_verified

log = logging.getLogger("lcomp")
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
    for path in sorted(root.glob(f"*/*/{FILE_NAME}")):
        if path.parent.resolve() == folder.resolve() or not has_hashes_of(path, root, result):
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


def has_hashes_of(path: Path, root: Path, result: Result) -> bool:
    """Whether the record, of a folder under `root`, names the hashes of `result`; one without a checksum, of an older
    version, names nothing that can be relied on."""
    if not path.is_file() or not path.resolve().is_relative_to(root.resolve()):
        return False
    text = path.read_text(errors="replace")
    return all(f'"{one}"' in text for one in (result.config_hash, result.code_hash, CHECKSUM_KEY))


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
