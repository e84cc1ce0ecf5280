"""The record of a run: one schema, written whole or not at all."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from types import UnionType
from typing import Any, ForwardRef, TypedDict, get_args, get_origin, get_type_hints, is_typeddict

from lcomp.record import schema
from lcomp.record.environment import Environment
from lcomp.record.files import Damaged, Jsonable, sha256, verified_content, with_checksum, write_atomically
from lcomp.record.limits import Refused
from lcomp.record.metric import Metric, MetricRecord, metric_of
from lcomp.record.plain import PlainValue
from lcomp.record.point_key import canonical_point, hidden_digest
from lcomp.record.redaction import redacted
from lcomp.record.untrusted import read_json

FILE_NAME = "result.json"
ARTIFACT = "artifact.onnx"  # the exported network; what an engine makes of it lies beside it
LATENCIES = ("latency_us_p50", "latency_us_p90", "latency_ratio", "test_set_seconds")
METRICS = (  # that a search may choose on: of validation examples, or of the artifact as it lies there
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
    "flash_bytes",
    "ram_bytes",
    *LATENCIES,
)
Curves = dict[str, list[float | None]]  # what was logged of each epoch, by name
KEPT = ("*.onnx", "*.lcomp", "*.ckpt", "*.npz", "*.tflite", "*.c")  # files beside a record that an equal run's has too
OPTIONAL = ("hidden", "best_epoch", "stacked")  # fields that most records have not
ENTRY = "entry.json"  # of a cached baseline: its seconds, hashes, epochs


class UnknownVersion(Refused):
    """A record of another lcomp's, not to be read, nor to be taken for a damaged one."""


class DatasetRecord(TypedDict, total=False):
    """A record's `dataset`: what tells it from others, and how many examples each split has."""

    name: str
    sha256: str
    train: int
    val: int
    test: int


@dataclass
class Result:
    """What one run leaves behind; `metrics` are the artifact's, `baseline` the same metrics of the baseline."""

    status: str = "failed"  # ok | pruned | nan | failed
    error: str | None = None
    name: str | None = None
    config_hash: str | None = None
    code_hash: str | None = None
    overrides: list[str] = field(default_factory=list)
    choices: dict[str, str | list[str] | None] = field(default_factory=dict)
    params: dict[str, PlainValue] = field(default_factory=dict)
    seed: int = 0
    dataset: DatasetRecord = field(default_factory=DatasetRecord)
    metric: MetricRecord = field(default_factory=MetricRecord)  # of its task; accuracy where there is none
    environment: Environment = field(default_factory=Environment)
    metrics: dict[str, float] = field(default_factory=dict)
    baseline: dict[str, float] = field(default_factory=dict)
    artifact: dict[str, str] = field(default_factory=dict)
    baseline_artifact: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    steps: int = 0
    started: float = 0.0  # seconds since 1970
    epochs: Curves = field(default_factory=dict)
    reused: str | None = None  # the folder of the equal run that this record was taken from
    files: dict[str, str] = field(default_factory=dict)  # SHA-256 of the files beside the record that the run left
    checksum: str | None = None  # of the record as it was written, itself apart
    schema_version: int = schema.VERSION
    best_epoch: int | None = None  # with checkpoint=best, the epoch, from 1, whose weights are exported
    stacked: int | None = None  # how many networks learned at once, of which this is one
    hidden: str | None = None  # in a record whose overrides had secrets: a digest of them

    @property
    def point(self) -> tuple[str, ...]:
        """What it has in common with other runs of its point."""
        return canonical_point(self.overrides, self.hidden)

    @property
    def chosen_by(self) -> Metric:
        """The metric of its task."""
        return metric_of(self.metric)

    @property
    def is_final(self) -> bool:
        """Whether another try would give it again."""
        return self.status in ("ok", "pruned", "nan")

    @property
    def has_latencies(self) -> bool:
        """Whether they were measured, all of them."""
        return all(name in self.metrics for name in LATENCIES)

    @property
    def known(self) -> Result:
        """The same, less figures that are null."""
        metrics, baseline = ({k: v for k, v in of.items() if v is not None} for of in (self.metrics, self.baseline))
        return replace(self, metrics=metrics, baseline=baseline)

    @property
    def lacks(self) -> str | None:
        """What a finished run's record does not say and tables show; None where it says it all."""
        if self.status != "ok":
            return None
        return schema.missing_figures(self.metrics, self.baseline, bool(self.dataset), self.chosen_by)

    @property
    def techniques(self) -> str:
        """What compressed the network, in one word: `logit`, `scheduled+qat`, or `baseline` where nothing did."""
        chosen = [self.choices.get(family) for family in ("kd", "prune", "quant")]
        return "+".join(str(choice) for choice in chosen if choice not in (None, "none")) or "baseline"

    def write(self, folder: Path) -> Path:
        """Writes `result.json` into `folder`; figures that are not finite become null."""
        path = folder / FILE_NAME
        self.hidden = hidden_digest(self.overrides) or self.hidden
        fields: dict[str, PlainValue] = {
            name: value for name, value in asdict(self).items() if name not in OPTIONAL or value is not None
        }
        if self.status != "ok":
            fields = schema.valid_fields(finite_fields(fields), asdict(Result()))
        write_atomically(path, with_checksum(finite_fields(redacted(fields))))
        return path


def read_result(path: Path) -> Result:
    """The record at `path`.

    Raises:
        OSError: it cannot be opened.
        Refused: it is none; the message names the file and what is wrong with it.
        UnknownVersion: it is one of another version.
    """
    content = read_json(path)
    if version := schema.unknown_version(content):
        raise UnknownVersion(f"{path}: {version}")
    if isinstance(content, dict) and isinstance(content.get("epochs"), list):  # of before other curves were kept
        content["epochs"] = {"val_accuracy": content["epochs"]}
    wrong = schema.find_fault(content)
    if wrong or not isinstance(content, dict):
        raise Refused(f"{path}: {wrong}")
    return result_of({"schema_version": 1} | content)


def result_of(content: dict[str, Any]) -> Result:
    """The record whose fields these are, each checked before."""
    return Result(**content)


def read_verified(path: Path) -> Result:
    """The record at `path`, if not a bit of it and of its run's files differs from what was written.

    Raises:
        Damaged: something does, or the record is of another version, or of one that noted no checksums.
    """
    if not path.is_file():
        raise Damaged("it is no file")
    content = verified_content(path.read_bytes())
    if version := schema.unknown_version(content):
        raise Damaged(version)
    kinds = get_type_hints(Result)
    wrong = [name for name in content if name not in kinds or not matches_annotation(content[name], kinds[name])]
    if wrong:
        raise Damaged(f"{wrong[0]} is not of the schema")
    result = result_of(content)
    for name, expected in result.files.items():
        file = path.parent / name
        if Path(name).name != name or file.is_symlink() or not file.is_file() or sha256(file) != expected:
            raise Damaged(f"its {name} is not what was written")
    return result


def file_hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of the files that a run left in `folder`."""
    return {file.name: sha256(file) for kind in KEPT for file in sorted(folder.glob(kind))}


def matches_annotation(value: PlainValue, kind: Any) -> bool:
    """Whether a value of a record is of the kind that its field is annotated with; a figure may be null."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is UnionType:
        return any(matches_annotation(value, one) for one in inner)
    if isinstance(kind, ForwardRef):  # `PlainValue` within itself, which all of JSON is
        return True
    if is_typeddict(kind):
        return isinstance(value, dict)
    if origin is dict:
        return isinstance(value, dict) and all(matches_annotation(one, inner[1]) for one in value.values())
    if origin is list:
        return isinstance(value, list) and all(matches_annotation(one, inner[0]) for one in value)
    if kind is float:
        return value is None or (isinstance(value, int | float) and not isinstance(value, bool))
    return isinstance(value, kind) and not (kind is int and isinstance(value, bool))


def perturbation_figures(metrics: Mapping[str, float], metric: Metric) -> list[str]:
    """The figures on perturbed examples that were asked for by name, such as `accuracy/<perturbation>`; those of a set,
    as of `accuracy/mnist_c/fog`, are many and have a mean."""
    return [name for name in metrics if name.startswith(f"{metric.name}/") and name.count("/") == 1]


def median_figures(of: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The median of each figure that all of them have: of a baseline, which is timed anew beside each run."""
    return {name: median(one[name] for one in of) for name in of[0] if all(one.get(name) is not None for one in of)}


def baseline_curves(folder: Path) -> Curves:
    """What was logged while the baseline in the cache's `folder` learned; nothing where that is gone."""
    try:
        entry = read_json(folder / ENTRY)
    except (OSError, ValueError):
        return {}
    curves = entry.get("epochs") if isinstance(entry, dict) else None
    return curves if schema.are_curves(curves) else {}


def finite_fields(fields: Mapping[str, Jsonable]) -> dict[str, PlainValue]:
    return {key: finite_or_none(item) for key, item in fields.items()}


def finite_or_none(value: Jsonable) -> PlainValue:
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return finite_fields(value)
    if isinstance(value, Sequence):
        return [finite_or_none(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def timing(result: Result, part: str) -> Iterator[None]:
    """Notes the seconds that a part of the run takes."""
    start = time.monotonic()
    try:
        yield
    finally:
        result.seconds[part] = time.monotonic() - start
