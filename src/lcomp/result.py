"""The record of a run: one schema, written whole or not at all."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from lcomp import schema
from lcomp.files import write_atomically
from lcomp.limits import Refused
from lcomp.points import hidden, key
from lcomp.redact import redacted
from lcomp.untrusted import json_of

SCHEMA_VERSION = 1
FILE_NAME = "result.json"
ARTIFACT = "artifact.onnx"  # the exported network; what an engine makes of it lies beside it
METRICS = (  # that a search may choose on: of validation images, or of the artifact as it lies there
    "val_accuracy",
    "val_mce",
    "gzip_bytes",
    "file_bytes",
    "packed_bytes",
    "stream_bytes",
    "memory_bytes",
    "macs",
    "parameters",
    "nonzero_parameters",
    "sparsity",
)

LATENCIES = ("latency_us_p50", "latency_us_p90", "latency_ratio", "test_set_seconds")
ENTRY = "entry.json"  # of a cached baseline: its seconds, hashes, epochs
Curves = dict[str, list[float | None]]  # what was logged of each epoch, by name


@dataclass
class Result:
    """What one run leaves behind; `metrics` are the artifact's, `baseline` the same metrics of the baseline."""

    status: str = "failed"  # ok | pruned | nan | failed
    error: str | None = None
    name: str | None = None
    config_hash: str | None = None
    code_hash: str | None = None
    overrides: list[str] = field(default_factory=list)
    choices: dict[str, Any] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    dataset: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    baseline: dict[str, float] = field(default_factory=dict)
    artifact: dict[str, str] = field(default_factory=dict)
    baseline_artifact: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    steps: int = 0
    started: float = 0.0  # seconds since 1970
    epochs: Curves = field(default_factory=dict)
    reused: str | None = None  # the folder of the equal run that this record was taken from
    schema_version: int = SCHEMA_VERSION
    hidden: str | None = None  # in a record whose overrides had secrets: a digest of them

    @property
    def point(self) -> tuple[str, ...]:
        """What it has in common with other runs of its point."""
        return key(self.overrides, self.hidden)

    @property
    def is_final(self) -> bool:
        """Whether another try would give it again."""
        return self.status in ("ok", "pruned", "nan")

    @property
    def known(self) -> Result:
        """The same, less figures that are null."""
        own, base = ({k: v for k, v in of.items() if v is not None} for of in (self.metrics, self.baseline))
        return replace(self, metrics=own, baseline=base)

    @property
    def lacks(self) -> str | None:
        """What a finished run's record does not say and tables show; None where it says it all."""
        return schema.lacking(self.metrics, self.baseline, self.dataset) if self.status == "ok" else None

    @property
    def techniques(self) -> str:
        """What compressed the network, in one word: `logit`, `scheduled+qat`, or `baseline` where nothing did."""
        chosen = [self.choices.get(family) for family in ("kd", "prune", "quant")]
        return "+".join(str(choice) for choice in chosen if choice not in (None, "none")) or "baseline"

    def write(self, folder: Path) -> Path:
        """Writes `result.json` into `folder`; figures that are not finite become null."""
        path = folder / FILE_NAME
        self.hidden = hidden(self.overrides) or self.hidden
        kept = {name: value for name, value in asdict(self).items() if name != "hidden" or value is not None}
        if self.status != "ok":
            kept = schema.kept(finite(kept), asdict(Result()))
        text = json.dumps(finite(redacted(kept)), indent=2, sort_keys=True, allow_nan=False)
        write_atomically(path, (text + "\n").encode())
        return path


def read(path: Path) -> Result:
    """The record at `path`.

    Raises:
        OSError: it cannot be opened.
        Refused: it is none; the message names the file and what is wrong with it.
    """
    found = json_of(path)
    if isinstance(found, dict) and isinstance(found.get("epochs"), list):  # of before other curves were kept
        found["epochs"] = {"val_accuracy": found["epochs"]}
    if wrong := schema.fault(found):
        raise Refused(f"{path}: {wrong}")
    return Result(**found)


def perturbations(metrics: Mapping[str, float]) -> list[str]:
    """The accuracies on perturbed images that were asked for by name, `accuracy/<perturbation>`; those of a set, as of
    `accuracy/mnist_c/fog`, are many and have a mean."""
    return [name for name in metrics if name.startswith("accuracy/") and name.count("/") == 1]


def baseline_curves(folder: Path) -> Curves:
    """What was logged while the baseline in the cache's `folder` learned; nothing where that is gone."""
    try:
        found = json_of(folder / ENTRY)["epochs"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return found if schema.are_curves(found) else {}


def finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def seconds(result: Result, part: str) -> Iterator[None]:
    """Notes the seconds that a part of the run takes."""
    start = time.monotonic()
    try:
        yield
    finally:
        result.seconds[part] = time.monotonic() - start
