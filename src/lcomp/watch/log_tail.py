"""The end of a run's log, and what is added to it."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import NamedTuple

from lcomp.errors import terminal
from lcomp.record.limits import Refused
from lcomp.record.redaction import redacted_line

FILE = "lcomp.log"
MOST = 1 << 16  # bytes at once


class Piece(NamedTuple):
    """Lines of a log, as text.

    Attributes:
        text: without control characters and secrets.
        next: where the piece after it begins, in bytes.
        skipped: bytes before it that are not shown.
    """

    text: str
    next: int
    skipped: int


def read_piece(path: Path, begin: int | None) -> Piece:
    """The whole lines from a byte on, the last ones where that were too many.

    Args:
        begin: None for the end of the log.

    Raises:
        OSError: it cannot be opened, or is a link.
        Refused: it is no regular file.
    """
    with open(path, "rb", opener=open_plain) as file:
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode):
            raise Refused(f"{path}: is no regular file")
        size = about.st_size
        asked = 0 if begin is None or begin > size else begin  # a log that is shorter than it was is another
        first = max(asked, size - MOST)
        file.seek(first)
        content = file.read(size - first)
    if first > asked:  # within a line
        cut = content.find(b"\n") + 1
        first, content = first + cut, content[cut:]
    whole = content.rfind(b"\n") + 1 or (len(content) if len(content) >= MOST else 0)
    text = content[:whole].decode(errors="replace")
    lines = (terminal(redacted_line(line)) for line in text.splitlines())
    return Piece("".join(f"{line}\n" for line in lines), first + whole, first - asked)


def open_plain(path: str, flags: int) -> int:
    """Opens without waiting, and through no link."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOFOLLOW)
