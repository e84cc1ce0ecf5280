"""How far a sweep is: what ended, what runs and how far that is, what is left."""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path
from statistics import median

from lcomp.record import live_run
from lcomp.record.escaping import one_line
from lcomp.record.files import Jsonable
from lcomp.record.interruption import is_interruption
from lcomp.record.limits import Refused
from lcomp.record.point_key import canonical_point
from lcomp.record.redaction import redacted
from lcomp.record.result import Result
from lcomp.record.run_folders import MANIFEST
from lcomp.record.untrusted import read_json
from lcomp.watch.sweep_reader import RunFolder, SweepReader, written

LOCKS = Path("/proc/locks")
SAMPLED = 50  # runs that ended last, whose median tells how long the next will take
SHOWN = 64  # runs without a record that are listed
RECENT = 30.0  # seconds since a sign of life of a run whose sweep no process of this machine carries out
ENDED = 5  # runs that ended last, listed with their logs


def sweep_state(sweep: SweepReader) -> dict[str, Jsonable]:
    """What the page shows of a sweep above its charts; times in seconds."""
    now, unrecorded = time.time(), sweep.unrecorded
    began = written(sweep.folder / "multirun.yaml") or written(sweep.folder / MANIFEST) or now
    alive = is_held(sweep.folder / ".lock")
    if alive is False:  # on another machine that shares the folder, perhaps
        signs = (written(run.path / live_run.PROGRESS) for run in unrecorded)
        alive = any(sign is not None and now - sign < RECENT for sign in signs)
    running = unrecorded if alive is not False else []
    again = {canonical_point(run.overrides) for run in running[:SHOWN]}
    counts = Counter(
        kind_of(run.result)
        for point, run in {run.point: run for run in sweep.recorded}.items()
        if run.result is not None and point not in again
    )
    ended = counts.total() - counts["interrupted"]
    total = total_of(sweep.folder)
    queued = max(0, total - ended - len(running)) if total is not None else None
    lasted = [
        run.result.seconds["total"]
        for run in sweep.recorded
        if run.result and run.result.status == "ok" and not run.result.reused and "total" in run.result.seconds
    ][-SAMPLED:]
    left = None
    if alive is not False and lasted and queued is not None:
        each = median(lasted)
        open_seconds = each * queued + sum(max(0.0, each - (now - run.started)) for run in running)
        left = open_seconds / max(1, len(running))
    asked = [set(given) for run in (*sweep.recorded, *running[:SHOWN]) if (given := run.overrides)]
    common = set.intersection(*asked) if len(asked) > 1 else set()
    latest = sorted(sweep.recorded, key=lambda run: run.stamp or (0, 0, 0))[-ENDED:]
    until = now if alive is not False else max([began, *(run.stamp[0] / 1e9 for run in sweep.recorded if run.stamp)])
    return {
        "key": sweep.key,
        "name": one_line(sweep.folder.resolve().name),
        "alive": alive,
        "total": total,
        "queued": queued,
        "counts": dict(counts),
        "elapsed": max(0.0, until - began),
        "left": left,
        "unrecorded": len(unrecorded),
        "running": [running_state(sweep, run, now, common) for run in running[:SHOWN]],
        "ended": [
            {
                "key": f"{sweep.key}/{run.path.name}",
                "number": run.path.name,
                "label": label(run, common),
                "status": kind_of(of),
            }
            for run in reversed(latest)
            if (of := run.result) is not None
        ],
    }


def running_state(sweep: SweepReader, run: RunFolder, now: float, common: set[str]) -> dict[str, Jsonable]:
    told = live_run.read_progress(run.path)
    signs = [written(run.path / name) for name in (live_run.PROGRESS, "lcomp.log", ".")]
    return {
        "key": f"{sweep.key}/{run.path.name}",
        "number": run.path.name,
        "label": label(run, common),
        "elapsed": max(0.0, now - run.started),
        "silent": max(0.0, now - max((sign for sign in signs if sign), default=now)),
        "stopping": live_run.is_stop_requested(run.path),
        "progress": None if told is None else told._asdict(),
    }


def label(run: RunFolder, common: set[str]) -> str:
    """What was asked for beside what all runs have in `common`, as text."""
    own = redacted([one for one in run.overrides if one not in common])
    return str(one_line(" ".join(own)))


def kind_of(result: Result) -> str:
    """A record's status; of one that was interrupted, or that a user stopped, that."""
    if is_interruption(result.error):
        return "interrupted"
    return "stopped" if str(result.error).startswith(live_run.STOPPED) else result.status


def total_of(folder: Path) -> int | None:
    """How many runs the sweep has in all; None where its manifest does not say."""
    try:
        content = read_json(folder / MANIFEST)
    except (OSError, Refused):
        return None
    total = content.get("total") if isinstance(content, dict) else None
    return total if isinstance(total, int) and not isinstance(total, bool) and total >= 0 else None


def is_held(lock: Path) -> bool | None:
    """Whether a process of this machine holds the lock on a file, which a sweep does while it runs; None where that
    cannot be known. Nobody is kept from taking it meanwhile, as trying to take it would."""
    try:
        held = LOCKS.read_text().splitlines()
    except OSError:  # no Linux
        return None
    try:
        number = os.stat(lock, follow_symlinks=False).st_ino
    except OSError:
        return False
    return any(fields[1] == "FLOCK" and fields[5].rpartition(":")[2] == str(number) for fields in map(str.split, held))
