"""Latencies of a sweep's artifacts: measured at its end, one after another, with nothing else of it running."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from omegaconf import DictConfig

from lcomp.config.run_spec import parse
from lcomp.config.typed_command import TypedCommand
from lcomp.record.run_folders import RecordedRun, recorded_runs
from lcomp.sweeps.worker_pool import WorkerPool, open_pool

log = logging.getLogger("lcomp")


def measure_deferred(folder: Path, typed: TypedCommand) -> None:
    """Measures the latencies that records under `folder` lack; where that cannot be, the record has none.

    A process of its own does it, unless this one has imported everything: it carried out the runs itself, in turn.
    """
    lacking = [
        run for run in recorded_runs(folder) if run.result.status == "ok" and "latency_ratio" not in run.result.metrics
    ]
    if lacking and "lcomp.run" in sys.modules:
        measure_each(lacking, typed, measure_run)
    elif lacking:
        pool: WorkerPool[None] = open_pool(1)
        with pool:
            measure_each(lacking, typed, partial(in_worker, pool))


def in_worker(pool: WorkerPool[None], cfg: DictConfig, folder: Path) -> None:
    pool.schedule(0, measure_run, cfg, folder)
    [(_, outcome)] = pool.outcomes()
    if isinstance(outcome, BaseException):
        raise outcome


def measure_each(
    lacking: Sequence[RecordedRun], typed: TypedCommand, measure: Callable[[DictConfig, Path], None]
) -> None:
    for run in lacking:
        try:
            measure(typed.configuration(run.result, run.folder), run.folder.absolute())
        except Exception as error:  # a killed worker, a baseline that is gone
            log.warning("%s: no latency could be measured (%s: %s)", run.folder, type(error).__name__, error)


def measure_run(cfg: DictConfig, folder: Path) -> None:
    from hydra.core.hydra_config import HydraConfig
    from hydra.core.utils import setup_globals
    from omegaconf import open_dict

    from lcomp.evaluation import comparison

    setup_globals()
    HydraConfig.instance().set_config(cfg)
    with open_dict(cfg):
        del cfg["hydra"]
    comparison.complete_latencies(parse(cfg), folder)
