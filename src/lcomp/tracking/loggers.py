"""What shows a run beside its record."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig
from pytorch_lightning.loggers import Logger

from lcomp.config.instantiation import build
from lcomp.errors import UserError
from lcomp.tracking.wandb_logger import WandbLogger


def make_logger(cfg: DictConfig, folder: Path) -> Logger | WandbLogger | None:
    """What shows the run beside its record: a logger of Lightning's, given the run's folder, or W&B's mirror.

    Raises:
        UserError: it is something else, or a package that it needs is missing.
    """
    if not cfg.logger:
        return None
    try:
        logger = build(cfg.logger, "logger", save_dir=str(folder))
    except UserError as error:
        if "tensorboard" in str(error).lower():
            raise UserError("logger=tensorboard: needs a package: pip install 'lcomp[tensorboard]'") from error
        raise
    if not isinstance(logger, Logger | WandbLogger):
        raise UserError(f"logger._target_={cfg.logger._target_}: not a logger of pytorch_lightning.loggers")
    return logger
