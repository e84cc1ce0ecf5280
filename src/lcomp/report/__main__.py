"""Writes the records under each DIR as report.html, report.md, results.csv and results.parquet, and prints them as
tables: the paper's, or, where no run bears the name of an experiment, the sweep's own."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from lcomp.errors import UserError, terminal
from lcomp.record.interruption import machine_interruption
from lcomp.report import page, wandb_report
from lcomp.report.packages import check_packages
from lcomp.report.runs import ReportRun, seed_groups
from lcomp.report.table import print_dataset_tables
from lcomp.report.text import seed_table
from lcomp.report.text_table import FORMATS, TextTable
from lcomp.report.writing import check_records, read_records, write_report_files


def main(arguments: Sequence[str] | None = None, prog: str = "python -m lcomp.report") -> int:
    """Writes the report and prints the tables; 1, with one line, where that cannot be."""
    parser = argparse.ArgumentParser(prog=prog, description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+", metavar="DIR", help="a sweep's folder, or multirun")
    parser.add_argument("--out", type=Path, help="where the files go: DIR itself, or the folder that holds every DIR")
    parser.add_argument("--format", choices=FORMATS, help="print the tables in this form, and write nothing")
    parser.add_argument("--wandb", metavar="ENTITY/PROJECT", help="make a W&B report of the runs, once they are synced")
    parser.add_argument(
        "--wandb-spec", type=Path, metavar="FILE", help="write that report's description, without a server"
    )
    given = parser.parse_args(arguments)
    try:
        report(given)
    except UserError as error:
        print(f"lcomp: {error}", file=sys.stderr)
        return 1
    except OSError as error:  # a full disk, a folder where a file is to be
        where = error.filename2 or error.filename
        message = machine_interruption(error) or f"{where}: cannot be written ({error.strerror})"
        print(terminal(f"lcomp: {message}"), file=sys.stderr)
        return 1
    return 0


def report(given: argparse.Namespace) -> None:
    """What the command line asks for.

    Raises:
        UserError: a folder without records, or what W&B cannot take.
    """
    check_records(given.folders)
    if given.wandb or given.wandb_spec:
        wandb_report.check_packages()
    elif given.format is None:
        check_packages("lcomp report", instead="--format csv prints the tables without")
    records = read_records(given.folders)
    _, runs, sheets = records
    title = page.title(given.folders)
    if given.wandb or given.wandb_spec:
        entity, project = wandb_report.destination(given.wandb or "entity/lcomp")
        if given.wandb_spec:
            wandb_report.write_spec(given.wandb_spec, wandb_report.spec(runs, sheets, title, entity, project))
            print(f"Description of the W&B report: {given.wandb_spec}")
        if given.wandb and not given.wandb_spec:
            print(f"W&B report: {wandb_report.publish(runs, sheets, title, entity, project)}")
        return
    print_tables(runs, sheets, given.folders, given.format or "terminal")
    if given.format is None:
        print(terminal(f"Report: {write_report_files(records, given.out or common(given.folders))}"))


def print_tables(runs: Sequence[ReportRun], sheets: Sequence[TextTable], of: Sequence[Path], form: str) -> None:
    for sheet in sheets or ([] if form == "terminal" else [seed_table(seed_groups(runs))]):
        print(sheet.text(form))
    if not sheets and form == "terminal":
        print_dataset_tables([run.result for run in runs], of[0])


def common(several: Sequence[Path]) -> Path:
    """The folder itself, or the one that holds them all."""
    if len(several) == 1:
        return several[0]
    return Path(os.path.relpath(os.path.commonpath([folder.resolve() for folder in several])))


if __name__ == "__main__":
    sys.exit(main())
