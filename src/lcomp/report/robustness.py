"""The study of robustness: each compression on corrupted examples, held against the plain baseline."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

from lcomp.record.result import Result
from lcomp.report.exemplars import count_exemplars
from lcomp.report.paper import PaperRun
from lcomp.report.rows import Row
from lcomp.report.statistics import mean_and_std
from lcomp.report.survey import SurveyGroup
from lcomp.report.text_table import TextTable

ERRORS = ("row", "n", "test acc %", "gzip KB", "% of plain", "mCE", "relative mCE", "worst corruption", "breaks most")
CHANGES = ("row", "n", "ECE %", "differing %", "lost", "attributions")
OF_ERRORS = (
    "% of plain, mCE, relative mCE: over the plain baseline's of the same seed (Hendrycks and Dietterich 2019). "
    "worst corruption: that of the lowest accuracy, in percent. breaks most: the corruption with the "
    "largest error ratio to the plain baseline."
)
OF_CHANGES = (
    "ECE: expected calibration error. Against the row's own baseline: differing, predictions that are not its; lost, "
    "test examples that most seeds get wrong and most of their baselines right; attributions, rank correlation of "
    "integrated gradients."
)
CORRUPTED = re.compile(r"accuracy/(?:mnist_c|cifar10_c|typos)/([^/:]+)")  # at the usual severity
PLAIN = "robustness_baseline"
LABELS = {
    "baseline": "LeNet-5",
    "prune_50": "50 % pruned",
    "prune_80": "80 % pruned",
    "prune_95": "95 % pruned",
    "prune_98": "98 % pruned",
    "filter": "half of the filters removed",
    "static_8": "8 bits, static",
    "qat_4": "4-bit weights (QAT)",
    "qat_2": "2-bit weights (QAT)",
    "binary": "binary weights",
    "student_t1": "student, T = 1",
    "student_t4": "student, T = 4",
    "student_t8": "student, T = 8",
    "combined": "90 % pruned, 4 bits, distilled",
}
GROUPS = [
    SurveyGroup(title, [Row(f"robustness_{kind}{name}", label) for name, label in LABELS.items()])
    for kind, title in (("", "trained on clean examples"), ("augmix_", "trained with AugMix"))
]
Errors = dict[str, list[float]]


def robustness_tables(experiments: Mapping[str, Sequence[PaperRun]]) -> list[TextTable]:
    """Two tables, a line above each group of which anything was run; none, where nothing was."""
    plain = {run.result.seed: run.result for run in experiments.get(PLAIN, ())}

    def body(headings: Sequence[str], cells: Callable[[Sequence[PaperRun]], list[str]]) -> list[list[str]]:
        rows = []
        for title, group in GROUPS:
            present = [row for row in group if experiments.get(row.name)]
            if present:
                rows.append([f"{title}:", *[""] * (len(headings) - 1)])
            rows += [[row.label, str(len(experiments[row.name])), *cells(experiments[row.name])] for row in present]
        return rows

    of_errors = body(ERRORS, lambda runs: relative_to_plain(plain, [run.result for run in runs]))
    if not of_errors:
        return []
    return [
        TextTable("Robustness: errors on MNIST-C", ERRORS, of_errors, [OF_ERRORS]),
        TextTable("Robustness: what else compression changes", CHANGES, body(CHANGES, change_cells), [OF_CHANGES]),
    ]


def metric_cell(results: Sequence[Result], key: str, scale: float, digits: int) -> str:
    """A metric, mean ± standard deviation over the seeds that have it."""
    return mean_and_std([scale * value for result in results if (value := result.metrics.get(key)) is not None], digits)


def relative_to_plain(plain: Mapping[int, Result], results: Sequence[Result]) -> list[str]:
    """A row's errors and sizes, over those of the plain baseline's record of the same seed."""
    from lcomp.evaluation.robustness import (
        mean_corruption_error,
        relative_mean_corruption_error,  # needs torch
    )

    pairs = [(result, plain[result.seed]) for result in results if result.seed in plain]
    known = [
        (corruption_errors(own), clean_error(own), corruption_errors(base), clean_error(base))
        for own, base in pairs
        if corruption_errors(own) and corruption_errors(base)
    ]
    return [
        metric_cell(results, "test_accuracy", 100, 2),
        metric_cell(results, "gzip_bytes", 1e-3, 2),
        mean_and_std([100 * own.metrics["gzip_bytes"] / base.metrics["gzip_bytes"] for own, base in pairs], 1),
        mean_and_std([mean_corruption_error(own, base) for own, _, base, _ in known], 2),
        mean_and_std([relative_mean_corruption_error(*both) for both in known], 2),
        worst_corruption(results),
        most_harmful(pairs),
    ]


def change_cells(runs: Sequence[PaperRun]) -> list[str]:
    """A row's calibration, and how far its answers and attributions are from its own baseline's."""
    results = [run.result for run in runs]
    return [
        metric_cell(results, "ece", 100, 2),
        metric_cell(results, "differing", 100, 2),
        exemplar_cell(runs),
        metric_cell(results, "attribution_correlation", 1, 2),
    ]


def corruption_errors(result: Result) -> Errors:
    """The share of wrong answers under each corruption at its usual severity."""
    found = ((CORRUPTED.fullmatch(name), value) for name, value in result.metrics.items())
    return {match[1]: [1 - value] for match, value in found if match}


def clean_error(result: Result) -> float:
    """The share of wrong answers on clean test examples."""
    return 1 - result.metrics["test_accuracy"]


def mean_errors(results: Sequence[Result]) -> dict[str, float]:
    """Errors over seeds, of the corruptions that all of them have."""
    errors = [corruption_errors(result) for result in results]
    return (
        {name: fmean(e[name][0] for e in errors) for name in errors[0] if all(name in e for e in errors)}
        if errors
        else {}
    )


def worst_corruption(results: Sequence[Result]) -> str:
    """The corruption of the lowest accuracy, and that."""
    errors = mean_errors(results)
    name = max(errors, key=lambda name: errors[name], default=None)
    return "" if name is None else f"{name.replace('_', ' ')} {100 * (1 - errors[name]):.1f}"


def most_harmful(pairs: Sequence[tuple[Result, Result]]) -> str:
    """The corruption with the largest error ratio to the plain baseline, and that ratio; nothing for that itself."""
    own, base = mean_errors([own for own, _ in pairs]), mean_errors([base for _, base in pairs])
    ratios = {name: own[name] / base[name] for name in own if base.get(name, 0) > 0}
    if not ratios or all(left is right for left, right in pairs):
        return ""
    name = max(ratios, key=lambda name: ratios[name])
    return f"{name.replace('_', ' ')} {ratios[name]:.2f}x"


def exemplar_cell(runs: Sequence[PaperRun]) -> str:
    """How many test examples most seeds get wrong and most of their baselines right."""
    pairs = [run.pair for run in runs if run.pair is not None]
    return str(count_exemplars(pairs)) if pairs else ""
