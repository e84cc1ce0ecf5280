"""Keeps W&B apart: its files stay in the run's folder, the command line stays here."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PERSONAL = ("WANDB_DATA_DIR", "WANDB_CACHE_DIR")  # where W&B would leave files in the user's home


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
