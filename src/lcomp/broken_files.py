"""Files of a sweep that are not what they should be: named, set aside, and done without."""

from __future__ import annotations

import dataclasses
import json
import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import yaml

from lcomp.errors import UserError
from lcomp.result import FILE_NAME, Result, read

log = logging.getLogger("lcomp")
UNREADABLE = (OSError, ValueError, TypeError, AttributeError, RecursionError)


@contextmanager
def writable(folder: Path) -> Iterator[None]:
    """What the system refuses there as one line that names the folder, raised as UserError."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be written ({error.strerror or error}); mend that, or name another, hydra.sweep.dir=..."
        ) from error


def record(path: Path) -> Result:
    """The record at `path`.

    Raises:
        ValueError: there is none, but something else.
    """
    try:
        if not path.is_file():
            raise ValueError("no file")
        found = read(path)
    except UNREADABLE as error:
        raise ValueError(f"{type(error).__name__}: {' '.join(str(error).split())[:100]}") from error
    like = Result()
    for one in dataclasses.fields(Result):
        value, expected = getattr(found, one.name), getattr(like, one.name)
        kinds = (
            (str, type(None)) if expected is None else (int, float) if isinstance(expected, float) else type(expected)
        )
        if not isinstance(value, kinds):
            raise ValueError(f"{one.name} is {type(value).__name__}")
    if not all(isinstance(override, str) for override in found.overrides):
        raise ValueError("overrides are no texts")
    return found


def manifest(path: Path) -> dict[str, Any] | None:
    """What `sweep.json` says; None, set aside, where that cannot be read."""
    try:
        if not path.is_file():
            raise ValueError("no file")
        found = json.loads(path.read_text())
        if isinstance(found, dict) and isinstance(found.get("plan"), dict):
            return found
        raise ValueError("says no plan")
    except UNREADABLE as error:
        set_aside(path, error)
        return None


def overrides(path: Path) -> list[str]:
    """What Hydra noted that a run was asked for, as it stands in records; nothing where it could not."""
    try:
        asked = yaml.safe_load(path.read_text())
    except (*UNREADABLE, yaml.YAMLError):
        return []
    return [str(override).replace("\\:", ":") for override in asked] if isinstance(asked, list) else []


def set_aside_records(folder: Path) -> None:
    """Sees to it that every record of a sweep can be read; only for a folder in which nothing runs."""
    for path in sorted(folder.glob(f"*/{FILE_NAME}")):
        try:
            record(path)
        except ValueError as error:
            set_aside(path, error)


def set_aside_database(path: Path) -> None:
    """Sees to it that a study's file, where there is one, is a database."""
    if not path.is_file():
        return
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            [said, *_] = database.execute("PRAGMA quick_check(1)").fetchone()
        if said != "ok":
            raise sqlite3.DatabaseError(said)
    except sqlite3.OperationalError:  # busy, or unfinished: whoever opens it to write sees to that
        return
    except sqlite3.DatabaseError as error:
        set_aside(path, error)


def set_aside(path: Path, why: Exception) -> None:
    """Renames a file that nothing can be done with, and says so."""
    number = 0
    while (kept := path.with_name(f"{path.name}.broken-{number}")).exists():
        number += 1
    path.rename(kept)
    log.warning("%s: cannot be read (%s); set aside as %s", path, " ".join(str(why).split())[:120], kept.name)
