"""Latencies of a sweep's artifacts: measured at its end, one after another, with nothing else of it running."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from omegaconf import DictConfig

from lcomp.config.typed_command import Typed
from lcomp.record.run_folders import Run, runs
from lcomp.sweeps.worker_pool import Pool, pool_of

log = logging.getLogger("lcomp")


def complete(folder: Path, typed: Typed) -> None:
    """Measures the latencies that records under `folder` lack; where that cannot be, the record has none.

    A process of its own does it, unless this one has imported everything: it carried out the runs itself, in turn.
    """
    lacking = [run for run in runs(folder) if run.result.status == "ok" and "latency_ratio" not in run.result.metrics]
    if lacking and "lcomp.run" in sys.modules:
        each(lacking, typed, clock)
    elif lacking:
        with pool_of(1) as pool:
            each(lacking, typed, partial(in_worker, pool))


def in_worker(pool: Pool, cfg: DictConfig, folder: Path) -> None:
    pool.schedule(0, clock, cfg, folder)
    [(_, outcome)] = pool.outcomes()
    if isinstance(outcome, BaseException):
        raise outcome


def each(lacking: Sequence[Run], typed: Typed, clock: Callable[[DictConfig, Path], None]) -> None:
    for run in lacking:
        try:
            clock(typed.configuration(run.result, run.folder), run.folder.absolute())
        except Exception as error:  # a killed worker, a baseline that is gone
            log.warning("%s: no latency could be measured (%s: %s)", run.folder, type(error).__name__, error)


def clock(cfg: DictConfig, folder: Path) -> None:
    from hydra.core.hydra_config import HydraConfig
    from hydra.core.utils import setup_globals
    from omegaconf import open_dict

    from lcomp.evaluation import comparison

    setup_globals()
    HydraConfig.instance().set_config(cfg)
    with open_dict(cfg):
        del cfg["hydra"]
    comparison.clock(cfg, folder)
