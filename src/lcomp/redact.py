"""Passwords and keys stay out of whatever is written or sent."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "***"
SECRET = re.compile(r"(?i)(passw(or)?d|passphrase|secret|token|api_?key|credential|access_?key|private_?key)s?$")
COUNTS = re.compile(r"(?i)tokens?$")  # a network may count its tokens; nobody counts passwords
IN_URL = re.compile(r"(://)[^\s/'\"]+@")
GIVEN = re.compile(
    r"([A-Za-z_][\w.@/-]*)(\s*[=:]\s*)(\[[^\]]*\]|\{[^{}]*\}|'[^']*'|\"[^\"]*\"|\$\{[^}]*\}|[^\s,}\])&'\"]+)"
)
NAMED = re.compile(r"(?i)^(\$\{[^}]*\}|true|false|null|none|)$")  # no secret, whatever the key
NUMBER = re.compile(r"^[-+]?[\d.]+(e[-+]?\d+)?$")
SHORTEST = 6  # characters of an environment variable's value that is looked for


def redacted(value: Any, key: str = "") -> Any:
    """`value` (JSON-like) with secrets hidden: every text beneath a key such as `api_key`, names and passwords in URLs,
    the values of environment variables whose names say that they are secret. `${oc.env:NAME}` stays."""
    if isinstance(value, Mapping):
        return {name: redacted(item, key if SECRET.search(key) else str(name)) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(item, key) for item in value]
    if value is None or isinstance(value, bool):
        return value
    if SECRET.search(key) and is_secret(key, str(value)):
        return HIDDEN
    return text(value) if isinstance(value, str) else value


def is_secret(name: str, value: str) -> bool:
    """Whether a value under a telling name is one to hide."""
    bare = value.strip("'\" ")
    return not NAMED.match(bare) and not (COUNTS.search(name) and NUMBER.match(bare))


def text(line: str) -> str:
    """A line of a log, an override, an error, with secrets hidden."""
    for name in filter(SECRET.search, os.environ):
        if len(value := os.environ[name]) >= SHORTEST:
            line = line.replace(value, HIDDEN)
    line = IN_URL.sub(rf"\1{HIDDEN}@", line)
    return GIVEN.sub(hide, line)


def hide(found: re.Match[str]) -> str:
    """`name=value` with the value hidden where the name says so; what stands within a value is looked at too."""
    name, sign, value = found[1], found[2], found[3]
    if not SECRET.search(name):
        return f"{name}{sign}{GIVEN.sub(hide, value)}"
    return f"{name}{sign}{HIDDEN}" if is_secret(name, value) else found[0]
