"""`logger=csv`: a table of the run in its folder."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lcomp.config.settings import Settings
from lcomp.record.files import write_atomically
from lcomp.record.result import Result
from lcomp.tracking.failures import without_errors
from lcomp.tracking.run_contents import figures, hyperparameters, texts
from lcomp.tracking.tracker import Tracker

if TYPE_CHECKING:
    from pytorch_lightning.loggers import Logger

FOLDER = "csv"  # in the run's
METRICS = "metrics.csv"
ABOUT = "run.json"  # beside it: hyperparameters, tags, notes, status
ORDER = ("epoch", "step", "status")  # columns that come first


class CsvLogger(Tracker):
    """`csv/metrics.csv`: a row for each epoch, then one of the record's figures; `csv/run.json`: what was run.

    Lightning writes the epochs while the run learns. Of a run that went on after an interruption it has the later
    ones alone: the earlier ones come from the record.

    Args:
        save_dir: the run's folder.
    """

    def __init__(self, save_dir: str):
        self.save_dir = save_dir

    @property
    def loggers(self) -> Sequence[Logger]:
        from pytorch_lightning.loggers import CSVLogger

        return [CSVLogger(self.save_dir, name="", version=FOLDER)]

    def end(self, folder: Path, config: Settings, result: Result, group: str, is_whole: bool) -> None:
        with without_errors(who="logger=csv"):
            place = folder / FOLDER
            place.mkdir(exist_ok=True)
            learned = epoch_rows(place / METRICS, result)
            write_atomically(place / METRICS, table([*learned, {"status": result.status, **figures(result)}]))
            about = {"hyperparameters": hyperparameters(result, config), **dict(texts(result, config))}
            write_atomically(place / ABOUT, json.dumps(about, indent=2).encode())


def epoch_rows(path: Path, result: Result) -> list[dict[str, Any]]:
    """The rows of epochs: those that the record has and the file lacks, then the file's."""
    rows: list[dict[str, Any]] = []
    if path.is_file():
        with path.open(newline="") as file:
            rows = [{name: v for name, v in row.items() if v} for row in csv.DictReader(file) if not row.get("status")]
    there = {int(row["epoch"]) for row in rows if "epoch" in row}
    curves = [dict(zip(result.epochs, values, strict=True)) for values in zip(*result.epochs.values(), strict=True)]
    return [{"epoch": n, **row} for n, row in enumerate(curves) if n not in there] + rows


def table(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Rows as CSV, with a column for each name that any of them has."""
    names = {name for row in rows for name in row}
    columns = [*(name for name in ORDER if name in names), *sorted(names - set(ORDER))]
    written = io.StringIO(newline="")
    writer = csv.DictWriter(written, columns)
    writer.writeheader()
    writer.writerows(rows)
    return written.getvalue().encode()
