"""Where runs are carried out, and what a sweep leaves when it has ended: its table, what W&B shows, its report."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig

from lcomp.record.listener import listener
from lcomp.record.result import FILE_NAME, read_result
from lcomp.report.sweep_end import SweepEnd, begin, log


class SweepCallback(SweepEnd):
    """A Hydra callback that keeps runs where the command was typed; at a sweep's end it prints its table and its
    failures, mirrors its runs, writes its report. Where a run failed, it ends the process with 1: Hydra passes on
    nothing of what runs return."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        os.environ.update(config.hydra.job.env_set)  # for what the sweep does itself beside its runs
        listener.tell(folder=str(Path(config.hydra.sweep.dir).absolute()))
        say_where(config)
        begin(config)

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        say_where(config)

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        if config.hydra.job.chdir:
            os.chdir(config.hydra.runtime.cwd)

    def on_run_end(self, config: DictConfig, job_return: JobReturn | None = None, **kwargs: Any) -> None:
        recorded = job_return and job_return.status == JobStatus.COMPLETED  # else Hydra raises what the run raised
        if recorded and read_result(Path(config.hydra.runtime.output_dir) / FILE_NAME).status not in ("ok", "pruned"):
            sys.exit(1)


def say_where(config: DictConfig) -> None:
    """Says that paths mean one thing, whatever `hydra.job.chdir` is."""
    if config.hydra.job.chdir:
        log.warning(
            "hydra.job.chdir=true: runs stay in %s, so that a path means the same to all of them; "
            "a class of your own finds its run's folder as ${hydra:runtime.output_dir}",
            config.hydra.runtime.cwd,
        )
