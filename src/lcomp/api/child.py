"""A command line in a process of its own, for the program that asked for it: ends when that does."""

from __future__ import annotations

import os
import signal
import sys
import threading

from lcomp.cli import command
from lcomp.record.listener import listener


def main(arguments: list[str]) -> None:
    """Carries out a command line.

    Args:
        arguments: the descriptor to tell of events, `draws` or nothing, then the command line.
    """
    descriptor, draws, *typed = arguments
    listener.begin(int(descriptor), draws == "draws")
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell ignores it
    threading.Thread(target=end_with_parent, daemon=True).start()
    sys.path.insert(0, os.getcwd())
    sys.argv = ["lcomp", *typed]
    sys.exit(command.carry_out(typed))


def end_with_parent() -> None:
    """Interrupts this process when the program that started it is gone, as a notebook's kernel that is restarted."""
    while os.read(0, 1024):
        pass
    for stream in (1, 2):  # whose other ends are gone too
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    os.kill(os.getpid(), signal.SIGINT)
