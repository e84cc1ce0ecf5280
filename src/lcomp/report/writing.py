"""The report's four files, of one reading of the records."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from lcomp.errors import UserError
from lcomp.record import folders as files
from lcomp.record.files import write_atomically
from lcomp.record.result import FILE_NAME
from lcomp.report import page, parquet
from lcomp.report.parquet import write_parquet
from lcomp.report.ranking import shared_metric
from lcomp.report.runs import ReportRun, load_runs
from lcomp.report.selection import drawn_runs, selection_note
from lcomp.report.text import csv_row, write_csv, write_markdown
from lcomp.report.text_table import TextTable

log = logging.getLogger("lcomp")


class Records(NamedTuple):
    """The runs that have a record under some folders, and the paper's tables of them."""

    folders: Sequence[Path]
    runs: Sequence[ReportRun]
    sheets: Sequence[TextTable]


def check_records(folders: Sequence[Path]) -> None:
    """Raises UserError for a folder without records."""
    for folder in folders:
        if not folder.is_dir() or not files.find_files(folder, FILE_NAME):
            raise UserError(f"{folder}: no record in it; name the folder of a sweep, or multirun")


def read_records(folders: Sequence[Path]) -> Records:
    return Records(folders, load_runs(folders), page.all_tables(folders))


def comparable_runs(every: Sequence[ReportRun]) -> list[ReportRun]:
    """Those that are judged by the metric that most are, and those that did not finish: what one page can show."""
    metric = shared_metric(every)
    return [run for run in every if not run.is_ok or run.result.chosen_by == metric]


def write_report_files(records: Records, folder: Path) -> Path:
    """Writes `report.html`, `report.md`, `results.csv` and `results.parquet` into `folder`; returns the path of the
    first."""
    folders, every, sheets = records
    folder.mkdir(parents=True, exist_ok=True)
    rows = [csv_row(run, folder) for run in every]
    write_csv(rows, folder / "results.csv")
    write_parquet(rows, folder / parquet.FILE)
    runs, metric = comparable_runs(every), shared_metric(every)
    drawn = drawn_runs(runs)
    summary = " ".join(filter(None, (page.page_summary(runs), selection_note(drawn, runs))))
    notes = [summary, page.origin(runs)]
    if others := sorted({run.result.chosen_by.words for run in every} - {metric.words}):
        left = f"{len(every) - len(runs)} runs that are judged by {', '.join(others)} are left out here"
        log.warning("%s; report their folder by itself", left)
        notes.append(f"{left}; results.csv has them.")
    write_markdown(drawn, sheets, page.title(folders), notes, folder / "report.md")
    path = folder / page.FILE
    write_atomically(path, page.render_page(drawn, sheets, folders, folder, summary).encode())
    return path
