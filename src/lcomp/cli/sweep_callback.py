"""Where runs are carried out, and what a sweep leaves when it has ended: its table, what W&B shows, its report."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from lcomp.escaping import terminal
from lcomp.sweeps import sweep
from lcomp.tracking import wandb_environment, wandb_logger

log = logging.getLogger("lcomp")


class Ending(Callback):
    """A Hydra callback that keeps runs where the command was typed; at a sweep's end it prints its table and its
    failures, mirrors its runs, writes its report."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        os.environ.update(config.hydra.job.env_set)  # for what the sweep does itself beside its runs
        wandb_environment.leave_to_single_runs()
        say_where(config)

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        say_where(config)

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        if config.hydra.job.chdir:
            os.chdir(config.hydra.runtime.cwd)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        end(config)
        if "max_failure_rate" in config.hydra.sweeper:  # a search has decided itself whether too many failed
            sweep.failures.clear()


def say_where(config: DictConfig) -> None:
    """Says that paths mean one thing, whatever `hydra.job.chdir` is."""
    if config.hydra.job.chdir:
        log.warning(
            "hydra.job.chdir=true: runs stay in %s, so that a path means the same to all of them; "
            "a class of your own finds its run's folder as ${hydra:runtime.output_dir}",
            config.hydra.runtime.cwd,
        )


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
        from lcomp.report.writing import read, write

        print(f"Report: {write(read([folder]), folder)}")
    except Exception as error:
        log.warning("%s: no report could be written (%s: %s)", folder, type(error).__name__, error)


def summarize(folder: Path) -> None:
    """Prints the table of the records under `folder`, then a line for each run that failed."""
    from lcomp.report.table import show

    found = [run for run in sweep.latest(sweep.runs(folder)) if not run.result.lacks]
    show([run.result.known for run in found], folder)
    sweep.failures[:] = [
        f"{run.folder.name}: {' '.join(run.result.overrides)}: {run.result.error}"
        for run in found
        if run.result.status not in ("ok", "pruned")
    ]
    if sweep.failures:
        print(f"\n{len(sweep.failures)} of {len(found)} runs failed:", file=sys.stderr)
        for failure in sweep.failures:
            print(terminal(f"  {failure}"), file=sys.stderr)
