"""Records become what a report shows: runs with their labels and commands, groups of seeds, fronts."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from omegaconf import OmegaConf

from lcomp import folders, predictions, quoting
from lcomp.config import FAMILIES
from lcomp.limits import Refused
from lcomp.predictions import Predictions
from lcomp.redact import redacted
from lcomp.report.statistics import Difference, difference
from lcomp.result import FILE_NAME, Result, read
from lcomp.sweep import MANIFEST, NUMBER
from lcomp.untrusted import yaml_of

log = logging.getLogger("lcomp")


@dataclass(frozen=True, eq=False)
class Shown:
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
    def command(self) -> str:
        """What runs it again."""
        flags, paths = asked_with(self.folder.parent if (self.folder.parent / MANIFEST).exists() else self.folder)
        return quoting.command(redacted([*paths, *self.result.overrides]), flags)

    @property
    def group(self) -> str:
        """The sweep's name, or a single run's own."""
        return (self.folder.parent if (self.folder.parent / MANIFEST).exists() else self.folder).name

    @cached_property
    def baseline_folder(self) -> Path:
        """Where the baseline's files lie, if they are still there and the run's own."""
        try:
            return folders.baseline(self.folder, self.result.baseline_artifact, self.root).parent
        except Refused as refused:
            log.debug("%s", refused)
            return self.folder / "gone"

    @cached_property
    def point(self) -> tuple[str, ...]:
        """What runs that differ in their seed alone have in common."""
        asked = tuple(o for o in self.result.point if not o.startswith("seed="))
        return (str(self.result.dataset.get("sha256")), str(self.result.name), *asked)

    @property
    def baseline_sha256(self) -> str | None:
        """The hash of its baseline's file."""
        return self.result.baseline_artifact.get("sha256")


@dataclass
class Group:
    """Runs that differ in their seed alone."""

    runs: list[Shown] = field(default_factory=list)

    @property
    def label(self) -> str:
        parts = [part for part in self.runs[0].label.split(" ") if not part.startswith("seed=")]
        return " ".join(parts) or self.runs[0].result.techniques

    def values(self, metric: str) -> list[float]:
        found = [run.result.metrics.get(metric) for run in self.runs]
        return [value for value in found if value is not None]

    def mean(self, metric: str) -> float | None:
        return fmean(values) if (values := self.values(metric)) else None

    def spread(self, metric: str) -> float | None:
        """Standard deviation over seeds; None of a single one."""
        values = self.values(metric)
        return stdev(values) if len(values) > 1 else None

    def pairs(self) -> list[tuple[Predictions, Predictions]]:
        """What each run and its own baseline predict, where both are still there."""
        kept = [(predictions.read(run.folder), predictions.read(run.baseline_folder)) for run in self.runs]
        return [pair for own, base in kept if own is not None and (pair := own.beside(base))]

    def over_baseline(self) -> Difference | None:
        """Accuracy over that of each run's own baseline, paired by test image; None where predictions are gone."""
        pairs = self.pairs()
        return difference([own.right for own, _ in pairs], [base.right for _, base in pairs]) if pairs else None


def shown(within: Sequence[Path]) -> list[Shown]:
    """The runs that have a record under the folders `within`; of a point that was tried again in its sweep, the
    last try."""
    roots = {path: root for root in map(Path.resolve, within) for path in folders.files(root, FILE_NAME)}
    found = [(path.parent, result) for path in sorted(roots, key=order) if (result := record(path)) is not None]
    last = {(path.parent, result.point, result.name): (path, result) for path, result in found}
    results = [result for _, result in last.values()]
    common = {o for o in results[0].overrides if all(o in r.overrides for r in results)} if len(results) > 1 else set()
    return [Shown(path, result, label(result, common), roots[path / FILE_NAME]) for path, result in last.values()]


@lru_cache(64)
def asked_with(folder: Path) -> tuple[list[str], list[str]]:
    """The flags of the command that a sweep or a single run came of, and its overrides of where Hydra looks."""
    for noted in ("multirun.yaml", ".hydra/hydra.yaml"):
        try:
            written: Any = OmegaConf.to_container(yaml_of(folder / noted), resolve=False)
        except (OSError, Refused):
            continue  # a record says what was asked for without it
        if isinstance(written, dict) and isinstance(hydra := written.get("hydra"), dict):
            return quoting.flags(hydra), quoting.search_paths(hydra)
    return [], []


def record(path: Path) -> Result | None:
    """The record; None, with a line in the log, where the file is something else."""
    try:
        found = read(path)
    except (OSError, Refused) as error:
        log.warning("%s; left out", error)
        return None
    if found.lacks:
        log.warning("%s: %s; left out", path, found.lacks)
    return None if found.lacks else found.known


def order(path: Path) -> tuple[Any, ...]:
    number = path.parent.name
    return (path.parent.parent, int(number) if NUMBER.fullmatch(number) else -1, number)


def label(result: Result, common: Iterable[str]) -> str:
    own = [str(o) for o in redacted([o for o in result.overrides if o not in common])]
    return " ".join(own) or result.techniques


def groups(runs: Iterable[Shown]) -> list[Group]:
    """Finished runs, those that differ in their seed alone together; of several with one seed (a result that was taken
    from another sweep, a sweep that was repeated), the last."""
    found: dict[tuple[str, ...], dict[int, Shown]] = {}
    for run in runs:
        if run.is_ok:
            found.setdefault(run.point, {})[run.result.seed] = run
    return [Group(list(seeds.values())) for seeds in found.values()]


def baselines(runs: Iterable[Shown]) -> dict[str, Shown]:
    """For each baseline, by its file's hash, a run that has its figures, measured latencies first."""
    found: dict[str, Shown] = {}
    for run in sorted(runs, key=lambda run: "latency_us_p50" not in run.result.baseline):
        if run.is_ok and run.baseline_sha256 is not None:
            found.setdefault(run.baseline_sha256, run)
    return found


def as_runs(of: Mapping[str, Shown]) -> list[Shown]:
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


def network(run: Shown) -> str:
    """A baseline by its network and data."""
    return " ".join(str(run.result.choices.get(group)) for group in ("model", "data"))


def kinds(runs: Iterable[Shown]) -> list[list[Group]]:
    """Groups that start from the same kind of baseline together: one that differs in its seed alone."""
    runs = list(runs)
    hashes_of: dict[tuple[str, ...], set[str]] = {}  # also of runs that a later one of their seed stands for
    for run in runs:
        if run.is_ok and run.baseline_sha256 is not None:
            hashes_of.setdefault(run.point, set()).add(run.baseline_sha256)
    found: list[tuple[set[str], list[Group]]] = []
    for group in groups(runs):
        own = hashes_of.get(group.runs[0].point, set())
        alike = [kind for kind in found if kind[0] & own]
        hashes, members = own.union(*(kind[0] for kind in alike)), [g for kind in alike for g in kind[1]]
        found = [kind for kind in found if kind not in alike] + [(hashes, [*members, group])]
    return [members for hashes, members in found if hashes]


def by_dataset(runs: Iterable[Shown]) -> dict[str, list[Shown]]:
    """The finished runs of each data set: figures of two are never compared."""
    found: dict[str, list[Shown]] = {}
    for run in runs:
        if run.is_ok:
            found.setdefault(str(run.result.dataset.get("sha256")), []).append(run)
    return found


def front(runs: Sequence[Shown], cost: str, merit: str = "val_accuracy", lower: bool = False) -> list[Shown]:
    """The runs and baselines of one data set that no other beats on `merit` at no higher cost, cheapest first.

    Args:
        merit: the metric that chooses, of validation images.
        lower: less of it is better.
    """
    sign = -1 if lower else 1
    both = [*runs, *as_runs(baselines(runs))]  # of equals the run
    known = [run for run in both if run.is_ok and None not in map(run.result.metrics.get, (cost, merit))]
    best, found = -math.inf, []
    for run in sorted(known, key=lambda run: (run.result.metrics[cost], -sign * run.result.metrics[merit])):
        if sign * run.result.metrics[merit] > best:
            best = sign * run.result.metrics[merit]
            found.append(run)
    return found


def ranked(found: Iterable[Group]) -> list[Group]:
    """The best on validation first."""
    return sorted(found, key=lambda group: -(group.mean("val_accuracy") or 0))


def most_robust(found: Sequence[Group]) -> list[Group]:
    """The most robust on validation images first; by plain accuracy there, where one lacks `val_mce`."""
    errors = [group.mean("val_mce") for group in found]
    if None in errors:
        return ranked(found)
    return [group for _, group in sorted(zip(errors, found, strict=True), key=lambda pair: pair[0] or 0.0)]


def judged(runs: Iterable[Shown]) -> str:
    """The metric of robustness that is drawn: `val_mce`, which chooses; where a run lacks it `mce`, of test images."""
    return "val_mce" if all(run.result.metrics.get("val_mce") is not None for run in runs) else "mce"


def value(run: Shown, name: str) -> float | None:
    """A parameter's value where it is a number."""
    found = run.result.params.get(name)
    return float(found) if isinstance(found, int | float) and not isinstance(found, bool) else None


def numbers(runs: Iterable[Shown]) -> list[str]:
    """The technique parameters that are numbers and differ among finished runs, those that people ask for first."""
    seen: dict[str, set[float]] = {}
    for run in (run for run in runs if run.is_ok):
        for name in run.result.params:
            if (number := value(run, name)) is not None:
                seen.setdefault(name, set()).add(number)
    first = ("prune.sparsity", "quant.bits", "kd.temperature")
    varied = [name for name, values in seen.items() if len(values) > 1]
    return sorted(varied, key=lambda name: (first.index(name) if name in first else len(first), name))


def link(path: Path, beside: Path) -> str:
    """`path` as a page in the folder `beside` names it."""
    return os.path.relpath(path.resolve(), beside.resolve())
