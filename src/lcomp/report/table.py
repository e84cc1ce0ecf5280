"""The table of a sweep in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from lcomp.errors import terminal
from lcomp.record.metric import Metric
from lcomp.record.result import Result, perturbation_figures

HEADINGS = ("params", "sparsity", "KB", "gzip KB", "smaller", "us/example", "x baseline")
ESSENTIAL = ("gzip KB", "smaller", "x baseline")  # on a narrow terminal, beside the metric
NOTES = {
    "prune": "sparsity: zeros neither shorten a dense file nor speed it up; its gzip'd size shows them.",
    "quant": "x baseline: integers can be slower than floats, where a processor's kernels favour floats.",
    "errors": "mCE: errors on corrupted test examples over the own baseline's, mean over the corruptions.",
    "every": "smaller: the baseline's gzip'd file over this one's. us/example: median at batch 1, one thread;\n"
    "x baseline: ratio to this run's own interleaved baseline.",
}


def print_dataset_tables(results: Sequence[Result], folder: Path) -> None:
    """Prints a table per data set of the finished runs, each baseline before its runs, then notes."""
    console = Console(width=None if Console().is_terminal else 160, markup=False)
    finished = [result for result in results if result.status == "ok"]
    common = (
        [override for override in finished[0].overrides if all(override in r.overrides for r in finished)]
        if finished
        else []
    )
    for name, content in sorted({(result.dataset["name"], result.dataset["sha256"]) for result in finished}):
        rows = [result for result in finished if result.dataset["sha256"] == content]
        console.print(dataset_table(rows, common if len(rows) > 1 else [], narrow=console.width < 120))
        if len(rows) < len(finished):
            console.print(f"{terminal(name)} is a data set of its own: compare its figures with no other's.")
    if common and len(finished) > 1:
        console.print(terminal(f"every run: {' '.join(common)}"), soft_wrap=True)
    for family in ("prune", "quant"):
        if any(result.choices.get(family) not in (None, "none") for result in finished):
            console.print(NOTES[family])
    if any("mce" in result.metrics for result in finished):
        console.print(NOTES["errors"])
    if finished:
        console.print(NOTES["every"])
    console.print(terminal(f"Records and artifacts: {folder}"), soft_wrap=True)


def dataset_table(rows: Sequence[Result], common: Sequence[str], narrow: bool = False) -> Table:
    """The runs of one data set, each baseline before its own; overrides in `common` are left out. `narrow`: `ESSENTIAL`
    columns only."""
    data = rows[0].dataset
    parts = f"{data['train']:,} training, {data['val']:,} validation, {data['test']:,} test examples"
    rendered = Table(title=f"{terminal(data['name'])}: {parts}")
    metric = rows[0].chosen_by
    judged = tuple(f"{split} {metric.heading}" for split in ("val", "test"))
    tested = sorted({key for row in rows for key in perturbation_figures(row.metrics, metric)})
    errors = ["mCE"] if any(row.metrics.get("mce") is not None for row in rows) else []
    headings = [*judged, *HEADINGS, *(f"test {key.partition('/')[2]} {metric.unit}".strip() for key in tested), *errors]
    shown = [index for index, one in enumerate(headings) if not narrow or one in (*judged, *ESSENTIAL)]
    rendered.add_column("run", overflow="fold")
    for index in shown:
        rendered.add_column(terminal(headings[index]), justify="right", no_wrap=True)

    def add(name: str, metrics: dict[str, float], baseline: dict[str, float], **settings: bool) -> None:
        values = metric_cells(metrics, baseline, metric)
        values += [figure(metrics[k], metric) if k in metrics else "" for k in tested]
        values += [f"{metrics['mce']:.2f}" if metrics.get("mce") is not None else "" for _ in errors]
        rendered.add_row(terminal(name), *(values[index] for index in shown), **settings)  # type: ignore[arg-type]

    groups: dict[tuple[float, ...], list[Result]] = {}
    for row in rows:
        groups.setdefault(identity(row.baseline), []).append(row)
    for runs in groups.values():
        rendered.add_section()
        add("baseline", runs[0].baseline, runs[0].baseline, end_section=True)
        for row in runs:
            add(" ".join(o for o in row.overrides if o not in common) or "baseline", row.metrics, row.baseline)
    return rendered


def identity(baseline: dict[str, float]) -> tuple[float, ...]:
    """What runs of one baseline share: all its figures but the latencies."""
    return tuple(baseline[key] for key in ("test_loss", "file_bytes", "parameters"))


def figure(value: float, metric: Metric) -> str:
    return f"{100 * value:.2f}" if metric.percent else f"{value:.4g}"


def metric_cells(metrics: dict[str, float], baseline: dict[str, float], metric: Metric) -> list[str]:
    return [
        figure(metrics[metric.validation], metric),
        figure(metrics[metric.test], metric),
        f"{metrics['parameters']:,}",
        f"{metrics['sparsity']:.3f}",
        f"{metrics['file_bytes'] / 1000:.1f}",
        f"{metrics['gzip_bytes'] / 1000:.1f}",
        f"{baseline['gzip_bytes'] / metrics['gzip_bytes']:.1f}x",
        f"{metrics['latency_us_p50']:.1f}" if "latency_us_p50" in metrics else "",
        f"{metrics['latency_ratio']:.2f}" if "latency_ratio" in metrics else "",
    ]
