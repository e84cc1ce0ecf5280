"""`report.md`, which GitHub shows, with its pictures; `results.csv`, for whoever computes on."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lcomp.files import write_atomically
from lcomp.redact import redacted
from lcomp.report.runs import Group, Shown, baselines, by_dataset, front, groups, link, numbers, value
from lcomp.report.sheet import Sheet

SPAN = 10  # points of accuracy below the best that a front's picture shows
PICTURES = "report"  # the folder beside report.md
CELLS = ("params", "metrics", "baseline", "seconds")  # of a record: a column for each key


def write_csv(runs: Sequence[Shown], path: Path) -> None:
    """A line for each run, failed ones too; a column for each figure, parameter and choice."""
    rows = [flat(run, path.parent) for run in runs]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, stream.getvalue().encode())


def flat(run: Shown, beside: Path) -> dict[str, Any]:
    """A record as one row."""
    result = run.result
    row: dict[str, Any] = {
        "run": link(run.folder, beside),
        "status": result.status,
        "error": result.error,
        "name": result.name,
        "techniques": result.techniques,
        "seed": result.seed,
        "data": result.dataset.get("name"),
        **{f"choices.{group}": choice for group, choice in result.choices.items()},
    }
    for part in CELLS:
        row |= {f"{part}.{name}": value for name, value in getattr(result, part).items()}
    return row | {"config_hash": result.config_hash, "code_hash": result.code_hash, "command": run.command}


def write_markdown(
    runs: Sequence[Shown], sheets: Sequence[Sheet], title: str, notes: Sequence[str], path: Path
) -> None:
    """The report as Markdown, its pictures in a folder beside it."""
    folder = path.parent / PICTURES
    folder.mkdir(exist_ok=True)
    parts = [f"# {cell(title)}", *(cell(note) for note in notes)]
    for name, alternative, picture in drawn(runs):
        write_atomically(folder / name, picture)
        parts.append(f"![{alternative}]({PICTURES}/{name})")
    found = groups(runs)
    if found:
        parts.append(over_seeds(found).text("markdown"))
    failed = [run for run in runs if not run.is_ok]
    if failed:
        rows = [[cell(run.label), run.result.status, cell(str(redacted(run.result.error)))] for run in failed]
        parts.append(Sheet("Runs without figures", ("run", "status", "cause"), rows).text("markdown"))
    parts += [sheet.text("markdown") for sheet in sheets]
    write_atomically(path, ("\n\n".join(part.rstrip("\n") for part in parts) + "\n").encode())


def cell(text: str) -> str:
    """Text that Markdown takes as it stands."""
    escaped = html.escape(text, quote=False)
    return "".join(f"\\{c}" if c in "|*_`[]" else c for c in escaped).replace("\n", " ")


def over_seeds(found: Sequence[Group]) -> Sheet:
    """Each group of seeds: mean ± standard deviation, and the paired interval over the baseline."""

    def figure(group: Group, metric: str, scale: float, digits: int) -> str:
        mean, spread = group.mean(metric), group.spread(metric)
        if mean is None:
            return ""
        return f"{scale * mean:.{digits}f}" + ("" if spread is None else f" ± {scale * spread:.{digits}f}")

    rows = []
    for group in sorted(found, key=lambda group: -(group.mean("val_accuracy") or 0)):
        over = group.over_baseline()
        rows.append(
            [
                cell(group.label),
                str(len(group.runs)),
                figure(group, "val_accuracy", 100, 2),
                figure(group, "test_accuracy", 100, 2),
                figure(group, "gzip_bytes", 1e-3, 2),
                figure(group, "latency_us_p50", 1, 1),
                "" if over is None else f"{100 * over.mean:+.2f} ({100 * over.low:+.2f} to {100 * over.high:+.2f})",
            ]
        )
    note = "Over baseline: points of test accuracy, 95 % interval of a bootstrap paired by test image."
    headings = ("run", "n", "val acc %", "test acc %", "gzip KB", "us/image", "over baseline")
    return Sheet("Runs, seeds together, best on validation first", headings, rows, [note])


def drawn(runs: Sequence[Shown]) -> list[tuple[str, str, bytes]]:
    """The pictures: file name, what it shows, PNG."""
    from matplotlib.figure import Figure  # no pyplot: nothing global, no display

    found = []
    for cost, scale, title in (
        ("gzip_bytes", 1e-3, "size gzip'd, KB"),
        ("latency_us_p50", 1.0, "latency at batch 1, us"),
    ):
        if any(run.is_ok and cost in run.result.metrics for run in runs):
            figure = Figure((7, 4.2), layout="constrained")
            draw_front(figure, runs, cost, scale, title)
            name = f"front-{'size' if cost == 'gzip_bytes' else 'latency'}.png"
            found.append((name, f"test accuracy against {title}", png(figure)))
    names = numbers(runs)[:3]
    if names:
        figure = Figure((3.6 * len(names), 3.2), layout="constrained")
        for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
            draw_effect(axes, runs, name)
        found.append(("effects.png", f"test accuracy by {', '.join(names)}", png(figure)))
    return found


def draw_front(figure: Any, runs: Sequence[Shown], cost: str, scale: float, title: str) -> None:
    axes = figure.add_subplot()
    known = [run for run in runs if run.is_ok and cost in run.result.metrics]
    for technique in sorted({run.result.techniques for run in known}):
        own = [run.result.metrics for run in known if run.result.techniques == technique]
        axes.scatter(
            [scale * m[cost] for m in own], [100 * m["test_accuracy"] for m in own], s=22, alpha=0.75, label=technique
        )
    for number, own_data in enumerate(by_dataset(known).values()):
        best = [run.result.metrics for run in front(own_data, cost)]
        x, y = [scale * m[cost] for m in best], [100 * m["test_accuracy"] for m in best]
        axes.plot(x, y, "k-", lw=1, label=None if number else "front of each data set, chosen on validation")
    bases = [run.result.baseline for run in baselines(known).values() if cost in run.result.baseline]
    x, y = [scale * b[cost] for b in bases], [100 * b["test_accuracy"] for b in bases]
    axes.scatter(x, y, s=60, marker="D", facecolors="none", edgecolors="k", label="baseline")
    if cost == "gzip_bytes":
        axes.set_xscale("log")
    accuracies = [100 * run.result.metrics["test_accuracy"] for run in known]
    if max(accuracies) - min(accuracies) > SPAN:
        axes.set_ylim(max(accuracies) - SPAN, max([*accuracies, *y]) + 0.05 * SPAN)
    axes.set_xlabel(title)
    axes.set_ylabel("test accuracy, %")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=3, fontsize=8, frameon=False)


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
