"""What makes two runs the same: hashes of configuration, of code and of data."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

NOT_DEFINING = {"name", "progress", "baseline.cache", "data.root", "data.download", "hydra"}


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
            if path in NOT_DEFINING or value is None or value == {}:
                continue
            found[key] = kept(value, f"{path}.") if isinstance(value, dict) else value
        return found

    return digest({"config": kept(config, ""), "data": data_sha256})


@cache
def code_hash() -> str:
    """The hash of lcomp's source and of the versions of what trains and runs networks."""
    sources = sorted(Path(__file__).parent.rglob("*.py"))
    text = [hashlib.sha256(path.read_bytes()).hexdigest() for path in sources]
    return digest([text, version("torch"), version("onnxruntime")])
