"""Keeps W&B apart: its failures cost nothing, its files stay in the run's folder, the command line stays here."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

log = logging.getLogger("lcomp")
PERSONAL = ("WANDB_DATA_DIR", "WANDB_CACHE_DIR")  # where W&B would leave files in the user's home
said: set[str] = set()  # what was said not to be shown, in this process


@contextmanager
def without_errors(what: str = "this") -> Iterator[None]:
    """Says the first time what failed, and lets nothing through but an interruption."""
    try:
        yield
    except Exception as error:
        if what not in said:
            said.add(what)
            cause = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            log.warning("W&B does not show %s (%s); the record holds it all; logger=none does without W&B", what, cause)


@contextmanager
def no_arguments() -> Iterator[None]:
    """While it lasts, the process has no command line: W&B would send it as it was typed."""
    before = sys.argv
    sys.argv = before[:1]
    try:
        yield
    finally:
        sys.argv = before


@contextmanager
def files_inside(folder: Path) -> Iterator[None]:
    """While it lasts, W&B keeps files under `folder` that it would keep in the user's home."""
    before = {name: os.environ.get(name) for name in PERSONAL}
    os.environ.update({name: str(folder.absolute() / ".files") for name in PERSONAL})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
