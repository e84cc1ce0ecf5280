"""The studies of residual networks on CIFAR-10 (docs/cifar10.md), published figures beside ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import NamedTuple

from lcomp.record.result import Result
from lcomp.report.paper import PaperRun, machine_table
from lcomp.report.robustness import corruption_errors, metric_cell, most_harmful, worst_corruption
from lcomp.report.statistics import mean_and_std
from lcomp.report.text_table import TextTable

HEADINGS = ("row", "n", "published acc %", "test acc %", "points", "packed bytes", "weights left", "MACs", "hours")
CORRUPTED = ("row", "n", "test acc %", "corrupted acc %", "mCE", "relative mCE", "worst corruption", "breaks most")
NOTE = (
    "In parentheses and points: over the network that it started from. packed bytes: the whole file. weights left: "
    "parameters that are not zero. MACs: over the baseline's. hours: of one thread, training alone."
)
OF_CORRUPTED = (
    "corrupted: mean over thirteen corruptions at severity 3. mCE, relative mCE, breaks most: over the network that a "
    "row started from (Hendrycks and Dietterich 2019)."
)
DISTILLED = "cifar10_kd_"  # what experiments of the third study are called


class StudyRow(NamedTuple):
    """The name of an experiment, its label, and what was published of the like."""

    name: str
    label: str
    published: str = ""


Groups = Mapping[str, Sequence[StudyRow]]  # by their titles, of which the first may be empty
Results = Mapping[str, Sequence[Result]]  # by the experiment


class Study(NamedTuple):
    """A table."""

    title: str
    groups: Groups


FLOAT_20, FLOAT_56 = (
    StudyRow(f"cifar10_resnet{depth}", f"ResNet-{depth}, the public file", published)
    for depth, published in ((20, "91.73"), (56, "93.39"))
)
CONTROL_20, CONTROL_56 = (
    StudyRow(f"cifar10_control_resnet{depth}", "control: fine-tuned as long, in float") for depth in (20, 56)
)
SIZES = (250, 100, 50, 20)  # KB packed
WAYS = {
    "prune": "pruned",
    "quant": "quantized",
    "kd": "narrower, distilled",
    "combined": "pruned, quantized and distilled",
}
STUDIES = [
    Study(
        "Low bits: ResNet-20, weights and activations",
        {
            "": [
                FLOAT_20,
                CONTROL_20,
                StudyRow("cifar10_lsq_4", "4 bits, learned steps", "APoT 92.45 (-0.51)"),
                StudyRow("cifar10_lsq_3", "3 bits, learned steps", "APoT 92.49 (-0.47)"),
                StudyRow("cifar10_lsq_2", "2 bits, learned steps", "APoT 90.96 (-2.00)"),
            ]
        },
    ),
    Study(
        "Pruning: ResNet-56",
        {
            "": [FLOAT_56, CONTROL_56],
            "weights": [
                StudyRow("cifar10_prune_2x", "one of 2 stays"),
                StudyRow("cifar10_prune_4x", "one of 4"),
                StudyRow("cifar10_prune_8x", "one of 8"),
                StudyRow("cifar10_prune_16x", "one of 16"),
                StudyRow("cifar10_prune_20x", "one of 20", "ShrinkBench 92.49 (-0.65)"),
                StudyRow("cifar10_shrinkbench_20x", "one of 20, ShrinkBench's setting", "ShrinkBench 92.49 (-0.65)"),
                StudyRow("cifar10_prune_32x", "one of 32", "ShrinkBench 91.79 (-1.35)"),
                StudyRow("cifar10_shrinkbench_32x", "one of 32, ShrinkBench's setting", "ShrinkBench 91.79 (-1.35)"),
            ],
            "filters": [
                StudyRow("cifar10_filter_30", "30 % go"),
                StudyRow("cifar10_filter_50", "51 % go", "SFP 93.35 (-0.24)"),
                StudyRow("cifar10_filter_70", "70 % go"),
            ],
        },
    ),
    Study("Distillation: ResNet-56 to ResNet-20", {}),  # the experiments `cifar10_kd_*`, whichever there are
    Study(
        "All together: ResNet-20 in so many bytes",
        {
            f"{size} KB": [StudyRow(f"cifar10_size_{size}_{way}", label) for way, label in WAYS.items()]
            for size in SIZES
        },
    ),
    Study(
        "Records: the least bytes",
        {
            "": [
                StudyRow("cifar10_record_25kb", "ResNet-8 in 25 KB", "MLPerf Tiny 86.97 in 98,496 bytes"),
                StudyRow("cifar10_record_60kb", "ResNet-20 in 60 KB", "MIRACLE 90.2 in about 130 KB"),
            ]
        },
    ),
]
ROWS = [row for study in STUDIES for rows in study.groups.values() for row in rows]


def is_row(name: str) -> bool:
    """Whether an experiment of that name stands in a table here."""
    return name.startswith(DISTILLED) or name in {row.name for row in ROWS}


def cifar10_tables(experiments: Mapping[str, Sequence[PaperRun]]) -> list[TextTable]:
    """A table for each study of which anything was run, and one of corruptions, of all rows that have any."""
    found = {name: [run.result for run in runs] for name, runs in experiments.items() if runs and is_row(name)}
    corruptible = {name: results for name, results in found.items() if any(map(corruption_errors, results))}
    distilled = [StudyRow(name, name.removeprefix(DISTILLED)) for name in sorted(found) if name.startswith(DISTILLED)]
    if not found:
        return []
    everything = [result for results in found.values() for result in results]
    tables, corrupted = [replace(machine_table(everything), title="This machine")], []
    for title, groups in STUDIES:
        groups = groups or {"": distilled}
        body = table_body(groups, found, HEADINGS, study_cells)
        if body:
            tables.append(TextTable(title, HEADINGS, body, [NOTE, *not_run(groups, found)]))
        corrupted += table_body({title: all_rows(groups)}, corruptible, CORRUPTED, corrupted_cells)
    if corrupted:
        tables.append(TextTable("Robustness: the rows of the studies", CORRUPTED, corrupted, [OF_CORRUPTED]))
    return tables


def all_rows(groups: Groups) -> list[StudyRow]:
    """The rows of all groups, each with the group's title in its label."""
    return [
        row._replace(label=f"{title}: {row.label}" if title else row.label)
        for title, rows in groups.items()
        for row in rows
    ]


def not_run(groups: Groups, found: Results) -> list[str]:
    """A sentence on what has no run; none, where all has."""
    missing = [row.label for row in all_rows(groups) if row.name not in found]
    return [f"Not run: {'; '.join(missing)}."] if missing else []


def table_body(
    groups: Groups, found: Results, headings: Sequence[str], cells: Callable[[StudyRow, Sequence[Result]], list[str]]
) -> list[list[str]]:
    """The rows that were run, a line above each group that has a title."""
    body = []
    for title, rows in groups.items():
        present = [row for row in rows if row.name in found]
        if title and present:
            body.append([f"{title}:", *[""] * (len(headings) - 1)])
        body += [[row.label, str(len(found[row.name])), *cells(row, found[row.name])] for row in present]
    return body


def study_cells(row: StudyRow, results: Sequence[Result]) -> list[str]:
    """A row's figures: mean ± standard deviation over its seeds."""
    macs = [r.metrics["macs"] / r.baseline["macs"] for r in results if r.metrics.get("macs") and r.baseline.get("macs")]
    training = [sum(r.seconds.get(part, 0.0) for part in ("assistants", "train")) / 3600 for r in results]
    return [
        row.published,
        metric_cell(results, "test_accuracy", 100, 2),
        mean_and_std([100 * (r.metrics["test_accuracy"] - r.baseline["test_accuracy"]) for r in results], 2),
        metric_cell(results, "packed_bytes", 1, 0),
        metric_cell(results, "nonzero_parameters", 1, 0),
        mean_and_std(macs, 2),
        mean_and_std(training, 1),
    ]


def corrupted_cells(row: StudyRow, results: Sequence[Result]) -> list[str]:
    """A row's errors on corrupted examples, beside its baseline's."""
    accuracies = [
        1 - fmean(error for [error] in errors.values()) for errors in map(corruption_errors, results) if errors
    ]
    return [
        metric_cell(results, "test_accuracy", 100, 2),
        mean_and_std([100 * accuracy for accuracy in accuracies], 2),
        metric_cell(results, "mce", 1, 2),
        metric_cell(results, "relative_mce", 1, 2),
        worst_corruption(results),
        most_harmful([(result, replace(result, metrics=result.baseline)) for result in results]),
    ]
