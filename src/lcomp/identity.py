"""What makes two runs the same: hashes of configuration, of code and of data."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import hydra.utils

NOT_DEFINING = {
    "name",
    "progress",
    "reuse",
    "baseline.cache",
    "data.root",
    "data.download",
    "data.dataset",
    "data.perturb",
    "data.eval_perturbations",
    "data.mnist_c_root",
    "kd.teacher",
    "measure",
    "logger",
    "report",
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
    """A short hash of a JSON-like value."""
    return hashlib.sha256(json.dumps(canonical(value), sort_keys=True).encode()).hexdigest()[:16]


def config_hash(config: dict[str, Any], data_sha256: str) -> str:
    """The hash of what defines the experiment: no names, paths, logging or progress, no inactive family."""

    def kept(node: dict[str, Any], prefix: str) -> dict[str, Any]:
        found = {}
        for key, value in node.items():
            path = f"{prefix}{key}"
            if path in NOT_DEFINING or value is None or value in ({}, []):
                continue
            found[key] = kept(value, f"{path}.") if isinstance(value, dict) else value
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
    """The hash of lcomp's source, of the user's modules behind a `_target_` in `node`, and of what trains and runs
    networks."""
    files = sorted(Path(__file__).parent.rglob("*.py"))
    for target in sorted(set(targets(node))):
        source = inspect.getsourcefile(hydra.utils.get_object(target))
        if not target.startswith("lcomp.") and source:
            files.append(Path(source))
    text = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
    return digest([text, version("torch"), version("onnxruntime")])


def dataset(data: Any) -> dict[str, Any]:
    """The record's `dataset`: name, SHA-256 and the sizes of the splits.

    A user's DataModule may state `name` and `sha256`; otherwise its class names it, and its validation and test
    batches are hashed.
    """
    loaders = {"train": data.train_dataloader(), "val": data.val_dataloader(), "test": data.test_dataloader()}
    sha256 = getattr(data, "sha256", None)
    if sha256 is None:
        hasher = hashlib.sha256()
        for part in ("val", "test"):
            for batch in loaders[part]:
                for tensor in batch[:2]:
                    hasher.update(tensor.contiguous().numpy().tobytes())
        sha256 = hasher.hexdigest()
    sizes = {part: len(loader.dataset) for part, loader in loaders.items()}
    return {"name": getattr(data, "name", None) or type(data).__name__, "sha256": sha256, **sizes}
