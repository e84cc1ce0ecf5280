"""What a run tells of itself beside its record, and to whom: nobody, unless a subclass listens."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lcomp.config.settings import Settings
from lcomp.record.result import Result

if TYPE_CHECKING:  # which takes seconds, and a sweep's end needs none of it
    from pytorch_lightning.loggers import Logger

OnEpoch = Callable[[int, Mapping[str, float]], None]  # is given the epoch, from 1, and what was logged of it


class Tracker:
    """Is told of one run."""

    @property
    def loggers(self) -> Sequence[Logger]:
        """Lightning's, for the fit."""
        return ()

    def follow(self, folder: Path, config: Settings, result: Result, group: str) -> OnEpoch | None:
        """What is told of each epoch while the run learns; None where nobody watches.

        Args:
            folder: the run's.
            config: its configuration, resolved where it can be.
            result: its record so far.
            group: the sweep's name, or the run's own.
        """
        return None

    def end(self, folder: Path, config: Settings, result: Result, group: str, is_whole: bool) -> None:
        """Is told that the run has ended, its record written.

        Args:
            is_whole: whether the record is complete; a sweep measures latencies later, and tells then.
        """


def is_single(folder: Path, group: str) -> bool:
    """Whether what is shown in `folder` is of a run by itself: not of a sweep's, not of a baseline."""
    return folder.name == group != folder.parent.name
