"""Workers that pause while one of them measures: a latency is measured with nothing else of its sweep at work.

Each worker holds a lock on a file of its own while it computes; who measures holds the turn, and asks the others by a
signal to give theirs up. The answer is a wait for the turn, in Python's handler of the signal: between two operations
of whatever the worker does, while its other threads (signs of life, the watch over its parent) go on, and signals that
end it still do. The kernel frees a lock when its holder ends, whatever ends it, so none can wait for a dead process.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

if sys.platform != "win32":
    import fcntl

TURN = "turn"
PATIENCE = 600.0  # seconds for the others to pause: for the longest operation without Python in it
INTERVAL = 0.05  # seconds between two requests
SETTLED = 0.3  # seconds until the threads of a paused worker, which spin for its next operation, sleep


class StillBusy(Exception):
    """Another worker did not pause."""


@dataclass
class Pauses:
    """Those of one worker among the workers of this machine that share a folder.

    Attributes:
        folder: where the locks are; None while it is no worker, which nobody has pause.
        allowed: whether the worker may pause where it is. Not while it speaks with a study: others would find its
            database locked for as long as a measurement takes.
    """

    folder: Path | None = None
    allowed: bool = False
    own: int = -1  # the descriptor of the file that is locked while this worker computes

    @contextmanager
    def among(self, shared: Path) -> Iterator[None]:
        """Within it this process, on its main thread, is a worker that computes.

        Args:
            shared: a folder of those who share it, of any machine.
        """
        self.folder = shared / machine()
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / f"{os.getpid()}.{uuid.uuid4().hex[:8]}"
        self.own = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
        before = signal.signal(signal.SIGURG, self.answer)  # which nobody hears who has no handler of it
        try:
            self.compute()
            yield
        finally:
            signal.signal(signal.SIGURG, before)
            file.unlink(missing_ok=True)
            unlock(self.own)
            self.folder = None

    @contextmanager
    def pausing(self, allowed: bool) -> Iterator[None]:
        """Within it the worker may pause, or may not: who measures waits until it may."""
        before, self.allowed = self.allowed, allowed
        try:
            yield
        finally:
            self.allowed = before

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Within it every other worker pauses; of two that ask, one waits for the other.

        Raises:
            StillBusy: one did not pause.
        """
        if self.folder is None:
            yield
            return
        with self.pausing(allowed=False):
            fcntl.flock(self.own, fcntl.LOCK_UN)
            try:
                with locked(self.folder / TURN):
                    self.quieten(self.folder)
                    yield
            finally:
                self.compute()

    def compute(self) -> None:
        """Locks its own file again when nobody measures."""
        assert self.folder is not None
        with locked(self.folder / TURN):
            fcntl.flock(self.own, fcntl.LOCK_EX)

    def answer(self, number: int, frame: FrameType | None) -> None:
        """The signal's handler: pauses until who asked has measured, or is gone."""
        if self.allowed:
            with self.pausing(allowed=False):
                fcntl.flock(self.own, fcntl.LOCK_UN)
                self.compute()

    def quieten(self, folder: Path) -> None:
        """Has the other workers pause, and waits until they do."""
        until = time.monotonic() + PATIENCE
        for file in folder.glob("*.*"):
            with suppress(FileNotFoundError):  # it has ended meanwhile
                wait_for(file, until)
        time.sleep(SETTLED)


def wait_for(file: Path, until: float) -> None:
    """Asks the worker of a file to pause until it does, or is gone.

    Args:
        until: the time, of `time.monotonic`, when this gives up.

    Raises:
        FileNotFoundError, StillBusy: there is no such worker any more; it did not pause.
    """
    process, descriptor = int(file.name.partition(".")[0]), os.open(file, os.O_RDWR)
    try:
        while True:
            with suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            if time.monotonic() > until:
                raise StillBusy(f"no latency: worker {process} did not pause within {PATIENCE:.0f} seconds")
            try:
                os.kill(process, signal.SIGURG)
            except ProcessLookupError:  # a child of a killed worker has its lock, and does nothing of the sweep
                return
            time.sleep(INTERVAL)
    finally:
        unlock(descriptor)


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Within it this process has the lock on a file, opened for it alone: no child of a process before shares it."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        unlock(descriptor)


def unlock(descriptor: int) -> None:
    """Gives a lock up, children that have inherited its descriptor or not."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)


def machine() -> str:
    """What tells this machine from others, and a container from others on it: where a process id means one process."""
    with suppress(OSError):
        return f"{socket.gethostname()}-{os.stat('/proc/self/ns/pid').st_ino}"
    return socket.gethostname()
