"""The paper's Tables I to V from records, its own figures beside ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lcomp.report.sheet import Sheet
from lcomp.report.statistics import difference, spread
from lcomp.result import Result


class Figures(NamedTuple):
    """What the paper prints: test accuracy in percent, kilobytes gzip'd (its "Mb"), seconds of inference."""

    accuracy: float
    kilobytes: float
    seconds: float


class Row(NamedTuple):
    """A row: the name of its experiment, its label, the paper's figures where it has any."""

    name: str
    label: str
    paper: Figures | None = None


class Run(NamedTuple):
    """A record, and for each test image whether the artifact was right."""

    result: Result
    right: NDArray[np.bool_]


BASELINE = Row("paper_baseline", "baseline", Figures(98.85, 164.11, 4.034))
SCHEDULED = Row("paper_prune_scheduled_80", "scheduled 50 to 80 %", Figures(98.60, 55.28, 2.643))
QAT = Row("paper_quant_qat", "quantization-aware training", Figures(98.32, 41.17, 1.61))
KD_1 = Row("paper_kd_t1", "distillation T = 1", Figures(97.69, 43.535, 1.328))
ON = " on "  # between an experiment's name and the perturbation of its training images
POST_TRAINING = Figures(97.25, 44.23, 2.03)
TABLES = {
    "Table II: pruning": [
        BASELINE,
        Row("paper_prune_constant_50", "constant 50 %", Figures(98.80, 101.97, 2.800)),
        Row("paper_prune_constant_80", "constant 80 %", Figures(98.10, 55.28, 2.045)),
        SCHEDULED,
        Row("control_prune_random_80", "control: 80 % at random"),
        Row("control_baseline_4_more", "control: baseline, 4 more epochs"),
    ],
    "Table III: quantization": [
        BASELINE,
        Row("paper_quant_dynamic", "post-training, dynamic", POST_TRAINING),
        Row("paper_quant_static", "post-training, static", POST_TRAINING),
        QAT,
        Row("control_baseline_2_more", "control: baseline, 2 more epochs"),
    ],
    "Table IV: distillation": [
        BASELINE,
        KD_1,
        Row("paper_kd_t3", "distillation T = 3", Figures(97.36, 43.521, 0.949)),
        Row("paper_kd_t8", "distillation T = 8", Figures(95.83, 43.594, 1.346)),
        Row("control_kd_t6", "control: T = 6"),
        Row("control_kd_t7", "control: T = 7"),
        Row("control_student_alone", "control: student without a teacher"),
    ],
    "Table V: comparison": [BASELINE, SCHEDULED, QAT, KD_1],
}
DIFFERENCES = [
    ("paper_prune_scheduled_80", "paper_prune_constant_80"),
    ("paper_prune_scheduled_80", "control_prune_random_80"),
    ("paper_prune_constant_50", "control_baseline_4_more"),
    ("paper_prune_scheduled_80", "control_baseline_4_more"),
    ("paper_quant_qat", "paper_quant_dynamic"),
    ("paper_quant_qat", "paper_quant_static"),
    ("paper_quant_qat", "control_baseline_2_more"),
    ("paper_kd_t1", "control_student_alone"),
    ("paper_kd_t3", "control_student_alone"),
    ("control_kd_t6", "paper_kd_t1"),
    ("control_kd_t7", "paper_kd_t1"),
    ("paper_kd_t8", "paper_kd_t1"),
]
HEADINGS = (
    "row", "n", "paper acc %", "test acc %", "paper KB", "gzip KB", "paper s", "test set s", "training s",
)  # fmt: skip


def sheets(found: Mapping[str, Sequence[Run]]) -> list[Sheet]:
    """Tables I to V, the differences and the perturbed data, of the runs by the names of their experiments.

    A table none of whose compressed rows was run is left out.
    """
    everything, found = found, {name: runs for name, runs in found.items() if ON not in name}
    made = [machine([run.result for runs in everything.values() for run in runs])]
    for title, rows in TABLES.items():
        present = [row for row in rows if found.get(row.name)]
        if any(row is not BASELINE for row in present):
            made.append(
                Sheet(title, HEADINGS, [cells(row, [run.result for run in found[row.name]]) for row in present])
            )
    pairs = [pair for pair in DIFFERENCES if all(found.get(name) for name in pair)]
    if pairs:
        made.append(differences(found, pairs))
    if len(everything) > len(found):
        made.append(perturbed(everything))
    return made


def machine(results: Sequence[Result]) -> Sheet:
    """Table I: where the figures were measured."""
    seen = sorted({str(result.environment["cpu"]) for result in results})
    versions = results[0].environment["versions"]
    data = sorted({result.dataset["name"] for result in results})
    rows = [
        ["processor", ", ".join(seen)],
        ["threads", ", ".join(sorted({str(result.environment["threads"]) for result in results}))],
        *([name, str(versions[name])] for name in ("python", "torch", "onnxruntime", "lcomp")),
        ["lcomp at", ", ".join(sorted({str(result.environment["git_sha"])[:10] for result in results}))],
        ["data", ", ".join(data)],
        ["runs", str(len(results))],
    ]
    return Sheet("Table I: this machine", ("", "value"), rows)


def cells(row: Row, results: Sequence[Result]) -> list[str]:
    """One row: mean ± standard deviation over its seeds."""

    def ours(key: str, scale: float, digits: int) -> str:
        return spread([scale * result.metrics[key] for result in results if key in result.metrics], digits)

    paper = (
        [f"{row.paper.accuracy:.2f}", f"{row.paper.kilobytes:.2f}", f"{row.paper.seconds:.3f}"]
        if row.paper
        else [""] * 3
    )
    part = "baseline" if row is BASELINE else "train"
    return [
        row.label,
        str(len(results)),
        paper[0],
        ours("test_accuracy", 100, 2),
        paper[1],
        ours("gzip_bytes", 1e-3, 2),
        paper[2],
        ours("test_set_seconds", 1, 3),
        spread([result.seconds.get(part, 0.0) for result in results], 0),
    ]


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
        interval = f"{100 * seen.low:+.2f} to {100 * seen.high:+.2f}"
        verdict = ("better" if seen.mean > 0 else "worse") if seen.decided else "undecided"
        rows.append([f"{labels[one]} - {labels[other]}", str(len(seeds)), f"{100 * seen.mean:+.2f}", interval, verdict])
    note = "Points of test accuracy; a paired bootstrap over test images of the mean over the seeds that both have."
    return Sheet("Differences", ("one - other", "n", "points", "95 % interval", "verdict"), rows, [note])


def perturbed(found: Mapping[str, Sequence[Run]]) -> Sheet:
    """What was trained on clean images and on perturbed ones, tested on both."""
    labels = {row.name: row.label for rows in TABLES.values() for row in rows}
    tested = sorted({key for runs in found.values() for run in runs for key in run.result.metrics if "/" in key})
    rows = []
    for full in sorted(found, key=lambda full: (list(labels).index(full.partition(ON)[0]), full)):
        name, _, perturbation = full.partition(ON)
        runs = [run for run in found[full] if all(key in run.result.metrics for key in tested)]
        if runs:
            figures = [spread([100 * run.result.metrics[key] for run in runs], 1) for key in ("test_accuracy", *tested)]
            rows.append([labels[name], perturbation or "clean", str(len(runs)), *figures])
    headings = ("row", "trained on", "n", "clean", *(key.partition("/")[2] for key in tested))
    return Sheet("Perturbed data: test accuracy %", headings, rows, ["Severity 3 unless a column names another."])


def load(folder: Path) -> dict[str, list[Run]]:
    """The finished runs under `folder`, by the names of their experiments (` on <perturbation>` where training images
    were perturbed); of two with one name and seed, the later."""
    from lcomp.result import FILE_NAME, PREDICTIONS, read

    found: dict[tuple[str, int], Run] = {}
    for path in sorted(folder.rglob(FILE_NAME), key=lambda path: path.stat().st_mtime):
        result = read(path)
        if result.status == "ok" and result.name:
            with np.load(path.parent / PREDICTIONS) as kept:
                trained_on = result.choices.get("perturb") or "none"
                name = result.name if trained_on == "none" else f"{result.name}{ON}{trained_on}"
                found[name, result.seed] = Run(result, kept["predictions"] == kept["labels"])
    names = sorted({name for name, _ in found})
    return {
        name: [run for (own, _), run in sorted(found.items(), key=lambda item: item[0]) if own == name]
        for name in names
    }
