"""Passwords and keys stay out of whatever is written or sent."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "***"
SECRET = re.compile(r"(?i)(passw(or)?d|secret|token|api_?key|credential|access_?key|private_?key)s?$")
IN_URL = re.compile(r"(://[^\s:/@]*:)[^\s@]+(?=@)")
ASSIGNED = re.compile(r"([\w.@/+-]+)=([^\s,}\]]+)")
SHORTEST = 6  # characters of an environment variable's value that is looked for


def redacted(value: Any, key: str = "") -> Any:
    """`value` (JSON-like) with secrets hidden: whatever stands under a key such as `api_key`, passwords in URLs, and
    the values of environment variables whose names say that they are secret."""
    if isinstance(value, Mapping):
        return {name: redacted(item, str(name)) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(item) for item in value]
    if value is not None and not isinstance(value, bool) and SECRET.search(key):
        return HIDDEN
    return text(value) if isinstance(value, str) else value


def text(line: str) -> str:
    """A line of a log, an override, an error, with secrets hidden."""
    for name, value in os.environ.items():
        if len(value) >= SHORTEST and SECRET.search(name):
            line = line.replace(value, HIDDEN)
    line = IN_URL.sub(rf"\1{HIDDEN}", line)
    return ASSIGNED.sub(lambda found: f"{found[1]}={HIDDEN}" if SECRET.search(found[1]) else found[0], line)
