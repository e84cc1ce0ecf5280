"""Files that are written whole or not at all, and texts that show whether they still are."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from lcomp.record.plain import PlainValue

CHECKSUM_KEY = "checksum"
# what is only written: a `PlainValue` whose lists and dictionaries are of narrower kinds
Jsonable: TypeAlias = bool | int | float | str | Sequence["Jsonable"] | Mapping[str, "Jsonable"] | None


class Damaged(ValueError):
    """A file is not what was written."""


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Writes `content` beside `path`, flushes it to the disk and moves it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def sha256(path: Path) -> str:
    """The SHA-256 of the file, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def with_checksum(content: Mapping[str, Jsonable]) -> bytes:
    """JSON of `content` with the SHA-256 of itself; of one content there is one text."""
    rest = {key: value for key, value in json.loads(canonical_json(content)).items() if key != CHECKSUM_KEY}
    return canonical_json(rest | {CHECKSUM_KEY: hashlib.sha256(canonical_json(rest)).hexdigest()})


def verified_content(raw: bytes) -> dict[str, PlainValue]:
    """What `with_checksum` wrote.

    Raises:
        Damaged: not a bit of it may differ.
    """
    try:
        content = json.loads(raw)
        whole = isinstance(content, dict) and CHECKSUM_KEY in content and with_checksum(content) == raw
    except (ValueError, RecursionError) as error:
        raise Damaged(f"it cannot be read ({type(error).__name__})") from error
    if not whole:
        raise Damaged("its checksum is of another content, or there is none")
    return {key: value for key, value in content.items() if key != CHECKSUM_KEY}


def canonical_json(content: Mapping[str, Jsonable]) -> bytes:
    return (json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()
