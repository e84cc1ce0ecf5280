"""What ends a run without being its fault: the user's Ctrl-C, and a machine that has no more to give."""

from __future__ import annotations

import errno
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

BY_USER = "KeyboardInterrupt"
BY_MACHINE = "interrupted by the machine"
ERRNOS = {
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EMFILE", "ENFILE", "EROFS", "EIO", "ENOMEM", "ESTALE")
    if hasattr(errno, name)
}
SAID = re.compile(  # by libraries that pass on no errno
    r"No space left on device|Disk quota exceeded|Too many open files|Read-only file system|Input/output error"
    r"|[Cc]an(?:no|')t allocate memory|failed to map segment|std::bad_alloc|can't start new thread"
    r"|database or disk is full|disk I/O error|readonly database|unable to open database file"
    r"|PytorchStreamWriter failed writing"
)
ASKED = re.compile(r"allocate ([\d.]+) ?(bytes|[KMGTPE]?i?B)\b")
UNITS = {"bytes": 0, "B": 0, **{f"{unit}iB": power for power, unit in enumerate("KMGTPE", 1)}}


class Interrupted(BaseException):
    """The machine, or whatever carries runs out, cannot go on; no `Exception`, so that nothing takes it for a run's
    failure. The sweep ends with it, and resuming runs again what it ended."""


def of_machine(error: BaseException) -> Interrupted | None:
    """The interruption that `error` stands for: a full or read-only disk, a quota, too many files, no memory.

    None where the fault is the run's own, as memory is that a machine like this one never has."""
    seen: set[int] = set()
    one: BaseException | None = error
    innermost: BaseException | None = None
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        if isinstance(one, Interrupted):
            return one
        innermost = one if is_of_machine(one) else innermost
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)
    if innermost is None:
        return None
    said = " ".join(str(innermost).split())[:300]
    return Interrupted(f"{BY_MACHINE}: {type(innermost).__name__}: {said}".removesuffix(": "))


def is_of_machine(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in ERRNOS
    if isinstance(error, MemoryError) or (isinstance(error, Exception) and SAID.search(str(error)[:2000])):
        asked = ASKED.search(str(error))
        return asked is None or float(asked[1]) * 1024 ** UNITS.get(asked[2], 0) <= memory()
    return False


def memory() -> float:
    """Bytes of memory that this machine has, were nothing else running."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (ValueError, OSError, AttributeError):
        return float("inf")


def excused(cause: str | None) -> bool:
    """Whether a record's error is an interruption that says nothing of the run, so that it counts as no try."""
    return cause is not None and (cause == BY_USER or cause.startswith(BY_MACHINE))


@contextmanager
def telling_exit(tell: Callable[[str], None]) -> Iterator[None]:
    """Has `os._exit`, by which a network ends this process without a word, say so first, and be a failure.

    Args:
        tell: is given the cause; a signal leaves no time for it, and the shell names that.
    """
    own, leave = os.getpid(), os._exit

    def told(status: int) -> NoReturn:
        if os.getpid() != own:  # a child that was forked
            leave(status)
        try:
            tell(f"the process ended in the middle of the run (os._exit({status}))")
        finally:
            leave(status or 1)

    os._exit = told
    try:
        yield
    finally:
        os._exit = leave


class Signals:
    """Whether SIGINT came; True from the start where that cannot be known."""

    def __init__(self, came: bool):
        self.came = came


@contextmanager
def noticing() -> Iterator[Signals]:
    """Notes whether SIGINT comes: only then is a KeyboardInterrupt the user's, and not raised by a network's code."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread():
        yield Signals(came=True)
        return
    noted = Signals(came=False)

    def note(number: int, frame: FrameType | None) -> Any:
        noted.came = True
        return before(number, frame) if callable(before) else None

    if callable(before):
        signal.signal(signal.SIGINT, note)
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, before)  # Lightning ignores it from a KeyboardInterrupt on
