"""Records of jobs whose process could leave none."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from lcomp.config import run_config
from lcomp.record.result import FILE_NAME, Result


def record_lost(job: DictConfig, cause: str) -> None:
    """Leaves the record of a job that could not leave its own."""
    if not (run_folder(job) / FILE_NAME).exists():
        overrides, choices = run_config.overrides(job.hydra), run_config.choices(job.hydra)
        Result(overrides=overrides, choices=choices, seed=job.seed, error=cause).write(run_folder(job))


def record_lost_if_begun(job: DictConfig, cause: str) -> bool:
    """The same, where the job's run had begun; whether it had."""
    began = run_folder(job).exists()
    if began:
        record_lost(job, cause)
    return began


def run_folder(job: DictConfig) -> Path:
    return (Path(job.hydra.sweep.dir) / str(job.hydra.sweep.subdir)).absolute()
