"""Starts a command line in a process of its own, shows what it says, and hears how it ended."""

from __future__ import annotations

import codecs
import json
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TextIO

from lcomp.api.screen import Screen
from lcomp.errors import UserError
from lcomp.record.interruption import Interrupted
from lcomp.record.plain import PlainValue

BOOT = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from lcomp.api.child import main; main(sys.argv[2:])"
KEPT = 2000  # characters of standard error, for a process that ends without a word
FORCED = ("FORCE_COLOR", "CLICOLOR_FORCE")  # by which a notebook's kernel has pipes taken for terminals
LOOK = 0.2  # seconds between two looks at whether it has ended


@dataclass
class Outcome:
    """What a command line told of itself.

    Attributes:
        events: its folder (`folder`), the best trials of a search (`best`), why it ended (`error`, `kind`); by name,
            the last of each.
        code: its exit code.
        errors: the end of what it wrote to standard error.
    """

    events: dict[str, PlainValue] = field(default_factory=dict)
    code: int = 0
    errors: str = ""

    def check(self) -> None:
        """Raises what ended the command before its runs did.

        Raises:
            UserError: of what was asked for.
            Interrupted: the machine cannot go on, such as a full disk.
            KeyboardInterrupt: the command was interrupted.
            RuntimeError: it ended without a word.
        """
        if self.events.get("kind") == "user":
            raise UserError(str(self.events["error"]))
        if self.events.get("kind") == "machine":
            raise Interrupted(str(self.events["error"]))
        if self.events.get("kind") == "interrupted":
            raise KeyboardInterrupt
        if self.code not in (0, 1) or "folder" not in self.events:
            raise RuntimeError(f"the process that ran it ended with exit code {self.code}: {self.errors.strip()}")


def carry_out(arguments: Sequence[str], screen: Screen) -> Outcome:
    """Carries out a command line as `python -m lcomp` does, with this process's modules, folder and environment.

    Ctrl-C, or a notebook's stop, interrupts it: it leaves its records, says how to go on, and ends.
    """
    reading, writing = os.pipe()
    command = [sys.executable, "-c", BOOT, json.dumps(sys.path), str(writing), screen.mode, *arguments]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,  # whose end tells it that this process is gone
        stdout=None if screen.is_terminal(sys.stdout, 1) else subprocess.PIPE,
        stderr=None if screen.is_terminal(sys.stderr, 2) else subprocess.PIPE,
        pass_fds=[writing],
        env=environment(screen),
        start_new_session=True,  # Ctrl-C reaches it from here, once
    )
    os.close(writing)
    outcome, interrupted = Outcome(), False
    with screen, os.fdopen(reading, "rb", buffering=0), process:
        try:
            ears = Ears(process, reading, screen, outcome)
            while True:
                try:
                    ears.listen()
                    break
                except KeyboardInterrupt:
                    interrupted = True
                    process.send_signal(signal.SIGINT)
        finally:
            if process.poll() is None:  # whatever went wrong here
                process.terminate()
    outcome.code = process.returncode
    if interrupted:
        raise KeyboardInterrupt
    return outcome


def environment(screen: Screen) -> dict[str, str]:
    """This process's, less what is said of a notebook, which the other is not in."""
    left_out = () if screen.is_terminal(sys.stderr, 2) else FORCED
    own = {name: value for name, value in os.environ.items() if name not in left_out}
    if own.get("MPLBACKEND", "").startswith("module:"):
        del own["MPLBACKEND"]
    return own


class Ears:
    """Hears a process: its two streams, as they come, and its events, a line each."""

    def __init__(self, process: subprocess.Popen[bytes], events: int, screen: Screen, outcome: Outcome):
        self.process, self.events, self.screen, self.outcome = process, events, screen, outcome
        self.selector = selectors.DefaultSelector()
        self.selector.register(events, selectors.EVENT_READ, None)
        for pipe, to in ((process.stdout, sys.stdout), (process.stderr, sys.stderr)):
            if pipe is not None:
                decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
                self.selector.register(pipe.fileno(), selectors.EVENT_READ, (to, decoder))
        self.line = b""

    def listen(self) -> None:
        """Passes everything on until the process has ended, and nothing is left."""
        while True:
            ended = self.process.poll() is not None
            ready = self.selector.select(0 if ended else LOOK)
            for key, _ in ready:
                content = os.read(key.fd, 65536)
                if not content:
                    self.selector.unregister(key.fd)
                elif key.data is None:
                    self.hear(content)
                else:
                    self.pass_on(key.data[0], key.data[1].decode(content))
            if ended and not ready:
                return

    def pass_on(self, to: TextIO, text: str) -> None:
        if to is sys.stderr:
            self.outcome.errors = (self.outcome.errors + text)[-KEPT:]
        self.screen.write(to, text)

    def hear(self, content: bytes) -> None:
        *lines, self.line = (self.line + content).split(b"\n")
        for event in map(json.loads, lines):
            if "total" in event:
                self.screen.progress(event["done"], event["total"], event["text"])
            else:
                self.outcome.events |= event
