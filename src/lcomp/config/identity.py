"""What makes two runs the same: hashes of configuration, of code and of data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lcomp.config import user_code
from lcomp.config.instantiation import find
from lcomp.config.renamed import original

NOT_DEFINING = {
    "name",
    "tags",
    "notes",
    "progress",
    "reuse",
    "speed",  # what it chooses counts
    "trainer.checkpoint_minutes",
    "baseline.trainer.checkpoint_minutes",
    "baseline.cache",
    "baseline.weights",  # its content counts
    "data.root",
    "data.download",
    "data.dataset",
    "data.perturb",
    "data.eval_perturbations",
    "data.mnist_c_root",
    "data.cache",
    "data.cache_gb",
    "kd.teacher",
    "measure",
    "logger",
    "report",
}

ADAM = {"_target_": "torch.optim.Adam", "fused": True}
CLASSIFICATION = {"_target_": "lcomp.tasks.ImageClassification"}
IMPLIED = {  # what all had before there was a choice: it is left out
    "task": CLASSIFICATION,
    "checkpoint": "last",
    "optimizer": ADAM,
    "baseline.optimizer": ADAM,
    "task.label_smoothing": 0.0,
    "quant.cost": "bytes",
    **{f"{owner}trainer.accumulate_grad_batches": 1 for owner in ("", "baseline.")},
    **{f"{owner}trainer.precision": "32-true" for owner in ("", "baseline.")},
}

SHOWING = {  # rooms and doors that show a result, ask for it, or look for settings, and change none
    *("api", "cli", "report", "search", "sweeps", "tracking", "watch"),
    *("__main__.py", "doctor.py", "pack.py", "sensitivity.py", "summary.py", "testing.py", "unpack.py"),
}


def canonical(value: Any) -> Any:
    """`value` with numbers that agree (3 and 3.0, 0.7 and 0.7000000000000001) in one form."""
    if isinstance(value, dict):
        return {key: canonical(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [canonical(item) for item in value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    number = float(f"{value:.12g}")
    return int(number) if number.is_integer() else number


def digest(value: Any) -> str:
    """A short hash of a JSON-like value, in which classes go by the names that they had first."""
    return hashlib.sha256(json.dumps(canonical(original(value)), sort_keys=True).encode()).hexdigest()[:16]


def config_hash(config: dict[str, Any], data_sha256: str) -> str:
    """The hash of what defines the experiment: no names, paths, logging or progress, no inactive family."""

    def kept(node: dict[str, Any], prefix: str) -> dict[str, Any]:
        found = {}
        for key, value in node.items():
            path = f"{prefix}{key}"
            if path in NOT_DEFINING or value is None or value in ({}, []):
                continue
            inside = kept(value, f"{path}.") if isinstance(value, dict) else value
            if path not in IMPLIED or inside != IMPLIED[path]:
                found[key] = inside
        return found

    return digest({"config": kept(config, ""), "data": data_sha256})


def targets(node: Any) -> list[str]:
    """Every `_target_` in a configuration."""
    if isinstance(node, Mapping):
        own = [str(node["_target_"])] if "_target_" in node else []
        return own + [target for value in node.values() for target in targets(value)]
    if isinstance(node, list | tuple):
        return [target for value in node for target in targets(value)]
    return []


def code_hash(node: Any) -> str:
    """The hash of lcomp's source less what only shows results, of the code that every `_target_` in `node` reaches, and
    of what trains and runs networks."""
    root = Path(__file__).parents[1]
    files = [path for path in sorted(root.rglob("*.py")) if path.relative_to(root).parts[0] not in SHOWING]
    text = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
    known = ("lcomp.", "torch.")  # torch by its version, below
    own = [target for target in sorted(set(targets(node))) if not target.startswith(known)]
    users = user_code.reachable_code({target: find(target, "_target_") for target in own})
    return digest([text, users, version("torch"), version("onnxruntime")])
