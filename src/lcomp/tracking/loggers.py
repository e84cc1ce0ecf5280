"""What shows a run beside its record."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig
from pytorch_lightning.loggers import Logger

from lcomp.config.instantiation import build
from lcomp.errors import UserError
from lcomp.tracking.tracker import Tracker


class LightningTracker(Tracker):
    """A logger of Lightning's."""

    def __init__(self, logger: Logger):
        self.logger = logger

    @property
    def loggers(self) -> Sequence[Logger]:
        return [self.logger]


def make_tracker(cfg: DictConfig, folder: Path) -> Tracker:
    """What shows the run beside its record: a logger of Lightning's, given the run's folder, or W&B's mirror.

    Raises:
        UserError: it is something else, or a package that it needs is missing.
    """
    if not cfg.logger:
        return Tracker()
    try:
        logger = build(cfg.logger, "logger", save_dir=str(folder))
    except UserError as error:
        if "tensorboard" in str(error).lower():
            raise UserError("logger=tensorboard: needs a package: pip install 'lcomp[tensorboard]'") from error
        raise
    if isinstance(logger, Logger):
        return LightningTracker(logger)
    if not isinstance(logger, Tracker):
        raise UserError(f"logger._target_={cfg.logger._target_}: not a logger of pytorch_lightning.loggers")
    return logger
