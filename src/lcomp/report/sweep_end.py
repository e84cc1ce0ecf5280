"""What a sweep leaves when it has ended: its table, what W&B shows, its report."""

from __future__ import annotations

import logging
import shlex
import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from hydra.types import HydraContext
from omegaconf import DictConfig

from lcomp.config.typed_command import TypedCommand
from lcomp.errors import UserError, terminal
from lcomp.record import run_folders
from lcomp.report.packages import check_packages
from lcomp.tracking import sweep_completion, wandb_environment, wandb_logger

log = logging.getLogger("lcomp")


class SweepEnd(Callback):
    """Hydra's callback that ends a sweep: its table, what W&B shows, its report, and the exit code of its process.

    Attributes:
        command: the sweep's, from whoever carried it out.
    """

    command: TypedCommand | None = None

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        failures = summarize(Path(config.hydra.sweep.dir))
        try:
            show(config, self.command)
        finally:
            if failures and "max_failure_rate" not in config.hydra.sweeper:  # a search has decided whether too many did
                sys.exit(1)


def tell_command(context: HydraContext, command: TypedCommand) -> None:
    """Tells what ends the sweep, among Hydra's callbacks, which command it was; after its runs, for the callbacks go to
    every worker."""
    for callback in context.callbacks.callbacks:
        if isinstance(callback, SweepEnd):
            callback.command = command


def show(config: DictConfig, command: TypedCommand | None) -> None:
    """Brings what loggers show up to the records, and writes the report."""
    folder = Path(config.hydra.sweep.dir)
    sweep_completion.complete(folder, config.logger, command)
    if sync := wandb_logger.sync_command(folder):
        print(f"To see it in Weights & Biases: {sync}")
    if config.report is True:
        write_report(folder)


def begin(config: DictConfig) -> None:
    """Before a sweep's first run: takes from its environment what names one run of W&B's, says where it leaves no
    report."""
    wandb_environment.leave_to_single_runs()
    tell_missing(config)


def tell_missing(config: DictConfig) -> None:
    """Says that the sweep leaves no report, and what installs the packages of one."""
    if config.report is True:
        try:
            check_packages("report=true")
        except UserError as error:
            log.warning("%s; the sweep runs, and leaves no report.html", error)


def write_report(folder: Path) -> None:
    """Leaves `report.html` in the folder and prints its path; whatever fails there fails nothing else."""
    try:
        check_packages("not written", instead=f"then: lcomp report {shlex.quote(str(folder))}")
    except UserError as error:
        print(f"Report: {error}")
        return
    try:
        from lcomp.report.writing import read_records, write_report_files

        print(f"Report: {write_report_files(read_records([folder]), folder)}")
    except Exception as error:
        log.warning("%s: no report could be written (%s: %s)", folder, type(error).__name__, error)


def summarize(folder: Path) -> list[str]:
    """Prints the table of the records under `folder`, then a line for each run that failed, and returns these."""
    from lcomp.report.table import print_dataset_tables

    failed = [run for run in run_folders.latest_by_point(run_folders.recorded_runs(folder)) if not run.result.lacks]
    print_dataset_tables([run.result.known for run in failed], folder)
    failures = [
        f"{run.folder.name}: {' '.join(run.result.overrides)}: {run.result.error}"
        for run in failed
        if run.result.status not in ("ok", "pruned")
    ]
    if failures:
        print(f"\n{len(failures)} of {len(failed)} runs failed:", file=sys.stderr)
        for failure in failures:
            print(terminal(f"  {failure}"), file=sys.stderr)
    return failures
