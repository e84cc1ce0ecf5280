"""What shows a run beside its record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pytorch_lightning.loggers import Logger

from lcomp.config.instantiation import build
from lcomp.config.settings import Settings, section
from lcomp.errors import UserError
from lcomp.record.result import Result
from lcomp.tracking import run_contents
from lcomp.tracking.failures import without_errors
from lcomp.tracking.logger_settings import each_logger
from lcomp.tracking.tracker import OnEpoch, Tracker


class LightningTracker(Tracker):
    """A logger of Lightning's: curves while the run learns, at its end hyperparameters, figures, tags and notes."""

    def __init__(self, logger: Logger):
        self.logger = logger

    @property
    def loggers(self) -> Sequence[Logger]:
        return [self.logger]

    def end(self, folder: Path, config: Settings, result: Result, group: str, is_whole: bool) -> None:
        with without_errors(who=type(self.logger).__name__):
            said = dict(run_contents.texts(result, config))
            self.logger.log_hyperparams({**run_contents.hyperparameters(result, config), **said})
            self.logger.log_metrics(run_contents.figures(result), result.steps)
            self.logger.finalize("success" if result.status in ("ok", "pruned") else "failed")


class SeveralTrackers(Tracker):
    """Tells each of several."""

    def __init__(self, trackers: Sequence[Tracker]):
        self.trackers = trackers

    @property
    def loggers(self) -> Sequence[Logger]:
        return [logger for tracker in self.trackers for logger in tracker.loggers]

    def follow(self, folder: Path, config: Settings, result: Result, group: str) -> OnEpoch | None:
        followers = [one for tracker in self.trackers if (one := tracker.follow(folder, config, result, group))]

        def tell(epoch: int, scalars: Mapping[str, float]) -> None:
            for follower in followers:
                follower(epoch, scalars)

        return tell if followers else None

    def end(self, folder: Path, config: Settings, result: Result, group: str, is_whole: bool) -> None:
        for tracker in self.trackers:
            tracker.end(folder, config, result, group, is_whole)


def make_tracker(config: Settings, folder: Path) -> Tracker:
    """What shows the run of a configuration beside its record: each chosen logger, given the run's folder.

    Raises:
        UserError: the settings make something else, a package that it needs is missing, or tags or notes are none.
    """
    run_contents.tags(config), run_contents.notes(config)
    made = [tracker_of(key, own, folder) for key, own in each_logger(section(config, "logger")).items()]
    if not made:
        return Tracker()
    return made[0] if len(made) == 1 else SeveralTrackers(made)


def tracker_of(key: str, settings: Settings, folder: Path) -> Tracker:
    logger = build(settings, key, save_dir=str(folder))
    if isinstance(logger, Logger):
        return LightningTracker(logger)
    if not isinstance(logger, Tracker):
        raise UserError(f"{key}._target_={settings.get('_target_')}: not a logger of pytorch_lightning.loggers")
    return logger
