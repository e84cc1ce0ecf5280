"""Files of a sweep that are not what they should be: named, set aside, and done without."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from lcomp.errors import UserError
from lcomp.record import schema
from lcomp.record.containers import plain_list
from lcomp.record.interruption import machine_interruption
from lcomp.record.limits import Refused
from lcomp.record.plain import PlainValue
from lcomp.record.result import FILE_NAME, UnknownVersion, read_result
from lcomp.record.untrusted import read_json, read_yaml

log = logging.getLogger("lcomp")


@contextmanager
def writable(folder: Path) -> Iterator[None]:
    """What the system refuses there as one line that names the folder, raised as UserError; a machine that cannot go on
    as that."""
    try:
        yield
    except OSError as error:
        if stop := machine_interruption(error):
            raise stop from error
        raise UserError(
            f"{folder}: cannot be written ({error.strerror or error}); mend that, or name another, hydra.sweep.dir=..."
        ) from error


class Manifest(NamedTuple):
    """What `sweep.json` says: what the sweep runs, and digests of its files, which older ones did not note."""

    plan: dict[str, PlainValue]
    files: dict[str, PlainValue] | None


def read_manifest(path: Path) -> Manifest | None:
    """What `sweep.json` says; None, set aside, where that cannot be read."""
    try:
        content = read_json(path)
        if isinstance(content, dict) and isinstance(plan := content.get("plan"), dict):
            return Manifest(plan, files if isinstance(files := content.get("files"), dict) else None)
        raise Refused("says no plan")
    except (OSError, Refused) as error:
        set_aside(path, error)
        return None


def read_overrides(path: Path) -> list[str]:
    """What Hydra noted that a run was asked for, as it stands in records; nothing where it could not."""
    try:
        content = plain_list(read_yaml(path))
    except FileNotFoundError:
        return []
    except (OSError, Refused) as error:
        log.warning("%s: it is not known what was asked for (%s)", path, error)
        return []
    named = [str(override).replace("\\:", ":") for override in content]
    return named if schema.RULES["overrides"].allows([*named]) else []


def set_aside_records(folder: Path) -> None:
    """Sees to it that every record of a sweep can be read; only for a folder in which nothing runs.

    Raises:
        UnknownVersion: another lcomp went on with the sweep.
    """
    for path in sorted(folder.glob(f"*/{FILE_NAME}")):
        try:
            read_result(path)
        except UnknownVersion:
            raise
        except (OSError, Refused) as error:
            set_aside(path, error)


def set_aside(path: Path, why: Exception) -> None:
    """Renames a file that nothing can be done with, and says so."""
    number = 0
    while (renamed := path.with_name(f"{path.name}.broken-{number}")).exists():
        number += 1
    path.rename(renamed)
    log.warning("%s: cannot be read (%s); set aside as %s", path, " ".join(str(why).split())[:120], renamed.name)
