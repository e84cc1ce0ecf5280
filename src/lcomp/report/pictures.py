"""The pictures of `report.md`: fronts, what each parameter costs, accuracies on corrupted images, what is lost."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

from lcomp.report import pies
from lcomp.report.runs import Shown, baselines, by_dataset, front, groups, judged, kinds, numbers, value

SPAN = 10  # points of accuracy below the best that a front's picture shows
MAPPED = 40  # rows of the map of accuracies, the best on validation
LOST = 30  # images that are lost
CORRUPTED = "accuracy/mnist_c/"


class Cost(NamedTuple):
    """What a front is drawn against."""

    metric: str
    scale: float
    title: str
    name: str


SIZE = Cost("gzip_bytes", 1e-3, "size gzip'd, KB", "size")
LATENCY = Cost("latency_us_p50", 1.0, "latency at batch 1, us", "latency")


def drawn(runs: Sequence[Shown]) -> list[tuple[str, str, bytes]]:
    """The pictures: file name, what it shows, PNG."""
    from matplotlib import rcParams
    from matplotlib.figure import Figure  # no pyplot: nothing global, no display

    rcParams["text.parse_math"] = False  # a dollar in a name is one

    found = []

    def add(name: str, alternative: str, figure: Any) -> None:
        found.append((f"{name}.png", alternative, png(figure)))

    for cost in (SIZE, LATENCY):
        if known(runs, cost.metric):
            figure = Figure((7, 4.2), layout="constrained")
            draw_front(figure, runs, cost)
            add(f"front-{cost.name}", f"test accuracy against {cost.title}", figure)
    if known(runs, "mce"):
        figure = Figure((7, 4.2), layout="constrained")
        draw_errors(figure, runs)
        add("front-mce", f"mean corruption error against {SIZE.title}", figure)
    names = numbers(runs)[:3]
    if names:
        figure = Figure((3.6 * len(names), 3.2), layout="constrained")
        for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
            draw_effect(axes, runs, name)
        add("effects", f"test accuracy by {', '.join(names)}", figure)
    rows = corrupted(runs)
    if rows:
        figure = Figure((12, 1.8 + 0.26 * len(rows)), layout="constrained")
        draw_map(figure.add_subplot(), rows)
        add("corruptions", "test accuracy on corrupted images", figure)
    for number, own in enumerate(by_dataset(runs).values()):
        compressed = [group for group in groups(own) if group.runs[0].result.techniques != "baseline"]
        images = [image for image in pies.lost(compressed)[1] if image.pixels is not None][:LOST]
        if images and known(own, "mce"):
            figure = Figure((10, 0.3 + 1.5 * -(-len(images) // 10)), layout="constrained")
            draw_lost(figure, images, len(compressed))
            add(
                f"lost-{number}", "images that most of the compressed networks get wrong, their baselines right", figure
            )
    return found


def known(runs: Sequence[Shown], metric: str) -> list[Shown]:
    return [run for run in runs if run.is_ok and run.result.metrics.get(metric) is not None]


def draw_front(figure: Any, runs: Sequence[Shown], cost: Cost) -> None:
    axes = figure.add_subplot()
    shown = known(runs, cost.metric)
    fronts = [front(own, cost.metric) for own in by_dataset(shown).values()]
    scatter(axes, shown, fronts, cost, "test_accuracy", 100, "front of each data set, chosen on validation")
    accuracies = [100 * run.result.metrics["test_accuracy"] for run in shown]
    if max(accuracies) - min(accuracies) > SPAN:
        own = [100 * run.result.baseline["test_accuracy"] for run in baselines(shown).values()]
        axes.set_ylim(max(accuracies) - SPAN, max([*accuracies, *own]) + 0.05 * SPAN)
    axes.set_ylabel("test accuracy, %")
    figure.legend(loc="outside lower center", ncols=3, fontsize=8, frameon=False)


def draw_errors(figure: Any, runs: Sequence[Shown]) -> None:
    """Mean corruption error against size: down is better."""
    axes = figure.add_subplot()
    shown = known(known(runs, "mce"), SIZE.metric)
    merit = judged(shown)
    fronts = [front(own, SIZE.metric, merit, lower=True) for own in by_dataset(shown).values()]
    chosen = "validation" if merit == "val_mce" else "these test images"
    scatter(axes, shown, fronts, SIZE, "mce", 1, f"front of each data set, chosen on {chosen}")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.set_ylabel("mean corruption error (own baseline: 1)")
    figure.legend(loc="outside lower center", ncols=3, fontsize=8, frameon=False)


def scatter(
    axes: Any,
    runs: Sequence[Shown],
    fronts: Sequence[Sequence[Shown]],
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
        own = points([run.result.metrics for run in runs if run.result.techniques == technique])
        axes.scatter(*own, s=22, alpha=0.75, label=technique)
    for number, best in enumerate(fronts):
        axes.plot(*points([run.result.metrics for run in best]), "k-", lw=1, label=None if number else label)
    bases = points([run.result.baseline for run in baselines(runs).values()])
    axes.scatter(*bases, s=60, marker="D", facecolors="none", edgecolors="k", label="baseline")
    if cost is SIZE:
        axes.set_xscale("log")
    axes.set_xlabel(cost.title)
    axes.grid(alpha=0.3)


def corrupted(runs: Sequence[Shown]) -> list[tuple[str, dict[str, float]]]:
    """For each group its label and mean accuracies by corruption, `clean` among them; baselines, then the best."""
    first, rest = [], []
    for kind in kinds(known(runs, "mce")):
        compressed = [group for group in kind if group.runs[0].result.techniques != "baseline"]
        rest += compressed
        own = {run.baseline_sha256: run.result.baseline for group in kind for run in group.runs}
        labels = [group.label for group in kind if group not in compressed] or ["baseline"]
        first.append((labels[0], means(list(own.values()))))
    best = sorted(rest, key=lambda group: -(group.mean("val_accuracy") or 0))[:MAPPED]
    rows = [(group.label, means([run.result.metrics for run in group.runs])) for group in best]
    found = [
        (label.replace("experiment=", ""), row) for part in (first, sorted(rows, key=average)) for label, row in part
    ]
    return [(label, row) for label, row in found if len(row) > 1]


def means(metrics: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Over seeds, of the clean test images and of each corruption at its published severity."""
    names = [name for name in metrics[0] if name.startswith(CORRUPTED) and ":" not in name]
    found = {"clean": "test_accuracy"} | {name.removeprefix(CORRUPTED): name for name in names}
    return {short: fmean(m[name] for m in metrics) for short, name in found.items() if all(name in m for m in metrics)}


def average(row: tuple[str, Mapping[str, float]]) -> float:
    """Less for a row that is better on average."""
    return -fmean(row[1].values())


def draw_map(axes: Any, rows: Sequence[tuple[str, Mapping[str, float]]]) -> None:
    names = {name for _, row in rows for name in row} - {"clean"}
    columns = ["clean", *sorted(names, key=lambda name: -fmean(row[name] for _, row in rows if name in row))]
    cells = [[100 * row.get(name, float("nan")) for name in columns] for _, row in rows]
    picture = axes.imshow(cells, aspect="auto", cmap="viridis")
    for y, row in enumerate(cells):
        for x, found in enumerate(row):
            dark = picture.norm(found) < 0.55
            axes.text(x, y, f"{found:.1f}", ha="center", va="center", fontsize=7, color="white" if dark else "black")
    axes.set_xticks(range(len(columns)), [name.replace("_", " ") for name in columns], rotation=40, ha="right")
    axes.set_yticks(range(len(rows)), [label for label, _ in rows], fontsize=8)
    axes.figure.colorbar(picture, ax=axes, label="test accuracy, %", pad=0.01)


def draw_lost(figure: Any, images: Sequence[pies.Lost], groups: int) -> None:
    """Lost images, the label and what most of the groups that lose it say instead."""
    for axes, image in zip(figure.subplots(-(-len(images) // 10), 10, squeeze=False).flat, images, strict=False):
        assert image.pixels is not None
        axes.imshow(pies.picture(image.pixels), cmap="gray", vmin=0, vmax=255)
        says = Counter(answer.says for answer in image.answers).most_common(1)[0][0]
        axes.set_title(f"{image.label} as {says}\n{len(image.answers)} of {groups}", fontsize=8)
    for axes in figure.axes:
        axes.axis("off")


def draw_effect(axes: Any, runs: Sequence[Shown], name: str) -> None:
    for technique in sorted({run.result.techniques for run in runs if run.is_ok}):
        known = [run for run in runs if run.result.techniques == technique and value(run, name) is not None]
        own = groups(known)
        if own:
            x = [value(group.runs[0], name) for group in own]
            y = [100 * (group.mean("test_accuracy") or 0) for group in own]
            bars = [100 * (group.spread("test_accuracy") or 0) for group in own]
            axes.errorbar(x, y, bars, fmt="o", ms=4, capsize=2, alpha=0.75, label=technique)
    axes.set_xlabel(name)
    axes.set_ylabel("test accuracy, %")
    axes.grid(alpha=0.3)


def png(figure: Any) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=120)
    return stream.getvalue()
