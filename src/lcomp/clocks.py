"""Latencies of a sweep's artifacts: measured at its end, one after another, with nothing else of it running."""

from __future__ import annotations

import logging
from pathlib import Path

from omegaconf import DictConfig

from lcomp.pool import pool_of
from lcomp.sweep import configuration, runs

log = logging.getLogger("lcomp")


def complete(folder: Path) -> None:
    """Has a process of its own measure the latencies that records under `folder` lack; where it cannot, the record has
    none."""
    lacking = [run for run in runs(folder) if run.result.status == "ok" and "latency_ratio" not in run.result.metrics]
    if not lacking:
        return
    with pool_of(1) as pool:
        for run in lacking:
            try:
                pool.schedule(clock, args=(configuration(run), run.folder.absolute())).result()
            except Exception as error:  # a killed worker, a baseline that is gone
                log.warning("%s: no latency could be measured (%s: %s)", run.folder, type(error).__name__, error)


def clock(cfg: DictConfig, folder: Path) -> None:
    from hydra.core.utils import setup_globals

    from lcomp import run

    setup_globals()
    run.clock(cfg, folder)
