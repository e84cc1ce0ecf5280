"""The report's three files, of one reading of the records."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lcomp.files import write_atomically
from lcomp.report import page
from lcomp.report.runs import shown
from lcomp.report.text import write_csv, write_markdown


def write(folders: Sequence[Path], place: Path) -> Path:
    """Writes `report.html`, `report.md` and `results.csv` of the runs under `folders` into `place`; returns the path of
    the first."""
    runs, sheets = shown(folders), page.sheets(folders)
    place.mkdir(parents=True, exist_ok=True)
    write_csv(runs, place / "results.csv")
    notes = [page.summary(runs), page.origin(runs)]
    write_markdown(runs, sheets, page.title(folders), notes, place / "report.md")
    path = place / page.FILE
    write_atomically(path, page.page(runs, sheets, folders, place).encode())
    return path
