"""`report.md`, which GitHub shows, with its pictures; `results.csv`, for whoever computes on."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from lcomp.record import escaping
from lcomp.record.files import Jsonable, write_atomically
from lcomp.record.folders import check_own
from lcomp.record.redaction import redacted
from lcomp.report import exemplars
from lcomp.report.pictures import draw_pictures
from lcomp.report.ranking import by_validation, shared_metric
from lcomp.report.runs import ReportRun, SeedGroup, by_dataset, relative_path, seed_groups
from lcomp.report.text_table import TextTable

PICTURES = "report"  # the folder beside report.md
LOST = (
    "mCE: errors on corrupted test examples over the own baseline's, mean over the corruptions. "
    "lost: test examples that most seeds get wrong and most of their baselines right."
)
CELLS = ("params", "metrics", "baseline", "seconds")  # of a record: a column for each key


def write_csv(records: Sequence[Mapping[str, Jsonable]], path: Path) -> None:
    """A line for each run, failed ones too; a column for each figure, parameter and choice.

    Args:
        records: the `csv_row` of each run.
    """
    rows = [{escaping.csv_cell(k): escaping.csv_cell(v) for k, v in record.items()} for record in records]
    stream = io.StringIO()
    whole = sorted(rows, key=lambda row: row["status"] != "ok")  # the columns of a failed run leave out the figures
    writer = csv.DictWriter(stream, list(dict.fromkeys(name for row in whole for name in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, stream.getvalue().encode())


def csv_row(run: ReportRun, folder: Path) -> dict[str, Jsonable]:
    """A record as one row."""
    result = run.result
    row: dict[str, Jsonable] = {
        "run": relative_path(run.folder, folder),
        "status": result.status,
        "error": result.error,
        "name": result.name,
        "techniques": result.techniques,
        "seed": result.seed,
        "data": result.dataset.get("name"),
        **{f"choices.{group}": choice for group, choice in result.choices.items()},
    }
    for part in CELLS:
        fields = getattr(result, part)
        first = result.chosen_by.validation, result.chosen_by.test  # what chooses, then what is only read
        row |= {f"{part}.{name}": fields[name] for name in (*(n for n in first if n in fields), *fields)}
    return row | {"config_hash": result.config_hash, "code_hash": result.code_hash, "command": run.command}


def write_markdown(
    runs: Sequence[ReportRun], sheets: Sequence[TextTable], title: str, notes: Sequence[str], path: Path
) -> None:
    """The report as Markdown, its pictures in a folder beside it."""
    folder = path.parent / PICTURES
    check_own(folder)
    folder.mkdir(exist_ok=True)
    parts = [f"# {escaping.markdown(title)}", *(escaping.markdown(note) for note in notes)]
    for name, alternative, picture in draw_pictures(runs):
        write_atomically(folder / name, picture)
        parts.append(f"![{escaping.markdown(alternative)}]({PICTURES}/{name})")
    sets = by_dataset(runs).values()
    for dataset_runs in sets:
        seeds = seed_table(seed_groups(dataset_runs))
        if len(sets) > 1:
            seeds.title += f", on {dataset_runs[0].result.dataset.get('name')}"
        parts.append(seeds.text("markdown"))
    failed = [run for run in runs if not run.is_ok]
    if failed:
        rows = [[run.label, run.result.status, str(redacted(run.result.error))] for run in failed]
        parts.append(TextTable("Runs without figures", ("run", "status", "cause"), rows).text("markdown"))
    parts += [sheet.text("markdown") for sheet in sheets]
    write_atomically(path, ("\n\n".join(part.rstrip("\n") for part in parts) + "\n").encode())


def seed_table(groups: Sequence[SeedGroup]) -> TextTable:
    """Each group of seeds: mean ± standard deviation, and the paired interval over the baseline."""

    def figure(group: SeedGroup, metric: str, scale: float, digits: int) -> str:
        mean, spread = group.mean(metric), group.spread(metric)
        if mean is None:
            return ""
        return f"{scale * mean:.{digits}f}" + ("" if spread is None else f" ± {scale * spread:.{digits}f}")

    metric = shared_metric(run for group in groups for run in group.runs)
    robust = any(group.values("mce") for group in groups)
    rows = []
    for group in by_validation(groups):
        over = group.over_baseline()
        rows.append(
            [
                group.label,
                str(len(group.runs)),
                figure(group, metric.validation, metric.scale, 2),
                figure(group, metric.test, metric.scale, 2),
                figure(group, "gzip_bytes", 1e-3, 2),
                figure(group, "latency_us_p50", 1, 1),
                figure(group, "latency_ratio", 1, 2),
                "" if over is None else f"{100 * over.mean:+.2f} ({100 * over.low:+.2f} to {100 * over.high:+.2f})",
                *([figure(group, "mce", 1, 2), str(exemplars.count_exemplars(group.pairs()))] if robust else []),
            ]
        )
    notes = [
        "us/example: of different moments; x baseline: ratio to the run's own interleaved baseline. "
        f"Over baseline: points of test {metric.words}, 95 % interval of a bootstrap paired by test example."
    ]
    headings = [
        "run",
        "n",
        *(f"{split} {metric.heading}" for split in ("val", "test")),
        "gzip KB",
        "us/example",
        "x baseline",
        "over baseline",
    ]
    if robust:
        headings += ["mCE", "lost"]
        notes.append(LOST)
    return TextTable("Runs, seeds together, best on validation first", headings, rows, notes)
