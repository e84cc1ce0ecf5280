"""A folder that somebody else may have made: the files that lie in it, and what leads out of it."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

from lcomp.record import limits
from lcomp.record.limits import DEPTH, Refused
from lcomp.record.untrusted import read_bytes

log = logging.getLogger("lcomp")
ENTRY_NAME = re.compile(r"[0-9a-f]{16}")  # of a baseline's folder in the cache: the digest of what defines it


def walk(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Everything under `folder`, `DEPTH` levels deep, that no link leads to; a folder that cannot be read is named."""
    pending = [(os.fspath(folder), 0)]
    while pending:
        directory, depth = pending.pop()
        try:
            with os.scandir(directory) as scanned:
                inside = sorted(scanned, key=lambda entry: entry.name)
        except OSError as error:
            log.warning("%s: left out (%s)", directory, error.strerror)
            continue
        yield from inside
        deeper = [entry.path for entry in inside if entry.is_dir(follow_symlinks=False)]
        pending += [(path, depth + 1) for path in deeper if depth < DEPTH]


def find_files(folder: Path, name: str) -> list[Path]:
    """The regular files of that name under `folder`; a link, a pipe or a device of that name is named and left out."""
    paths = []
    for entry in walk(folder):
        if entry.name == name and entry.is_file(follow_symlinks=False):
            paths.append(Path(entry.path))
        elif entry.name == name:
            log.warning("%s: no regular file, left out", entry.path)
    return paths


def check_stays_inside(folder: Path) -> None:
    """Raises Refused where something in `folder` leads out of it, a link or a pipe: what is written there would be
    written elsewhere. W&B links to its own log, into which nothing is written later."""
    root = os.path.realpath(folder)
    for entry in walk(folder):
        parts = Path(entry.path).relative_to(folder).parts
        if entry.is_symlink() and "wandb" in parts[:-1] and parts[-1].endswith(".log"):
            continue
        if entry.is_symlink():
            target = Path(os.path.realpath(entry.path))
            if not target.is_relative_to(root):
                raise Refused(f"{entry.path}: a link that leads out of the folder, to {target}; take it away, or copy")
        elif not (entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False)):
            raise Refused(f"{entry.path}: neither a file nor a folder; take it away")


def check_own(folder: Path) -> None:
    """Raises Refused where `folder`, in which files are to be written, is there and is a link or no folder."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise Refused(f"{folder}: no folder of its own but a link or a file; nothing is written there")


def artifact_file(folder: Path, named: Mapping[str, str]) -> Path:
    """The regular file beside a record that it names as its artifact.

    Raises:
        Refused: it lies elsewhere, or is not there.
    """
    name = named.get("path", "")
    path = folder / name
    if Path(name).name != name or path.is_symlink() or not path.is_file():
        raise Refused(f"{folder}: names an artifact that is no file in it ({name})")
    return path


def verified_file(path: Path, sha256: str | None) -> Path:
    """The path of a file that has the hash which a record states.

    Raises:
        Refused: it has another, or cannot be read.
    """
    try:
        if cached_sha256(path, path.stat().st_mtime_ns) == sha256:
            return path
    except OSError as error:
        raise Refused(f"{path}: cannot be read ({error.strerror})") from None
    raise Refused(f"{path}: is not the file of which the record has the hash")


@lru_cache(1 << 12)
def cached_sha256(path: Path, changed: int) -> str:
    """The SHA-256 of a file as it was `changed`, nanoseconds since 1970."""
    return hashlib.sha256(read_bytes(path, limits.ARTIFACT)).hexdigest()


def baseline_file(folder: Path, named: Mapping[str, str], root: Path) -> Path:
    """The file that the record in `folder` names as its baseline's: under `root`, or an entry of a cache whose file has
    the hash that the record states.

    Raises:
        Refused: it is neither.
    """
    path = Path(os.path.realpath(folder / named.get("path", "gone/artifact.onnx")))
    if path.is_relative_to(os.path.realpath(root)):
        return path
    if not ENTRY_NAME.fullmatch(path.parent.name):
        raise Refused(f"{folder}: names a baseline that lies in no cache of baselines ({named.get('path')})")
    return verified_file(path, named.get("sha256"))
