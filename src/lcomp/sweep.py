"""A sweep's folder: whose it is, what ran in it, what is missing. Imports nothing heavy."""

from __future__ import annotations

import json
import logging
import re
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import filelock
from omegaconf import DictConfig, OmegaConf

from lcomp import broken_files, folders, inputs, quoting
from lcomp.broken_files import writable
from lcomp.errors import UserError
from lcomp.files import write_atomically
from lcomp.interruption import BY_MACHINE, BY_USER, Interrupted, excused, of_machine, telling_exit
from lcomp.limits import Refused
from lcomp.redact import redacted
from lcomp.report.line import line
from lcomp.result import FILE_NAME, Result, read
from lcomp.untrusted import json_of

if TYPE_CHECKING:
    from lcomp.typed import Typed

log = logging.getLogger("lcomp")
MANIFEST = "sweep.json"
NUMBER = re.compile("[0-9]{1,9}")  # what a run's folder is called
SUBDIR = "${hydra.job.num}"  # no swept value is part of a path
SINCE = ("storage", "study_name")  # of a search's plan, which older ones did not note
INTERRUPTED = "interrupted: the process ended before the run did"
typed: Typed | None = None  # the command of this process's sweep
failures: list[str] = []  # a line for each failed run of this process's sweep, for the exit code


class Run(NamedTuple):
    """A run that a sweep's folder has a record of."""

    folder: Path
    result: Result

    @property
    def was_tried(self) -> bool:
        """Whether it counts as a try: not when the user or the machine, not the run, ended it."""
        return not excused(self.result.error)


@contextmanager
def opened(
    cfg: DictConfig, arguments: Sequence[str], resume: bool, plan: Any, files: Mapping[str, str] | None = None
) -> Iterator[Path]:
    """The sweep's folder, this process's own until the block ends; what ran there before has a record, at least now.

    Args:
        cfg: Hydra's configuration of the sweep.
        arguments: the overrides of the command line, for the message that says how to go on.
        resume: whether the folder holds the sweep already.
        plan: what must be the same for a sweep to be resumed, JSON-like.
        files: digests of the files that its runs are composed from, which must be the same too.

    Raises:
        UserError: the folder holds a sweep and is not to be resumed, or none and is; another process works on it; the
            sweep there had another plan, or other files; nothing can be written there.
    """
    if OmegaConf.to_container(cfg.hydra.sweep, resolve=False)["subdir"] != SUBDIR:  # type: ignore[index, call-overload]
        raise UserError("hydra.sweep.subdir: the runs of a sweep lie in numbered folders; choose hydra.sweep.dir")
    folder = Path(cfg.hydra.sweep.dir)
    if resume and not (folder / MANIFEST).exists():
        raise UserError(
            f"{quoting.resume(folder)}: no sweep there ({MANIFEST} is missing); name a sweep's folder, or last"
        )
    with alone(folder):
        with writable(folder):
            prepare(folder, arguments, resume, plan, dict(files or {}))
            composed = OmegaConf.to_yaml(OmegaConf.create(redacted(OmegaConf.to_container(cfg))))
            write_atomically(folder / "multirun.yaml", composed.encode())
        again = quoting.resuming(redacted(list(arguments)), folder, quoting.flags(cfg.hydra))

        def close(cause: str, said: str = "") -> None:
            with suppress(OSError):  # a full disk: resuming leaves them
                close_interrupted(folder, cause)
            print(f"\n{said}To go on: {again}", file=sys.stderr, flush=True)

        try:
            with telling_exit(lambda cause: close(cause, f"lcomp: {cause}\n")):  # of a serial sweep
                yield folder
        except (KeyboardInterrupt, Interrupted) as stop:
            close(cause_of(stop))
            raise


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """The folder, made where it is not there, this process's own."""
    lock = filelock.FileLock(folder / ".lock", timeout=0)
    with writable(folder):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            folders.check_stays_inside(folder)
            lock.acquire()
        except filelock.Timeout as error:
            raise UserError(f"{folder}: another process is running this sweep; wait for it, or stop it") from error
    try:
        yield
    finally:
        lock.release()


def prepare(folder: Path, arguments: Sequence[str], resume: bool, plan: Any, files: dict[str, str]) -> None:
    """Notes what the sweep is to run, or finds that it is what was to run there."""
    manifest = folder / MANIFEST
    if not resume and (manifest.exists() or any(folder.glob(f"*/{FILE_NAME}"))):
        raise UserError(f"{folder}: holds a sweep already; {quoting.resume(folder)} goes on with it, or name another")
    before = broken_files.manifest(manifest) if resume else None
    if before:
        now = redacted(plan)
        check_plan(folder, {name: now[name] for name in SINCE if name in now} | before["plan"], now)
        if isinstance(before.get("files"), dict):
            inputs.check(folder, before["files"], files)
    else:
        kept = redacted({"arguments": list(arguments), "plan": plan}) | {"files": files, "id": uuid.uuid4().hex[:12]}
        write_atomically(manifest, json.dumps(kept, indent=2).encode())
    if resume:
        broken_files.set_aside_records(folder)
        close_interrupted(folder)


def cause_of(stop: BaseException) -> str:
    """What is recorded of runs that an interruption ended."""
    return str(stop) if isinstance(stop, Interrupted) else BY_USER


def broken(error: Exception, folder: Path) -> UserError | Interrupted:
    """What is said when not a run but what carries runs out has failed: a launcher, a sampler, a storage."""
    if machines := of_machine(error):
        return machines
    cause = " ".join(str(error).split())[:300]
    return UserError(
        f"the sweep stopped ({type(error).__name__}: {cause}); {quoting.resume(folder)} goes on when it is mended"
    )


def plan_of(manifest: Path) -> dict[str, Any]:
    """The plan of the sweep that it is the manifest of.

    Raises:
        Refused: it is no manifest.
    """
    found = json_of(manifest)
    plan = found.get("plan") if isinstance(found, dict) else None
    if not isinstance(plan, dict):
        raise Refused(f"{manifest}: no manifest of a sweep (no plan in it); start the sweep anew")
    return plan


def check_plan(folder: Path, before: Any, now: Any) -> None:
    """Raises UserError, with the difference, where a sweep's plan is no longer what it was."""
    if before != now:
        raise UserError(
            f"{quoting.resume(folder)}: that sweep was another one; {difference(before, now)}; "
            "repeat its command, or start anew"
        )


def difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What is no longer what it was, in words."""
    missing = "not there"
    names = [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
    return "; ".join(f"{name}: was {before.get(name, missing)}, is {now.get(name, missing)}" for name in names)


def identity(folder: Path) -> str | None:
    """What tells the sweep in a folder from others, wherever the folder is moved."""
    try:
        return str(json_of(folder / MANIFEST)["id"])
    except (OSError, ValueError, KeyError, TypeError):  # of before sweeps had one
        return None


def close_interrupted(folder: Path, cause: str = INTERRUPTED) -> None:
    """Leaves a record for each run that could not leave its own; only for a folder in which nothing runs."""
    for path in numbered(folder):
        if not (path / FILE_NAME).exists():
            Result(overrides=broken_files.overrides(path / ".hydra" / "overrides.yaml"), error=cause).write(path)


def numbered(folder: Path) -> list[Path]:
    """The folders of a sweep's runs, in the order of their numbers."""
    found = [path for path in folder.iterdir() if NUMBER.fullmatch(path.name) and path.is_dir()]
    return sorted((path for path in found if not path.is_symlink()), key=lambda path: (int(path.name), path.name))


def runs(folder: Path) -> list[Run]:
    """The runs that have a record, in the order of their numbers; one that cannot be read is named and left out."""
    found = []
    for path in numbered(folder):
        try:
            found.append(Run(path, read(path / FILE_NAME)))
        except FileNotFoundError:
            continue
        except (OSError, Refused) as error:
            log.warning("%s; the run is left out", error)
    return found


def next_number(folder: Path) -> int:
    """The first number that no run of the folder has had."""
    return 1 + max((int(path.name) for path in folder.iterdir() if NUMBER.fullmatch(path.name)), default=-1)


def missing(folder: Path, points: Mapping[tuple[str, ...], list[str]], max_retries: int) -> list[list[str]]:
    """The points that have no finished run yet and were not tried too often; last those that a machine ended: where one
    needs more than there is, the others run before.

    Args:
        points: by their keys.
    """
    tried: dict[tuple[str, ...], list[Run]] = {}
    for run in runs(folder):
        tried.setdefault(run.result.point, []).append(run)
    found: list[tuple[bool, list[str]]] = []
    for point, overrides in points.items():
        tries = tried.get(point, [])
        if any(run.result.is_final for run in tries):
            continue
        if sum(run.was_tried for run in tries) > max_retries:
            log.warning("%s: failed %d times; max_retries=N allows more", " ".join(redacted(overrides)), len(tries))
            continue
        found.append((any(str(run.result.error).startswith(BY_MACHINE) for run in tries), overrides))
    return [overrides for last in (False, True) for ended, overrides in found if ended == last]


def latest(found: Sequence[Run]) -> list[Run]:
    """The last run of each point: one that was tried again counts once, one that ended before it was known which point
    it was not at all."""
    known = [run for run in found if run.result.overrides or (run.was_tried and run.result.error != INTERRUPTED)]
    return list({run.result.point: run for run in known}.values())


def tell(result: Result) -> None:
    """Prints a finished run's line; a failed one counts for the exit code."""
    print(line(result), flush=True)
    if result.status not in ("ok", "pruned"):
        failures.append(line(result))


def last() -> str:
    """The folder of the newest sweep under multirun.

    Raises:
        UserError: there is none.
    """
    found = [path.parent for path in Path("multirun").glob(f"*/{MANIFEST}")]
    newest = max(found, key=lambda path: (path / MANIFEST).stat().st_mtime, default=None)
    if newest is None:
        raise UserError("resume=last: no sweep under multirun; name its folder")
    return str(newest)
