"""What Hydra calls for each point of a command line; imports nothing heavy until it does."""

from __future__ import annotations

import logging
from pathlib import Path

from omegaconf import DictConfig

from lcomp import config, sweep
from lcomp.report.line import line

log = logging.getLogger("lcomp")
in_worker = False  # of a launcher that tells of finished runs, and measures latencies, itself


def job(cfg: DictConfig) -> float:
    """One run; its objective for a sweeper is the artifact's validation accuracy, NaN when it failed.

    In a worker nothing is printed and no latency measured, see `in_worker`.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from lcomp.run import run

    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    if in_worker:
        cfg.progress = False
    result = run(cfg, folder, config.overrides(hydra), config.choices(hydra), timed=not in_worker)
    log.debug("%s", line(result))
    if not in_worker:
        sweep.tell(result)
        if hydra.mode == RunMode.RUN and result.status == "ok":
            print(f"Record and artifact: {folder}")
    return result.metrics["val_accuracy"] if result.status == "ok" else float("nan")
