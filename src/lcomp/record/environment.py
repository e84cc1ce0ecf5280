"""Where figures were measured: code, versions, processor."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import TypedDict

PACKAGES = ("lcomp", "torch", "pytorch-lightning", "hydra-core", "onnx", "onnxruntime", "numpy")


class Environment(TypedDict, total=False):
    """Of a record; git's are None outside a checkout."""

    git_sha: str | None
    git_dirty: bool | None
    versions: dict[str, str]
    cpu: str
    threads: int
    device: str
    deterministic: bool
    precision: str
    baseline_precision: str
    memory_format: str


def environment(
    threads: int,
    device: str = "cpu",
    precision: str = "32-true",
    baseline_precision: str = "32-true",
    memory_format: str | None = None,
) -> Environment:
    """The record's `environment`: git state of lcomp's checkout (null outside one), versions, processor, threads, and
    the device that trained; of a GPU, that the same command may give other bits there, and of layers that computed in
    16 bits, in which; and a memory format that was chosen for training."""
    status = git("status", "--porcelain")
    found: Environment = {
        "git_sha": git("rev-parse", "HEAD"),
        "git_dirty": None if status is None else bool(status),
        "versions": {name: version(name) for name in PACKAGES} | {"python": platform.python_version()},
        "cpu": cpu(),
        "threads": threads,
        "device": device,
    }
    if device != "cpu":
        found["deterministic"] = False
    if precision != "32-true":
        found["precision"] = precision
    if baseline_precision != "32-true":
        found["baseline_precision"] = baseline_precision
    if memory_format is not None:
        found["memory_format"] = memory_format
    return found


def git(*arguments: str) -> str | None:
    """What git prints about the checkout that this file is tracked in, or None."""
    here = Path(__file__)
    command = ["git", "-C", str(here.parent)]
    try:
        tracked = subprocess.run([*command, "ls-files", "--error-unmatch", here.name], capture_output=True, check=False)
        if tracked.returncode:
            return None
        return subprocess.run([*command, *arguments], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def cpu() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
