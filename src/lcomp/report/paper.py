"""The paper's Tables I to V from records, its own figures beside ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lcomp.record import folders, predictions
from lcomp.record.metric import ACCURACY
from lcomp.record.predictions import Predictions
from lcomp.record.result import FILE_NAME, Result, perturbations
from lcomp.report.rows import BASELINE, DIFFERENCES, TABLES, Row
from lcomp.report.runs import Shown, record
from lcomp.report.statistics import difference, spread
from lcomp.report.text_table import Sheet


class Run(NamedTuple):
    """A record, for each test image whether the artifact was right, and what it and its baseline predict, where both
    are there."""

    result: Result
    right: NDArray[np.bool_]
    pair: tuple[Predictions, Predictions] | None = None


ON = " on "  # between an experiment's name and the perturbation of its training images
HEADINGS = ("row", "n", "test acc %", "gzip KB", "test set s", "training s")
BESIDE = (
    "row",
    "n",
    "paper acc %",
    "test acc %",
    "paper KB",
    "gzip KB",
    "paper s",
    "test set s",
    "training s",
    "differs",
)
DIFFERS = "differs: from the paper by more than two standard deviations of ours, or by more than 10 % of bytes."


def sheets(found: Mapping[str, Sequence[Run]]) -> list[Sheet]:
    """Tables I to V, the differences and the perturbed data, of the runs by the names of their experiments.

    A table none of whose compressed rows was run is left out.
    """
    everything, found = found, {name: runs for name, runs in found.items() if ON not in name}
    made = [machine([run.result for runs in everything.values() for run in runs])]
    for title, rows in TABLES.items():
        present = [row for row in rows if found.get(row.name)]
        if any(row is not BASELINE for row in present):
            made.append(table(title, present, found))
    pairs = [pair for pair in DIFFERENCES if all(found.get(name) for name in pair)]
    if pairs:
        made.append(differences(found, pairs))
    if len(everything) > len(found):
        made.append(perturbed(everything))
    return made


def machine(results: Sequence[Result]) -> Sheet:
    """Table I: where the figures were measured."""
    seen = sorted({str(result.environment.get("cpu")) for result in results})
    versions = results[0].environment.get("versions", {})
    data = sorted({result.dataset["name"] for result in results})
    rows = [
        ["processor", ", ".join(seen)],
        ["threads", ", ".join(sorted({str(result.environment.get("threads")) for result in results}))],
        *([name, str(versions.get(name, ""))] for name in ("python", "torch", "onnxruntime", "lcomp")),
        ["lcomp at", ", ".join(sorted({str(result.environment.get("git_sha"))[:10] for result in results}))],
        ["data", ", ".join(data)],
        ["runs", str(len(results))],
    ]
    return Sheet("Table I: this machine", ("", "value"), rows)


def table(title: str, rows: Sequence[Row], found: Mapping[str, Sequence[Run]]) -> Sheet:
    """The rows of one table, beside the paper's figures where it has any."""
    beside = any(row.paper for row in rows)
    body = [cells(row, [run.result for run in found[row.name]], beside) for row in rows]
    return Sheet(title, BESIDE if beside else HEADINGS, body, [DIFFERS] if beside else [])


def cells(row: Row, results: Sequence[Result], beside: bool) -> list[str]:
    """One row: mean ± standard deviation over its seeds."""

    def ours(key: str, scale: float, digits: int) -> str:
        return spread([scale * result.metrics[key] for result in results if key in result.metrics], digits)

    part = "baseline" if row.name in (BASELINE.name, "best_baseline") else "train"
    figures = [ours("test_accuracy", 100, 2), ours("gzip_bytes", 1e-3, 2), ours("test_set_seconds", 1, 3)]
    training = spread([result.seconds.get(part, 0.0) for result in results], 0)
    if not beside:
        return [row.label, str(len(results)), *figures, training]
    paper = [""] * 3
    if row.paper:
        paper = [f"{row.paper.accuracy:.2f}", f"{row.paper.kilobytes:.2f}", f"{row.paper.seconds:.3f}"]
    pairs = [cell for pair in zip(paper, figures, strict=True) for cell in pair]
    return [row.label, str(len(results)), *pairs, training, ", ".join(differs(row, results))]


def differs(row: Row, results: Sequence[Result]) -> list[str]:
    """In what the row is far from the paper's, see `DIFFERS`; its accuracy is judged from two seeds on."""
    if row.paper is None:
        return []
    accuracies = [100 * result.metrics["test_accuracy"] for result in results]
    kilobytes = fmean(result.metrics["gzip_bytes"] for result in results) / 1000
    far = {
        "accuracy": len(accuracies) > 1 and abs(fmean(accuracies) - row.paper.accuracy) > 2 * stdev(accuracies),
        "bytes": abs(kilobytes / row.paper.kilobytes - 1) > 0.1,
    }
    return [name for name, true in far.items() if true]


def differences(found: Mapping[str, Sequence[Run]], pairs: Sequence[tuple[str, str]]) -> Sheet:
    """Differences between rows, over the seeds that both have."""
    labels = {row.name: row.label for rows in TABLES.values() for row in rows}
    rows = []
    for one, other in pairs:
        left, right = ({run.result.seed: run.right for run in found[name]} for name in (one, other))
        seeds = sorted(left.keys() & right.keys())
        if not seeds:
            continue
        seen = difference([left[seed] for seed in seeds], [right[seed] for seed in seeds])
        rows.append([f"{labels[one]} - {labels[other]}", str(len(seeds)), *seen.cells])
    note = "Points of test accuracy; a paired bootstrap over test images of the mean over the seeds that both have."
    return Sheet("Differences", ("one - other", "n", "points", "95 % interval", "verdict"), rows, [note])


def perturbed(found: Mapping[str, Sequence[Run]]) -> Sheet:
    """What was trained on clean images and on perturbed ones, tested on both."""
    labels = {row.name: row.label for rows in TABLES.values() for row in rows}
    tested = sorted(
        {key for runs in found.values() for run in runs for key in perturbations(run.result.metrics, ACCURACY)}
    )
    found = {full: runs for full, runs in found.items() if full.partition(ON)[0] in labels}
    rows = []
    for full in sorted(found, key=lambda full: (list(labels).index(full.partition(ON)[0]), full)):
        name, _, perturbation = full.partition(ON)
        runs = [run for run in found[full] if all(key in run.result.metrics for key in tested)]
        if runs:
            figures = [spread([100 * run.result.metrics[key] for run in runs], 1) for key in ("test_accuracy", *tested)]
            own = sorted({key.split(".")[1] for key in runs[0].result.params if key.startswith("perturb.")})
            rows.append([labels[name], perturbation or "+".join(own) or "clean", str(len(runs)), *figures])
    headings = ("row", "trained on", "n", "clean", *(key.partition("/")[2] for key in tested))
    return Sheet("Perturbed data: test accuracy %", headings, rows, ["Severity 3 unless a column names another."])


def load(folder: Path) -> dict[str, list[Run]]:
    """The finished runs under `folder`, by the names of their experiments (` on <perturbation>` where training images
    were perturbed); of two with one name and seed, the later."""
    found: dict[tuple[str, int], Run] = {}
    for path in sorted(folders.files(folder, FILE_NAME), key=lambda path: path.stat().st_mtime):
        result = record(path)
        if result is None or result.status != "ok" or not result.name:
            continue
        kept = predictions.read(path.parent)
        if kept is not None:
            beside = [o.partition("=")[2] for o in result.overrides if o.startswith("perturb=")]
            trained_on = beside[0] if beside else "none"  # besides what the experiment itself perturbs
            name = result.name if trained_on == "none" else f"{result.name}{ON}{trained_on}"
            base = predictions.read(Shown(path.parent, result, name, folder).baseline_folder)
            found[name, result.seed] = Run(result, kept.right, kept.beside(base))
    names = sorted({name for name, _ in found})
    return {
        name: [run for (own, _), run in sorted(found.items(), key=lambda item: item[0]) if own == name]
        for name in names
    }
