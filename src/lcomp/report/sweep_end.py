"""What a sweep leaves when it has ended: its table, what W&B shows, its report."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from omegaconf import DictConfig

from lcomp.escaping import terminal
from lcomp.record import run_folders
from lcomp.sweeps import sweep
from lcomp.tracking import wandb_logger

log = logging.getLogger("lcomp")


def end(config: DictConfig) -> None:
    """The same, of Hydra's configuration of the sweep."""
    folder = Path(config.hydra.sweep.dir)
    summarize(folder)
    wandb_logger.complete(folder, config.logger, sweep.typed)
    if command := wandb_logger.sync_command(folder):
        print(f"To see it in Weights & Biases: {command}")
    if config.report is True:
        write_report(folder)


def write_report(folder: Path) -> None:
    """Leaves `report.html` in the folder and prints its path; whatever fails there fails nothing else."""
    try:
        from lcomp.report.writing import read_records, write_report_files

        print(f"Report: {write_report_files(read_records([folder]), folder)}")
    except Exception as error:
        log.warning("%s: no report could be written (%s: %s)", folder, type(error).__name__, error)


def summarize(folder: Path) -> None:
    """Prints the table of the records under `folder`, then a line for each run that failed."""
    from lcomp.report.table import print_dataset_tables

    failed = [run for run in run_folders.latest_by_point(run_folders.recorded_runs(folder)) if not run.result.lacks]
    print_dataset_tables([run.result.known for run in failed], folder)
    sweep.failures[:] = [
        f"{run.folder.name}: {' '.join(run.result.overrides)}: {run.result.error}"
        for run in failed
        if run.result.status not in ("ok", "pruned")
    ]
    if sweep.failures:
        print(f"\n{len(sweep.failures)} of {len(failed)} runs failed:", file=sys.stderr)
        for failure in sweep.failures:
            print(terminal(f"  {failure}"), file=sys.stderr)
