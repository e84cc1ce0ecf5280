"""The records: the least bytes of a packed file that a test accuracy was reached in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lcomp.report.paper import PaperRun
from lcomp.report.rows import Row
from lcomp.report.statistics import mean_and_std
from lcomp.report.text_table import TextTable

HEADINGS = ("row", "n", "test acc %", "worst", "packed bytes", "most", "parameters", "training s")
NOTE = "packed bytes: of artifact.lcomp, whole: everything that rebuilds the logits. worst, most: of all seeds."
ROWS = [
    Row("record_lenet5", "LeNet-5"),
    Row("record_1kb", "four convolutions, about 1 KB"),
    Row("record_2kb", "four wider convolutions, about 2 KB"),
    Row("record_8kb", "four wider convolutions, about 8 KB"),
]


def record_tables(experiments: Mapping[str, Sequence[PaperRun]]) -> list[TextTable]:
    """One table; none, where no record was run."""
    body = [record_cells(row, experiments[row.name]) for row in ROWS if experiments.get(row.name)]
    return [TextTable("Records: accuracy of the smallest packed files", HEADINGS, body, [NOTE])] if body else []


def record_cells(row: Row, runs: Sequence[PaperRun]) -> list[str]:
    """A row: mean ± standard deviation over its seeds, and the worst of them."""
    results = [run.result for run in runs]
    accuracy, size, parameters = (
        [result.metrics[key] for result in results if key in result.metrics]
        for key in ("test_accuracy", "packed_bytes", "parameters")
    )
    return [
        row.label,
        str(len(runs)),
        mean_and_std([100 * value for value in accuracy], 2),
        f"{100 * min(accuracy):.2f}",
        mean_and_std(size, 0),
        f"{max(size):.0f}" if size else "",
        mean_and_std(parameters, 0),
        mean_and_std([result.seconds.get("train", 0.0) for result in results], 0),
    ]
