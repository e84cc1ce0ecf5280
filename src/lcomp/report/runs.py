"""Records become what a report shows: runs with their labels and commands, groups of seeds, fronts."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from statistics import fmean, stdev

from lcomp.config import quoting
from lcomp.config.run_config import FAMILIES
from lcomp.record import folders, predictions
from lcomp.record.containers import plain_mapping
from lcomp.record.limits import Refused
from lcomp.record.predictions import Predictions
from lcomp.record.redaction import redacted
from lcomp.record.result import FILE_NAME, Result, read_result
from lcomp.record.run_folders import MANIFEST, NUMBER
from lcomp.record.untrusted import read_yaml
from lcomp.report.statistics import Difference, difference

log = logging.getLogger("lcomp")


@dataclass(frozen=True, eq=False)
class ReportRun:
    """A run as a report shows it.

    Attributes:
        folder: the run's.
        label: what was asked for beside what all runs of its report have in common.
        root: the folder that the report is of, in which the run lies.
    """

    folder: Path
    result: Result
    label: str
    root: Path

    @property
    def is_ok(self) -> bool:
        return self.result.status == "ok"

    @property
    def technique(self) -> str:
        """What compressed the network, each family said: `prune: scheduled + quant: qat`; or `baseline`."""
        chosen = {family: self.result.choices.get(family) for family in FAMILIES}
        said = [f"{family}: {choice}" for family, choice in chosen.items() if choice not in (None, "none")]
        return " + ".join(said) or "baseline"

    @property
    def artifact_path(self) -> Path | None:
        """Where its file lies, if it is still there."""
        try:
            return folders.artifact_file(self.folder, self.result.artifact)
        except Refused:
            return None

    @property
    def command(self) -> str:
        """What runs it again."""
        flags, paths = command_arguments(
            self.folder.parent if (self.folder.parent / MANIFEST).exists() else self.folder
        )
        return quoting.shell_command(redacted([*paths, *self.result.overrides]), flags)

    @property
    def group(self) -> str:
        """The sweep's name, or a single run's own."""
        return (self.folder.parent if (self.folder.parent / MANIFEST).exists() else self.folder).name

    @cached_property
    def baseline_folder(self) -> Path:
        """Where the baseline's files lie, if they are still there and the run's own."""
        try:
            return folders.baseline_file(self.folder, self.result.baseline_artifact, self.root).parent
        except Refused as refused:
            log.debug("%s", refused)
            return self.folder / "gone"

    @cached_property
    def point(self) -> tuple[str, ...]:
        """What runs that differ in their seed alone have in common."""
        overrides = tuple(o for o in self.result.point if not o.startswith("seed="))
        return (str(self.result.dataset.get("sha256")), str(self.result.name), *overrides)

    @property
    def baseline_sha256(self) -> str | None:
        """The hash of its baseline's file."""
        return self.result.baseline_artifact.get("sha256")


@dataclass
class SeedGroup:
    """Runs that differ in their seed alone."""

    runs: list[ReportRun] = field(default_factory=list)

    @property
    def label(self) -> str:
        parts = [part for part in self.runs[0].label.split(" ") if not part.startswith("seed=")]
        return " ".join(parts) or self.runs[0].result.techniques

    def values(self, metric: str) -> list[float]:
        values = [run.result.metrics.get(metric) for run in self.runs]
        return [value for value in values if value is not None]

    def mean(self, metric: str) -> float | None:
        return fmean(values) if (values := self.values(metric)) else None

    def spread(self, metric: str) -> float | None:
        """Standard deviation over seeds; None of a single one."""
        values = self.values(metric)
        return stdev(values) if len(values) > 1 else None

    def pairs(self) -> list[tuple[Predictions, Predictions]]:
        """What each run and its own baseline predict, where both are still there."""
        loaded = [
            (predictions.read_predictions(run.folder), predictions.read_predictions(run.baseline_folder))
            for run in self.runs
        ]
        return [pair for own, base in loaded if own is not None and (pair := own.paired_with(base))]

    def over_baseline(self) -> Difference | None:
        """Accuracy over that of each run's own baseline, paired by test example; None where predictions are gone."""
        pairs = self.pairs()
        return difference([own.correct for own, _ in pairs], [base.correct for _, base in pairs]) if pairs else None


def load_runs(within: Sequence[Path]) -> list[ReportRun]:
    """The runs that have a record under the folders `within`; of a point that was tried again in its sweep, the
    last try."""
    roots = {path: root for root in map(Path.resolve, within) for path in folders.find_files(root, FILE_NAME)}
    recorded = [
        (path.parent, result) for path in sorted(roots, key=sort_key) if (result := read_record(path)) is not None
    ]
    return report_runs(recorded, {path.parent: root for path, root in roots.items()})


def report_runs(recorded: Sequence[tuple[Path, Result]], roots: Mapping[Path, Path]) -> list[ReportRun]:
    """The runs of these records, in their order; of a point that was tried again in its sweep, the last try.

    Args:
        roots: by a run's folder, the one that the report is of.
    """
    last = {(path.parent, result.point, result.name): (path, result) for path, result in recorded}
    results = [result for _, result in last.values()]
    common = {o for o in results[0].overrides if all(o in r.overrides for r in results)} if len(results) > 1 else set()
    return [ReportRun(path, result, run_label(result, common), roots[path]) for path, result in last.values()]


@lru_cache(64)
def command_arguments(folder: Path) -> tuple[list[str], list[str]]:
    """The flags of the command that a sweep or a single run came of, and its overrides of where Hydra looks."""
    for file_name in ("multirun.yaml", ".hydra/hydra.yaml"):
        try:
            written = plain_mapping(read_yaml(folder / file_name))
        except (OSError, Refused):
            continue  # a record says what was asked for without it
        if isinstance(hydra := written.get("hydra"), dict):
            return quoting.recorded_search_flags(hydra), quoting.search_paths(hydra)
    return [], []


def read_record(path: Path) -> Result | None:
    """The record; None, with a line in the log, where the file is something else."""
    try:
        result = read_result(path)
    except (OSError, Refused) as error:
        log.warning("%s; left out", error)
        return None
    if result.lacks:
        log.warning("%s: %s; left out", path, result.lacks)
    return None if result.lacks else result.known


def sort_key(path: Path) -> tuple[Path, int, str]:
    number = path.parent.name
    return (path.parent.parent, int(number) if NUMBER.fullmatch(number) else -1, number)


def run_label(result: Result, common: Iterable[str]) -> str:
    distinctive = [str(o) for o in redacted([o for o in result.overrides if o not in common])]
    return " ".join(distinctive) or result.techniques


def seed_groups(runs: Iterable[ReportRun]) -> list[SeedGroup]:
    """Finished runs, those that differ in their seed alone together; of several with one seed (a result that was taken
    from another sweep, a sweep that was repeated), the last."""
    by_point: dict[tuple[str, ...], dict[int, ReportRun]] = {}
    for run in runs:
        if run.is_ok:
            by_point.setdefault(run.point, {})[run.result.seed] = run
    return [SeedGroup(list(seeds.values())) for seeds in by_point.values()]


def baselines(runs: Iterable[ReportRun]) -> dict[str, ReportRun]:
    """For each baseline, by its file's hash, a run that has its figures, measured latencies first."""
    by_hash: dict[str, ReportRun] = {}
    for run in sorted(runs, key=lambda run: "latency_us_p50" not in run.result.baseline):
        if run.is_ok and run.baseline_sha256 is not None:
            by_hash.setdefault(run.baseline_sha256, run)
    return by_hash


def baseline_runs(of: Mapping[str, ReportRun]) -> list[ReportRun]:
    """Baselines as runs of their own: they stand in fronts beside what is compressed."""
    return [
        replace(
            run,
            result=replace(
                run.result, metrics=run.result.baseline, choices=run.result.choices | dict.fromkeys(FAMILIES, "none")
            ),
            label=f"baseline of {network(run)}",
        )
        for run in of.values()
    ]


def network(run: ReportRun) -> str:
    """A baseline by its network and data."""
    return " ".join(str(run.result.choices.get(group)) for group in ("model", "data"))


def baseline_kinds(runs: Iterable[ReportRun]) -> list[list[SeedGroup]]:
    """Groups that start from the same kind of baseline together: one that differs in its seed alone."""
    runs = list(runs)
    hashes_of: dict[tuple[str, ...], set[str]] = {}  # also of runs that a later one of their seed stands for
    for run in runs:
        if run.is_ok and run.baseline_sha256 is not None:
            hashes_of.setdefault(run.point, set()).add(run.baseline_sha256)
    kinds: dict[int, tuple[set[str], list[SeedGroup]]] = {}
    number_of: dict[str, int] = {}  # of the kind, by a baseline's hash
    for group in seed_groups(runs):
        group_hashes = hashes_of.get(group.runs[0].point, set())
        if not group_hashes:
            continue
        found = {number_of[one] for one in group_hashes if one in number_of}
        alike = [one for one in kinds if one in found] if len(found) > 1 else list(found)
        number = alike[0] if alike else len(number_of)
        hashes, members = kinds.pop(number, (set(), []))
        for other in alike[1:]:
            more_hashes, more_members = kinds.pop(other)
            group_hashes = group_hashes | more_hashes
            members += more_members
        hashes |= group_hashes
        members.append(group)
        kinds[number] = hashes, members
        number_of |= dict.fromkeys(group_hashes, number)
    return [members for _, members in kinds.values()]


def by_dataset(runs: Iterable[ReportRun]) -> dict[str, list[ReportRun]]:
    """The finished runs of each data set: figures of two are never compared."""
    datasets: dict[str, list[ReportRun]] = {}
    for run in runs:
        if run.is_ok:
            datasets.setdefault(str(run.result.dataset.get("sha256")), []).append(run)
    return datasets


def selection_metric(runs: Iterable[ReportRun]) -> str:
    """The metric of robustness that is drawn: `val_mce`, which chooses; where a run lacks it `mce`, of test ones."""
    return "val_mce" if all(run.result.metrics.get("val_mce") is not None for run in runs) else "mce"


def numeric_param(run: ReportRun, name: str) -> float | None:
    """A parameter's value where it is a number."""
    value = run.result.params.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def numeric_params(runs: Iterable[ReportRun]) -> list[str]:
    """The technique parameters that are numbers and differ among finished runs, those that people ask for first."""
    by_name: dict[str, set[float]] = {}
    for run in (run for run in runs if run.is_ok):
        for name in run.result.params:
            if (number := numeric_param(run, name)) is not None:
                by_name.setdefault(name, set()).add(number)
    first = ("prune.sparsity", "quant.bits", "kd.temperature")
    varied = [name for name, values in by_name.items() if len(values) > 1]
    return sorted(varied, key=lambda name: (first.index(name) if name in first else len(first), name))


def relative_path(path: Path, folder: Path) -> str:
    """`path` as a page in the folder `folder` names it."""
    return os.path.relpath(path.resolve(), folder.resolve())
