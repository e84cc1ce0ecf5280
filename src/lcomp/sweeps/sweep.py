"""A sweep's folder: whose it is, what ran in it, what is missing. Imports nothing heavy."""

from __future__ import annotations

import json
import logging
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import filelock
from omegaconf import DictConfig, OmegaConf

from lcomp.config import quoting
from lcomp.errors import UserError
from lcomp.record import folders
from lcomp.record.containers import plain_mapping
from lcomp.record.files import write_atomically
from lcomp.record.interruption import BY_MACHINE, BY_USER, Interrupted, announcing_exit, machine_interruption
from lcomp.record.plain import PlainValue
from lcomp.record.redaction import redacted
from lcomp.record.result import FILE_NAME, Result
from lcomp.record.run_folders import INTERRUPTED, MANIFEST, NUMBER, RecordedRun, numbered_folders, recorded_runs
from lcomp.record.untrusted import read_json
from lcomp.sweeps import broken_files, configuration_files
from lcomp.sweeps.broken_files import writable

log = logging.getLogger("lcomp")
SUBDIR = "${hydra.job.num}"  # no swept value is part of a path
SINCE = ("storage", "study_name")  # of a search's plan, which older ones did not note
Plan = Mapping[str, PlainValue]  # what must be the same for a sweep to be resumed


@contextmanager
def open_sweep(
    cfg: DictConfig,
    arguments: Sequence[str],
    resume: bool,
    plan: Plan,
    files: Mapping[str, str] | None = None,
    total: int | None = None,
) -> Iterator[Path]:
    """The sweep's folder, this process's own until the block ends; what ran there before has a record, at least now.

    Args:
        cfg: Hydra's configuration of the sweep.
        arguments: the overrides of the command line, for the message that says how to go on.
        resume: whether the folder holds the sweep already.
        plan: what must be the same for a sweep to be resumed.
        files: digests of the files that its runs are composed from, which must be the same too.
        total: how many runs it has in all, for whoever watches.

    Raises:
        UserError: the folder holds a sweep and is not to be resumed, or none and is; another process works on it; the
            sweep there had another plan, or other files; nothing can be written there.
    """
    if plain_mapping(cfg.hydra.sweep)["subdir"] != SUBDIR:
        raise UserError("hydra.sweep.subdir: the runs of a sweep lie in numbered folders; choose hydra.sweep.dir")
    folder = Path(cfg.hydra.sweep.dir)
    if resume and not (folder / MANIFEST).exists():
        raise UserError(
            f"{quoting.resume_advice(folder)}: no sweep there ({MANIFEST} is missing); name a sweep's folder, or last"
        )
    with exclusive_folder(folder):
        with writable(folder):
            prepare(folder, arguments, resume, plan, dict(files or {}))
            note_total(folder, total)
            composed = OmegaConf.to_yaml(OmegaConf.create(redacted(plain_mapping(cfg))))
            write_atomically(folder / "multirun.yaml", composed.encode())
        again = quoting.resume_command(redacted(list(arguments)), folder, quoting.recorded_search_flags(cfg.hydra))

        def close(cause: str, said: str = "") -> None:
            with suppress(OSError):  # a full disk: resuming leaves them
                close_interrupted(folder, cause)
            print(f"\n{said}To go on: {again}", file=sys.stderr, flush=True)

        try:
            with announcing_exit(lambda cause: close(cause, f"lcomp: {cause}\n")):  # of a serial sweep
                yield folder
        except (KeyboardInterrupt, Interrupted) as stop:
            close(interruption_cause(stop))
            raise


@contextmanager
def exclusive_folder(folder: Path) -> Iterator[None]:
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


def prepare(folder: Path, arguments: Sequence[str], resume: bool, plan: Plan, files: dict[str, str]) -> None:
    """Notes what the sweep is to run, or finds that it is what was to run there."""
    manifest = folder / MANIFEST
    if not resume and (manifest.exists() or any(folder.glob(f"*/{FILE_NAME}"))):
        raise UserError(
            f"{folder}: holds a sweep already; {quoting.resume_advice(folder)} goes on with it, or name another"
        )
    before = broken_files.read_manifest(manifest) if resume else None
    if before:
        now = redacted(plan)
        check_plan(folder, {name: now[name] for name in SINCE if name in now} | before.plan, now)
        if before.files is not None:
            configuration_files.check_unchanged(folder, before.files, files)
    else:
        content = redacted({"arguments": [*arguments], "plan": dict(plan)})
        content |= {"files": {**files}, "id": uuid.uuid4().hex[:12]}
        write_atomically(manifest, json.dumps(content, indent=2).encode())
    if resume:
        broken_files.set_aside_records(folder)
        close_interrupted(folder)


def note_total(folder: Path, total: int | None) -> None:
    """Notes in the manifest how many runs the sweep has, which a search that goes on may have raised."""
    content = read_json(folder / MANIFEST)
    if isinstance(content, dict) and content.get("total") != total:
        write_atomically(folder / MANIFEST, json.dumps(content | {"total": total}, indent=2).encode())


def interruption_cause(stop: BaseException) -> str:
    """What is recorded of runs that an interruption ended."""
    return str(stop) if isinstance(stop, Interrupted) else BY_USER


def infrastructure_error(error: Exception, folder: Path) -> UserError | Interrupted:
    """What is said when not a run but what carries runs out has failed: a launcher, a sampler, a storage."""
    if machines := machine_interruption(error):
        return machines
    cause = " ".join(str(error).split())[:300]
    return UserError(
        f"the sweep stopped ({type(error).__name__}: {cause}); "
        f"{quoting.resume_advice(folder)} goes on when it is mended"
    )


def check_plan(folder: Path, before: Plan, now: Plan) -> None:
    """Raises UserError, with the difference, where a sweep's plan is no longer what it was."""
    if before != now:
        raise UserError(
            f"{quoting.resume_advice(folder)}: that sweep was another one; {describe_difference(before, now)}; "
            "repeat its command, or start anew"
        )


def describe_difference(before: Plan, now: Plan) -> str:
    """What is no longer what it was, in words."""
    missing = "not there"
    names = [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
    return "; ".join(f"{name}: was {before.get(name, missing)}, is {now.get(name, missing)}" for name in names)


def sweep_identity(folder: Path) -> str | None:
    """What tells the sweep in a folder from others, wherever the folder is moved."""
    try:
        content = read_json(folder / MANIFEST)
    except (OSError, ValueError):
        return None
    return str(content["id"]) if isinstance(content, dict) and "id" in content else None  # of before sweeps had one


def close_interrupted(folder: Path, cause: str = INTERRUPTED) -> None:
    """Leaves a record for each run that could not leave its own; only for a folder in which nothing runs."""
    for path in numbered_folders(folder):
        if not (path / FILE_NAME).exists():
            Result(overrides=broken_files.read_overrides(path / ".hydra" / "overrides.yaml"), error=cause).write(path)


def next_number(folder: Path) -> int:
    """The first number that no run of the folder has had."""
    return 1 + max((int(path.name) for path in folder.iterdir() if NUMBER.fullmatch(path.name)), default=-1)


def missing_points(folder: Path, points: Mapping[tuple[str, ...], list[str]], max_retries: int) -> list[list[str]]:
    """The points that have no finished run yet and were not tried too often; last those that a machine ended: where one
    needs more than there is, the others run before.

    Args:
        points: by their keys.
    """
    tried: dict[tuple[str, ...], list[RecordedRun]] = {}
    for run in recorded_runs(folder):
        tried.setdefault(run.result.point, []).append(run)
    missing: list[tuple[bool, list[str]]] = []
    for point, overrides in points.items():
        tries = tried.get(point, [])
        if any(run.result.is_final for run in tries):
            continue
        if sum(run.was_tried for run in tries) > max_retries:
            log.warning("%s: failed %d times; max_retries=N allows more", " ".join(redacted(overrides)), len(tries))
            continue
        missing.append((any(str(run.result.error).startswith(BY_MACHINE) for run in tries), overrides))
    return [overrides for last in (False, True) for ended, overrides in missing if ended == last]
