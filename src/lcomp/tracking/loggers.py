"""What shows a run beside its record."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pytorch_lightning.loggers import Logger

from lcomp.config.instantiation import build
from lcomp.config.settings import Settings
from lcomp.errors import UserError
from lcomp.tracking.tracker import Tracker


class LightningTracker(Tracker):
    """A logger of Lightning's."""

    def __init__(self, logger: Logger):
        self.logger = logger

    @property
    def loggers(self) -> Sequence[Logger]:
        return [self.logger]


def make_tracker(settings: Settings, folder: Path) -> Tracker:
    """What shows the run beside its record: a logger of Lightning's, given the run's folder, or W&B's mirror.

    Raises:
        UserError: the settings make something else, or a package that it needs is missing.
    """
    if not settings:
        return Tracker()
    try:
        logger = build(settings, "logger", save_dir=str(folder))
    except UserError as error:
        if "tensorboard" in str(error).lower():
            raise UserError("logger=tensorboard: needs a package: pip install 'lcomp[tensorboard]'") from error
        raise
    if isinstance(logger, Logger):
        return LightningTracker(logger)
    if not isinstance(logger, Tracker):
        raise UserError(f"logger._target_={settings.get('_target_')}: not a logger of pytorch_lightning.loggers")
    return logger
