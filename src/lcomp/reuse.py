"""Results that are found again instead of run again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from lcomp.environment import cpu
from lcomp.result import FILE_NAME, LATENCIES, Result, read

TAKEN = ("params", "environment", "metrics", "baseline", "artifact", "seconds", "steps", "epochs")
KEPT = ("*.onnx", "*.lcomp", "*.ckpt", "*.npz")  # files beside the record that the new one has too


def adopt(root: Path, folder: Path, result: Result, evaluated: Iterable[str] = ()) -> bool:
    """Fills `result`, whose hashes are known, and `folder` from an equal run of a sweep under `root`, if there is one.

    Args:
        evaluated: the perturbations that the run is to be measured under: an equal run without them does not do.

    Returns:
        Whether there was one.
    """
    for path in sorted(root.glob(f"*/*/{FILE_NAME}")):
        text = path.read_text() if path.parent.resolve() != folder.resolve() else ""
        if f'"{result.config_hash}"' not in text or f'"{result.code_hash}"' not in text:
            continue
        found = read(path)
        artifact = path.parent / str(found.artifact.get("path"))
        files = {artifact, *(file for kind in KEPT for file in path.parent.glob(kind))}
        measured = all(f"accuracy/{name}" in found.metrics for name in evaluated)
        if found.status != "ok" or not measured or not artifact.is_file():
            continue
        for file in files:
            link(file, folder / file.name)
        for name in TAKEN:
            setattr(result, name, getattr(found, name))
        base = path.parent.resolve() / found.baseline_artifact["path"]
        result.baseline_artifact = found.baseline_artifact | {"path": os.path.relpath(base, folder.resolve())}
        result.reused = os.path.relpath(path.parent.resolve(), folder.resolve())
        if found.environment["cpu"] != cpu():  # latencies are another processor's
            for metrics in (result.metrics, result.baseline):
                for name in LATENCIES:
                    metrics.pop(name, None)
        return True
    return False


def link(source: Path, target: Path) -> None:
    """The same file under another name, or a copy where the file system has no such thing."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
