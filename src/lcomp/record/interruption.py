"""What ends a run without being its fault: the user's Ctrl-C, and a machine that has no more to give."""

from __future__ import annotations

import errno
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import NoReturn

BY_USER = "KeyboardInterrupt"
BY_MACHINE = "interrupted by the machine"
ERRNOS = {
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EMFILE", "ENFILE", "EROFS", "EIO", "ENOMEM", "ESTALE")
    if hasattr(errno, name)
}
MACHINE_ERRORS = re.compile(  # by libraries that pass on no errno
    r"No space left on device|Disk quota exceeded|Too many open files|Read-only file system|Input/output error"
    r"|[Cc]an(?:no|')t allocate memory|failed to map segment|std::bad_alloc|can't start new thread"
    r"|database or disk is full|disk I/O error|readonly database|unable to open database file"
    r"|PytorchStreamWriter failed writing"
)
ALLOCATION = re.compile(r"allocate ([\d.]+) ?(bytes|[KMGTPE]?i?B)\b")
UNITS = {"bytes": 0, "B": 0, **{f"{unit}iB": power for power, unit in enumerate("KMGTPE", 1)}}


class Interrupted(BaseException):
    """The machine, or whatever carries runs out, cannot go on; no `Exception`, so that nothing takes it for a run's
    failure. The sweep ends with it, and resuming runs again what it ended."""


class Stopped(KeyboardInterrupt):
    """Training ended after a step, with a checkpoint, because a signal asked for it."""


@dataclass
class StopRequest:
    """Whether a signal asked training to end after the step."""

    requested: bool = False


@contextmanager
def stop_after_step() -> Iterator[StopRequest]:
    """Within it the first Ctrl-C is a request, and the second what it was before. In a process that ignores it, or
    beside the main thread, nothing changes."""
    request, before = StopRequest(), signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield request
        return

    def ask(number: int, frame: FrameType | None) -> None:
        if request.requested:
            before(number, frame)
        request.requested = True
        os.write(2, b"\nlcomp: ends after this step, with a checkpoint; Ctrl-C again ends at once\n")

    signal.signal(signal.SIGINT, ask)
    try:
        yield request
    finally:
        signal.signal(signal.SIGINT, before)  # Lightning ignores it from a KeyboardInterrupt on


def machine_interruption(error: BaseException) -> Interrupted | None:
    """The interruption that `error` stands for: a full or read-only disk, a quota, too many files, no memory.

    None where the fault is the run's own, as memory is that a machine like this one never has."""
    visited: set[int] = set()
    current: BaseException | None = error
    innermost: BaseException | None = None
    while current is not None and id(current) not in visited:
        visited.add(id(current))
        if isinstance(current, Interrupted):
            return current
        innermost = current if is_machine_error(current) else innermost
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    if innermost is None:
        return None
    message = " ".join(str(innermost).split())[:300]
    return Interrupted(f"{BY_MACHINE}: {type(innermost).__name__}: {message}".removesuffix(": "))


def raise_machine_error(error: Exception) -> None:
    """Raises the interruption that `error` stands for, where it is one: first in a handler that otherwise goes on after
    whatever a user's code raises."""
    if stop := machine_interruption(error):
        raise stop from error


def is_machine_error(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in ERRNOS
    if isinstance(error, MemoryError) or (isinstance(error, Exception) and MACHINE_ERRORS.search(str(error)[:2000])):
        allocation = ALLOCATION.search(str(error))
        return allocation is None or float(allocation[1]) * 1024 ** UNITS.get(allocation[2], 0) <= total_memory()
    return False


def total_memory() -> float:
    """Bytes of memory that this machine has, were nothing else running."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (ValueError, OSError, AttributeError):
        return float("inf")


def is_interruption(cause: str | None) -> bool:
    """Whether a record's error is an interruption that says nothing of the run, so that it counts as no try."""
    return cause is not None and (cause == BY_USER or cause.startswith(BY_MACHINE))


@contextmanager
def announcing_exit(announce: Callable[[str], None]) -> Iterator[None]:
    """Has `os._exit`, by which a network ends this process without a word, say so first, and be a failure.

    Args:
        announce: is given the cause; a signal leaves no time for it, and the shell names that.
    """
    process, leave = os.getpid(), os._exit

    def announced_exit(status: int) -> NoReturn:
        if os.getpid() != process:  # a child that was forked
            leave(status)
        try:
            announce(f"the process ended in the middle of the run (os._exit({status}))")
        finally:
            leave(status or 1)

    os._exit = announced_exit
    try:
        yield
    finally:
        os._exit = leave


class SigintState:
    """Whether SIGINT came; True from the start where that cannot be known."""

    def __init__(self, received: bool):
        self.received = received


@contextmanager
def watch_sigint() -> Iterator[SigintState]:
    """Notes whether SIGINT comes: only then is a KeyboardInterrupt the user's, and not raised by a network's code."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread():
        yield SigintState(received=True)
        return
    state = SigintState(received=False)

    def note(number: int, frame: FrameType | None) -> None:
        state.received = True
        if callable(before):
            before(number, frame)

    if callable(before):
        signal.signal(signal.SIGINT, note)
    try:
        yield state
    finally:
        signal.signal(signal.SIGINT, before)  # Lightning ignores it from a KeyboardInterrupt on
