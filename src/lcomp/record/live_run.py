"""What a run says while it trains, and what asks it to end: two small files in its folder, there while it runs."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from lcomp.record.limits import Refused
from lcomp.record.plain import PlainValue
from lcomp.record.schema import WORD, is_number, is_whole_number
from lcomp.record.untrusted import read_bytes

PROGRESS = ".progress.json"
STOP = ".stop"
STOPPED = "stopped by the user"  # what the error of such a run's record begins with
LONGEST = 1 << 12  # bytes of the account of progress


class Progress(NamedTuple):
    """How far a run's training is.

    Attributes:
        epoch, epochs: the one that is under way, from 1, and how many there will be.
        step, steps: the optimizer's.
        metric, value: what the task is judged by, on validation examples, and its last figure.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    metric: str
    value: float | None


def tell_progress(folder: Path, progress: Progress) -> None:
    """Leaves the account in the run's folder, whole or not at all; where the disk takes none, the one before stays."""
    beside = folder / f"{PROGRESS}.new"
    with suppress(OSError):  # the training itself goes on, and meets what ails the disk
        beside.write_text(json.dumps(progress._asdict()))
        os.replace(beside, folder / PROGRESS)


def read_progress(folder: Path) -> Progress | None:
    """The account in a run's folder; None where there is none, or something else."""
    try:
        content: PlainValue = json.loads(read_bytes(folder / PROGRESS, LONGEST))
    except (OSError, ValueError, RecursionError, Refused):
        return None
    if not isinstance(content, dict) or content.keys() != {*Progress._fields}:
        return None
    counts = [content[name] for name in Progress._fields[:4]]
    metric, value = content["metric"], content["value"]
    known = all(is_whole_number(count) and count >= 0 for count in counts) and (value is None or is_number(value))
    return Progress(**content) if known and isinstance(metric, str) and len(metric) <= WORD else None  # type: ignore[arg-type]


def request_stop(folder: Path) -> None:
    """Asks the run in `folder` to end; it looks once a second while it trains."""
    with suppress(FileExistsError):  # it was asked before
        os.close(os.open(folder / STOP, os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644))


def is_stop_requested(folder: Path) -> bool:
    """Whether somebody asked."""
    return os.path.lexists(folder / STOP)


def clear(folder: Path) -> None:
    """Takes both files away: the run has not begun, or has a record."""
    for name in (PROGRESS, f"{PROGRESS}.new", STOP):
        with suppress(OSError):
            (folder / name).unlink(missing_ok=True)
