"""Which GPU this process trains on: workers of one machine share them out."""

from __future__ import annotations

from pathlib import Path

import filelock

from lcomp.errors import UserError

taken: list[tuple[int, filelock.BaseFileLock]] = []  # this process's GPU, and the lock that says so while it lives


def count() -> int:
    """How many GPUs torch sees."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def take(folder: Path) -> None:
    """Gives this process, for as long as it lives, a GPU that as few others of `folder`'s sweep have as can be."""
    share = 0
    while not taken and (available := count()):
        for number in range(available):
            lock = filelock.FileLock(folder / f".gpu-{number}-{share}")
            try:
                lock.acquire(timeout=0)
            except filelock.Timeout:
                continue
            taken.append((number, lock))
            return
        share += 1  # more workers than GPUs


def device(name: str) -> str:
    """`cpu`, or this process's GPU as torch names it.

    Args:
        name: `cpu` or `gpu`.

    Raises:
        UserError: a GPU is asked for where torch sees none.
    """
    if name != "gpu":
        return "cpu"
    if not count():
        raise UserError("device=gpu: torch sees no GPU here; device=cpu trains on the processor")
    return f"cuda:{taken[0][0] if taken else 0}"
