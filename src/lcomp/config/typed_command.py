"""The command that was typed: it alone says what is built of a sweep's runs later, not what lies in their folders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig, open_dict

from lcomp.config import composition
from lcomp.record.escaping import one_line
from lcomp.record.limits import Refused
from lcomp.record.result import Result


@dataclass
class TypedCommand:
    """What later stages of a sweep know of its command.

    Attributes:
        loader: Hydra's, over lcomp's `conf` and the user's own.
        master: Hydra's configuration of the sweep.
        point: the overrides of the command that a record is of; None where the command has no such point.
    """

    loader: ConfigLoader
    master: DictConfig
    point_of: Callable[[Result], list[str] | None]

    def configuration(self, result: Result, folder: Path) -> DictConfig:
        """What the command composes the run of a record to, Hydra's part of it included.

        Raises:
            Refused: the command has no such run.
        """
        point = self.point_of(result)
        if point is None:
            command = one_line(" ".join(result.overrides))[:200] or "its record names no overrides"
            raise Refused(f"{folder}: no run of this command ({command})")
        composed = composition.without_leftovers(self.loader.load_sweep_config(self.master, point), point)
        with open_dict(composed):
            composed.hydra.job.id = composed.hydra.job.num = int(folder.name)
            composed.hydra.runtime.output_dir = str(folder.absolute())
        return composed
