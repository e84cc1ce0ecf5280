"""The report's three files, of one reading of the records."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from lcomp.record.files import write_atomically
from lcomp.report import page
from lcomp.report.runs import ReportRun, load_runs
from lcomp.report.text import write_csv, write_markdown
from lcomp.report.text_table import TextTable


class Records(NamedTuple):
    """The runs that have a record under some folders, and the paper's tables of them."""

    folders: Sequence[Path]
    runs: Sequence[ReportRun]
    sheets: Sequence[TextTable]


def read_records(folders: Sequence[Path]) -> Records:
    return Records(folders, load_runs(folders), page.all_tables(folders))


def write_report_files(records: Records, folder: Path) -> Path:
    """Writes `report.html`, `report.md` and `results.csv` into `folder`; returns the path of the first."""
    folders, runs, sheets = records
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(runs, folder / "results.csv")
    notes = [page.page_summary(runs), page.origin(runs)]
    write_markdown(runs, sheets, page.title(folders), notes, folder / "report.md")
    path = folder / page.FILE
    write_atomically(path, page.render_page(runs, sheets, folders, folder).encode())
    return path
