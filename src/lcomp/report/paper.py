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
from lcomp.record.result import FILE_NAME, Result, perturbation_figures
from lcomp.report.rows import BASELINE, DIFFERENCES, TABLES, Row
from lcomp.report.runs import ReportRun, read_record
from lcomp.report.statistics import difference, mean_and_std
from lcomp.report.text_table import TextTable


class PaperRun(NamedTuple):
    """A record, for each test example whether the artifact was right, and what it and its baseline predict, where both
    are there."""

    result: Result
    correct: NDArray[np.bool_]
    pair: tuple[Predictions, Predictions] | None = None


ON = " on "  # between an experiment's name and the perturbation of its training examples
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


def paper_tables(experiments: Mapping[str, Sequence[PaperRun]]) -> list[TextTable]:
    """Tables I to V, the differences and the perturbed data, of the runs by the names of their experiments.

    A table none of whose compressed rows was run is left out.
    """
    everything, experiments = experiments, {name: runs for name, runs in experiments.items() if ON not in name}
    tables = [machine_table([run.result for runs in everything.values() for run in runs])]
    for title, rows in TABLES.items():
        present = [row for row in rows if experiments.get(row.name)]
        if any(row is not BASELINE for row in present):
            tables.append(experiment_table(title, present, experiments))
    pairs = [pair for pair in DIFFERENCES if all(experiments.get(name) for name in pair)]
    if pairs:
        tables.append(difference_table(experiments, pairs))
    if len(everything) > len(experiments):
        tables.append(perturbed_table(everything))
    return tables


def machine_table(results: Sequence[Result]) -> TextTable:
    """Table I: where the figures were measured."""
    processors = sorted({str(result.environment.get("cpu")) for result in results})
    versions = results[0].environment.get("versions", {})
    data = sorted({result.dataset["name"] for result in results})
    rows = [
        ["processor", ", ".join(processors)],
        ["threads", ", ".join(sorted({str(result.environment.get("threads")) for result in results}))],
        *([name, str(versions.get(name, ""))] for name in ("python", "torch", "onnxruntime", "lcomp")),
        ["lcomp at", ", ".join(sorted({str(result.environment.get("git_sha"))[:10] for result in results}))],
        ["data", ", ".join(data)],
        ["runs", str(len(results))],
    ]
    return TextTable("Table I: this machine", ("", "value"), rows)


def experiment_table(title: str, rows: Sequence[Row], experiments: Mapping[str, Sequence[PaperRun]]) -> TextTable:
    """The rows of one table, beside the paper's figures where it has any."""
    with_paper = any(row.paper for row in rows)
    body = [paper_cells(row, [run.result for run in experiments[row.name]], with_paper) for row in rows]
    return TextTable(title, BESIDE if with_paper else HEADINGS, body, [DIFFERS] if with_paper else [])


def paper_cells(row: Row, results: Sequence[Result], with_paper: bool) -> list[str]:
    """One row: mean ± standard deviation over its seeds."""

    def ours(key: str, scale: float, digits: int) -> str:
        return mean_and_std([scale * result.metrics[key] for result in results if key in result.metrics], digits)

    part = "baseline" if row.name in (BASELINE.name, "best_baseline") else "train"
    figures = [ours("test_accuracy", 100, 2), ours("gzip_bytes", 1e-3, 2), ours("test_set_seconds", 1, 3)]
    training = mean_and_std([result.seconds.get(part, 0.0) for result in results], 0)
    if not with_paper:
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


def difference_table(experiments: Mapping[str, Sequence[PaperRun]], pairs: Sequence[tuple[str, str]]) -> TextTable:
    """Differences between rows, over the seeds that both have."""
    labels = {row.name: row.label for rows in TABLES.values() for row in rows}
    rows = []
    for first, second in pairs:
        left, right = ({run.result.seed: run.correct for run in experiments[name]} for name in (first, second))
        seeds = sorted(left.keys() & right.keys())
        if not seeds:
            continue
        paired = difference([left[seed] for seed in seeds], [right[seed] for seed in seeds])
        rows.append([f"{labels[first]} - {labels[second]}", str(len(seeds)), *paired.cells])
    note = "Points of test accuracy; a paired bootstrap over test examples of the mean over the seeds that both have."
    return TextTable("Differences", ("one - other", "n", "points", "95 % interval", "verdict"), rows, [note])


def perturbed_table(experiments: Mapping[str, Sequence[PaperRun]]) -> TextTable:
    """What was trained on clean examples and on perturbed ones, tested on both."""
    labels = {row.name: row.label for rows in TABLES.values() for row in rows}
    tested = sorted(
        {
            key
            for runs in experiments.values()
            for run in runs
            for key in perturbation_figures(run.result.metrics, ACCURACY)
        }
    )
    experiments = {full: runs for full, runs in experiments.items() if full.partition(ON)[0] in labels}
    rows = []
    for full in sorted(experiments, key=lambda full: (list(labels).index(full.partition(ON)[0]), full)):
        name, _, perturbation = full.partition(ON)
        runs = [run for run in experiments[full] if all(key in run.result.metrics for key in tested)]
        if runs:
            figures = [
                mean_and_std([100 * run.result.metrics[key] for run in runs], 1) for key in ("test_accuracy", *tested)
            ]
            perturbations = sorted({key.split(".")[1] for key in runs[0].result.params if key.startswith("perturb.")})
            rows.append([labels[name], perturbation or "+".join(perturbations) or "clean", str(len(runs)), *figures])
    headings = ("row", "trained on", "n", "clean", *(key.partition("/")[2] for key in tested))
    return TextTable("Perturbed data: test accuracy %", headings, rows, ["Severity 3 unless a column names another."])


def runs_by_experiment(folder: Path) -> dict[str, list[PaperRun]]:
    """The finished runs under `folder`, by the names of their experiments (` on <perturbation>` where training examples
    were perturbed); of two with one name and seed, the later."""
    by_seed: dict[tuple[str, int], PaperRun] = {}
    for path in sorted(folders.find_files(folder, FILE_NAME), key=lambda path: path.stat().st_mtime):
        result = read_record(path)
        if result is None or result.status != "ok" or not result.name:
            continue
        predicted = predictions.read_predictions(path.parent)
        if predicted is not None:
            perturbations = [o.partition("=")[2] for o in result.overrides if o.startswith("perturb=")]
            trained_on = perturbations[0] if perturbations else "none"  # besides what the experiment itself perturbs
            name = result.name if trained_on == "none" else f"{result.name}{ON}{trained_on}"
            base = predictions.read_predictions(ReportRun(path.parent, result, name, folder).baseline_folder)
            by_seed[name, result.seed] = PaperRun(result, predicted.correct, predicted.paired_with(base))
    names = sorted({name for name, _ in by_seed})
    return {
        name: [run for (experiment, _), run in sorted(by_seed.items(), key=lambda item: item[0]) if experiment == name]
        for name in names
    }
