"""The pictures of `report.md`: fronts, what each parameter costs, accuracies on corrupted examples, what is lost."""

from __future__ import annotations

import io
import re
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

from lcomp.errors import needing
from lcomp.record.escaping import one_line
from lcomp.record.metric import Metric
from lcomp.report import exemplars
from lcomp.report.ranking import by_robustness, by_validation, pareto_front, shared_metric
from lcomp.report.runs import (
    ReportRun,
    baseline_kinds,
    baselines,
    by_dataset,
    numeric_param,
    numeric_params,
    seed_groups,
    selection_metric,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SPAN = 10  # points of accuracy below the best run that a front's picture shows
MAPPED = 40  # rows of the map of accuracies, the best on validation
LOST = 30  # examples that are lost
CORRUPTED = re.compile(r"accuracy/\w+/(\w+)")  # of a set of corruptions, each at its usual severity


class Cost(NamedTuple):
    """What a front is drawn against."""

    metric: str
    scale: float
    title: str
    name: str


SIZE = Cost("gzip_bytes", 1e-3, "size gzip'd, KB", "size")
LATENCY = Cost("latency_ratio", 1.0, "latency at batch 1 over the own baseline's", "latency")


def draw_pictures(runs: Sequence[ReportRun]) -> list[tuple[str, str, bytes]]:
    """The pictures: file name, what it shows, PNG. Each data set has its own, that of the most runs first."""
    drawn = []
    sets = sorted(by_dataset(runs).values(), key=len, reverse=True)
    for number, dataset_runs in enumerate(sets):
        of = f" on {dataset_runs[0].result.dataset.get('name')}" if len(sets) > 1 else ""
        for name, alternative, picture in dataset_pictures(dataset_runs):
            drawn.append((f"{name}-{number}.png" if number else f"{name}.png", alternative + of, picture))
    return drawn


def dataset_pictures(runs: Sequence[ReportRun]) -> list[tuple[str, str, bytes]]:
    """The pictures of finished runs of one data set; those that would be empty are left out."""
    with needing("report", "pictures"):
        from matplotlib import rcParams
        from matplotlib.figure import Figure  # no pyplot: nothing global, no display

    rcParams["text.parse_math"] = False  # a dollar in a name is one
    metric = shared_metric(runs)

    drawn = []

    def add(name: str, alternative: str, figure: Figure) -> None:
        drawn.append((name, alternative, png_bytes(figure)))

    for cost in (SIZE, LATENCY):
        if known(known(runs, cost.metric), metric.validation):
            figure = Figure((7, 4.2), layout="constrained")
            draw_pareto_front(figure, runs, cost)
            add(f"front-{cost.name}", f"validation {metric.words} against {cost.title}", figure)
    if known(runs, "mce"):
        figure = Figure((7, 4.2), layout="constrained")
        draw_errors(figure, runs)
        add("front-mce", f"mean corruption error against {SIZE.title}", figure)
    names = numeric_params(runs)[:3]
    if names:
        figure = Figure((3.6 * len(names), 3.2), layout="constrained")
        for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
            draw_effect(axes, runs, name)
        add("effects", f"validation {metric.words} by {', '.join(names)}", figure)
    rows = corruption_rows(runs)
    if rows:
        figure = Figure((12, 1.8 + 0.26 * len(rows)), layout="constrained")
        draw_map(figure.add_subplot(), rows)
        add("corruptions", "test accuracy on corrupted examples", figure)
    compressed = [group for group in seed_groups(runs) if group.runs[0].result.techniques != "baseline"]
    found = exemplars.find_exemplars(compressed)[1]
    lost = [exemplar for exemplar in found if not isinstance(exemplar.shown, str | None)][:LOST]
    if lost and known(runs, "mce"):
        figure = Figure((10, 0.3 + 1.5 * -(-len(lost) // 10)), layout="constrained")
        draw_exemplars(figure, lost, len(compressed))
        add("lost", "examples that most of the compressed networks get wrong, their baselines right", figure)
    return drawn


def known(runs: Sequence[ReportRun], metric: str) -> list[ReportRun]:
    return [run for run in runs if run.is_ok and run.result.metrics.get(metric) is not None]


def draw_pareto_front(figure: Figure, runs: Sequence[ReportRun], cost: Cost) -> None:
    axes = figure.add_subplot()
    metric = shared_metric(runs)
    shown = known(known(runs, cost.metric), metric.validation)
    fronts = [pareto_front(own, cost.metric) for own in comparable(shown, cost)]
    scatter(axes, shown, fronts, cost, metric.validation, metric.scale, "front")
    if metric.percent:
        own = [100 * run.result.metrics[metric.validation] for run in shown]
        base = [100 * run.result.baseline[metric.validation] for run in baselines(shown).values()]
        low, high = min([*base, max(min(own), max(own) - SPAN)]), max([*own, *base])
        pad = 0.06 * (high - low) or 1
        axes.set_ylim(max(-0.5, low - pad), min(100.5, high + pad))
    axes.set_ylabel(axis_title(metric))
    figure.legend(loc="outside lower center", ncols=3, fontsize=8, frameon=False)


def comparable(runs: Sequence[ReportRun], cost: Cost) -> list[Sequence[ReportRun]]:
    """Runs whose costs can be compared: latencies are ratios, each to its own kind of baseline."""
    if cost is not LATENCY:
        return [runs]
    return [[run for group in kind for run in group.runs] for kind in baseline_kinds(runs)]


def draw_errors(figure: Figure, runs: Sequence[ReportRun]) -> None:
    """Mean corruption error against size: down is better."""
    axes = figure.add_subplot()
    shown = known(known(runs, "mce"), SIZE.metric)
    drawn = selection_metric(shown)
    fronts = [pareto_front(shown, SIZE.metric, drawn, lower=True)] if drawn == "val_mce" else []
    scatter(axes, shown, fronts, SIZE, drawn, 1, "front")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")
    split = "validation" if drawn == "val_mce" else "test"
    axes.set_ylabel(f"mean corruption error on {split} examples\n(own baseline: 1)")
    figure.legend(loc="outside lower center", ncols=3, fontsize=8, frameon=False)


def scatter(
    axes: Axes,
    runs: Sequence[ReportRun],
    fronts: Sequence[Sequence[ReportRun]],
    cost: Cost,
    metric: str,
    scale: float,
    label: str,
) -> None:
    """Runs by technique, fronts and baselines: `metric`, times `scale`, against a cost."""

    def points(of: Sequence[Mapping[str, float]]) -> tuple[list[float], list[float]]:
        both = [m for m in of if m.get(cost.metric) is not None and m.get(metric) is not None]
        return [cost.scale * m[cost.metric] for m in both], [scale * m[metric] for m in both]

    for technique in sorted({run.result.techniques for run in runs}):
        coordinates = points([run.result.metrics for run in runs if run.result.techniques == technique])
        axes.scatter(*coordinates, s=22, alpha=0.75, label=one_line(technique))
    for number, best in enumerate(fronts):
        axes.plot(*points([run.result.metrics for run in best]), "k-", lw=1, label=None if number else label)
    bases = points([run.result.baseline for run in baselines(runs).values()])
    axes.scatter(*bases, s=60, marker="D", facecolors="none", edgecolors="k", label="baseline")
    costs = axes.dataLim.intervalx
    if cost is SIZE and costs[1] > 4 * costs[0]:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        if costs[1] < 10 * costs[0]:
            axes.xaxis.set_minor_formatter("{x:g}")
    axes.set_xlabel(cost.title)
    axes.grid(alpha=0.3)


def corruption_rows(runs: Sequence[ReportRun]) -> list[tuple[str, dict[str, float]]]:
    """For each group its label and mean accuracies by corruption, `clean` among them; baselines, then what is most
    robust on validation examples."""
    first, rest = [], []
    for kind in baseline_kinds(known(runs, "mce")):
        compressed = [group for group in kind if group.runs[0].result.techniques != "baseline"]
        rest += compressed
        kind_baselines = {run.baseline_sha256: run.result.baseline for group in kind for run in group.runs}
        labels = [group.label for group in kind if group not in compressed] or ["baseline"]
        first.append((labels[0], mean_accuracies(list(kind_baselines.values()))))
    best = by_robustness(by_validation(rest)[:MAPPED])
    rows = [(group.label, mean_accuracies([run.result.metrics for run in group.runs])) for group in best]
    found = [(label.replace("experiment=", ""), row) for label, row in (*first, *rows)]
    return [(label, row) for label, row in found if len(row) > 1]


def mean_accuracies(metrics: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Over seeds, of the clean test examples and of each corruption at its usual severity."""
    names = {found[1]: name for name in metrics[0] if (found := CORRUPTED.fullmatch(name))}
    metric_names = {"clean": "test_accuracy"} | names
    return {
        short: fmean(m[name] for m in metrics)
        for short, name in metric_names.items()
        if all(name in m for m in metrics)
    }


def draw_map(axes: Axes, rows: Sequence[tuple[str, Mapping[str, float]]]) -> None:
    with needing("report", "pictures"):
        from matplotlib.colors import Normalize

    names = {name for _, row in rows for name in row} - {"clean"}
    columns = ["clean", *sorted(names, key=lambda name: -fmean(row[name] for _, row in rows if name in row))]
    cells = [[100 * row.get(name, float("nan")) for name in columns] for _, row in rows]
    norm = Normalize()  # to the least and the greatest cell
    picture = axes.imshow(cells, aspect="auto", cmap="viridis", norm=norm)
    for y, row in enumerate(cells):
        for x, accuracy in enumerate(row):
            dark = norm(accuracy) < 0.55
            axes.text(x, y, f"{accuracy:.1f}", ha="center", va="center", fontsize=7, color="white" if dark else "black")
    axes.set_xticks(range(len(columns)), [name.replace("_", " ") for name in columns], rotation=40, ha="right")
    axes.set_yticks(range(len(rows)), [one_line(label) for label, _ in rows], fontsize=8)
    axes.figure.colorbar(picture, ax=axes, label="test accuracy, %", pad=0.01)


def draw_exemplars(figure: Figure, lost: Sequence[exemplars.Exemplar], groups: int) -> None:
    """Lost examples, the label and what most of the groups that lose it say instead."""
    for axes, exemplar in zip(figure.subplots(-(-len(lost) // 10), 10, squeeze=False).flat, lost, strict=False):
        assert not isinstance(exemplar.shown, str | None)
        axes.imshow(exemplars.thumbnail(exemplar.shown), cmap="gray", vmin=0, vmax=255)
        says = Counter(answer.says for answer in exemplar.answers).most_common(1)[0][0]
        axes.set_title(f"{exemplar.label} as {says}\n{len(exemplar.answers)} of {groups}", fontsize=8)
    for axes in figure.axes:
        axes.axis("off")


def axis_title(metric: Metric) -> str:
    return f"validation {metric.words}" + (f", {metric.unit}" if metric.unit else "")


def draw_effect(axes: Axes, runs: Sequence[ReportRun], name: str) -> None:
    metric = shared_metric(runs)
    for technique in sorted({run.result.techniques for run in runs if run.is_ok}):
        known = [run for run in runs if run.result.techniques == technique and numeric_param(run, name) is not None]
        param_groups = seed_groups(known)
        if param_groups:
            x = [numeric_param(group.runs[0], name) or 0.0 for group in param_groups]
            y = [metric.scale * (group.mean(metric.validation) or 0) for group in param_groups]
            bars = [metric.scale * (group.spread(metric.validation) or 0) for group in param_groups]
            axes.errorbar(x, y, bars, fmt="o", ms=4, capsize=2, alpha=0.75, label=one_line(technique))
    axes.set_xlabel(one_line(name))
    axes.set_ylabel(axis_title(metric))
    axes.grid(alpha=0.3)


def png_bytes(figure: Figure) -> bytes:
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # a name may have any character: what the font lacks is a box
        figure.savefig(stream, format="png", dpi=120)
    return stream.getvalue()
