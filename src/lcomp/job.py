"""What Hydra calls for each point of a command line; imports nothing heavy until it does."""

from __future__ import annotations

import logging
from multiprocessing import parent_process
from pathlib import Path

from omegaconf import DictConfig

from lcomp import config, sweep
from lcomp.report.line import line

log = logging.getLogger("lcomp")


def job(cfg: DictConfig) -> float:
    """One run; its objective for a sweeper is the artifact's validation accuracy, NaN when it failed.

    In a worker of a sweep nothing is printed and no latency measured: the process that launched it does both.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from lcomp.run import run

    hydra = HydraConfig.get()
    folder, alone = Path(hydra.runtime.output_dir), parent_process() is None
    overrides = [override.replace("\\:", ":") for override in hydra.overrides.task]  # Hydra escapes colons in sweeps
    if not alone:
        cfg.progress = False
    result = run(cfg, folder, overrides, config.choices(hydra), timed=alone)
    log.debug("%s", line(result))
    if alone:
        sweep.tell(result)
        if hydra.mode == RunMode.RUN and result.status == "ok":
            print(f"Record and artifact: {folder}")
    return result.metrics["val_accuracy"] if result.status == "ok" else float("nan")
