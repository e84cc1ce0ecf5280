"""Files of public data sets: downloaded whole or not at all, checked against what was published."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Mapping
from http.client import HTTPException
from pathlib import Path

import filelock

from lcomp.errors import UserError


def download(root: Path, place: Path, fetch: Callable[[Path], Path]) -> str | None:
    """Puts a folder at `root / place`, whole or not at all, once among processes.

    Args:
        fetch: downloads into a folder that it is given, and returns the one within it that is wanted.

    Returns:
        None, or why nothing is there.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(root / ".download.lock"), tempfile.TemporaryDirectory(dir=root) as temporary:
            if not (root / place).is_dir():  # another process may have been faster
                fetched = fetch(Path(temporary))
                (root / place).parent.mkdir(parents=True, exist_ok=True)
                os.replace(fetched, root / place)
    except (RuntimeError, OSError, EOFError, HTTPException) as error:
        return " ".join(str(error).split()) or type(error).__name__
    return None


def check_md5(folder: Path, published: Mapping[str, str]) -> str:
    """Sees to it that the files in `folder` are those that were published.

    Args:
        published: file names to MD5 sums.

    Returns:
        A SHA-256 of the sums: what identifies the examples.

    Raises:
        UserError: a file is missing, unreadable, truncated or altered; nothing is touched.
    """
    for name, expected in published.items():
        try:
            digest = hashlib.md5((folder / name).read_bytes(), usedforsecurity=False).hexdigest()
        except OSError as error:
            raise UserError(
                f"{folder / name}: cannot be read ({error.strerror}); expected MD5 {expected}, seen none. "
                "Restore the file, or point data.root elsewhere."
            ) from error
        if digest != expected:
            raise UserError(
                f"{folder / name}: MD5 is {digest}, expected {expected}: the file is truncated or altered. "
                "Delete its folder to have it fetched again, or point data.root elsewhere."
            )
    return hashlib.sha256("".join(published.values()).encode()).hexdigest()
