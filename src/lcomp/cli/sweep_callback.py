"""Where runs are carried out, and what a sweep leaves when it has ended: its table, what W&B shows, its report."""

from __future__ import annotations

import os
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from lcomp.report.sweep_end import end, log
from lcomp.sweeps import sweep
from lcomp.tracking import wandb_environment


class SweepCallback(Callback):
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
