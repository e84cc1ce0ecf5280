"""What this process tells the one that started it as a part of itself: where it works, how far it is, why it ended."""

from __future__ import annotations

import json
import os
import threading
import time

from lcomp.record.plain import PlainValue

INTERVAL = 0.2  # seconds between two accounts of progress


class Listener:
    """The process at the other end of a pipe; nobody, in a process that was started from a shell.

    Attributes:
        draws: whether it shows progress itself, so that no line of it is printed here.
    """

    def __init__(self) -> None:
        self.descriptor: int | None = None
        self.draws = False
        self.last: float = 0.0
        self.lock = threading.Lock()

    def begin(self, descriptor: int, draws: bool) -> None:
        """Has it listen; processes that this one starts do not speak to it."""
        os.set_inheritable(descriptor, False)
        self.descriptor, self.draws = descriptor, draws

    @property
    def is_there(self) -> bool:
        return self.descriptor is not None

    def tell(self, **event: PlainValue) -> None:
        """Tells of an event, where somebody listens."""
        if self.descriptor is None:
            return
        with self.lock:
            try:
                os.write(self.descriptor, json.dumps(event).encode() + b"\n")
            except BrokenPipeError:
                self.descriptor = None

    def tell_progress(self, done: int, total: int, text: str) -> None:
        """Tells how far this process is; not every time, but always of an end."""
        now = time.monotonic()
        if self.draws and (done >= total or now - self.last >= INTERVAL):
            self.last = now
            self.tell(done=done, total=total, text=text)


listener = Listener()
