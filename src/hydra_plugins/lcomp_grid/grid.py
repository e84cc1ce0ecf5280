"""Hydra's grid sweeper, less what makes no difference, and with the ability to go on where it was stopped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobReturn
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from lcomp.config import run_config
from lcomp.config.typed_command import TypedCommand
from lcomp.errors import UserError
from lcomp.report.sweep_end import tell_command
from lcomp.sweeps import composition_check, configuration_files, deferred_latency, sweep
from lcomp.sweeps.grid_points import points_by_key, representative_points, swept_values
from lcomp.sweeps.progress import ProgressView


class GridSweeper(BasicSweeper):
    """Every combination of the swept values, in their order; keys of a family that is off, and points that are equal,
    count for nothing.

    Args:
        resume: go on with the sweep in `hydra.sweep.dir`: run the points that have no finished run there.
        max_retries: how often a point that failed, or was interrupted, is tried again by resuming.
        params: sweeps of the configuration, as on the command line, which overrules them.
        max_batch_size: how many points the launcher is given at once; null is all.
    """

    def __init__(
        self,
        max_batch_size: int | None = None,
        params: dict[str, str] | None = None,
        resume: bool = False,
        max_retries: int = 3,
    ):
        check_count("max_retries", max_retries, 0)
        if max_batch_size is not None:
            check_count("max_batch_size", max_batch_size, 1)
        if params is not None and not isinstance(params, Mapping):
            raise UserError(f"hydra.sweeper.params={params}: must be keys and their sweeps, such as {{seed: range(3)}}")
        if not isinstance(resume, bool):
            raise UserError(f"hydra.sweeper.resume={resume}: true or false; resume=FOLDER is short for it")
        super().__init__(max_batch_size, params)
        self.resume, self.max_retries = resume, max_retries

    def sweep(self, arguments: list[str]) -> list[Sequence[JobReturn]]:
        assert self.config is not None and self.launcher is not None and self.hydra_context is not None
        composition_check.check_composition(self.config)
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        points = points_by_key(parser.parse_overrides([*self._parse_config(), *arguments]))
        hydras = run_config.overrides_of_hydra(self.config.hydra)
        name = str(self.config.hydra.job.config_name)
        files = configuration_files.read_all_files(self.hydra_context.config_loader, name, hydras, points.values())
        loader = self.hydra_context.config_loader
        command = TypedCommand(loader, self.config, lambda result: points.get(result.point))
        asked, plan = [*hydras, *arguments], swept_values(points)
        with sweep.open_sweep(self.config, asked, self.resume, plan, files, len(points)) as folder:
            todo = sweep.missing_points(folder, points, self.max_retries)
            done = len(points) - len(todo)
            if self.resume:
                print(f"{done} of {len(points)} runs are finished in {folder}", flush=True)
            if not getattr(self.launcher, "composes_first", False):
                for _ in configuration_files.compose_points(
                    self.hydra_context.config_loader, self.config, representative_points(todo)
                ):
                    pass  # composes, or raises
            view = ProgressView(folder, len(points), done, run_config.shows_progress(self.config), "task")
            batches = self.split_overrides_to_chunks(todo, self.max_batch_size) if todo else ()
            try:
                with view:
                    returns = [self.launcher.launch(batch, sweep.next_number(folder)) for batch in batches]
            except (UserError, HydraException, OmegaConfBaseException):
                raise
            except Exception as error:
                raise sweep.infrastructure_error(error, folder) from error
            deferred_latency.measure_deferred(folder, command)
        tell_command(self.hydra_context, command)
        for returned in (one for batch in returns for one in batch):
            _ = returned.return_value  # raises what a run raised outside its record
        return returns

    @staticmethod
    def split_arguments(overrides: list[Override], max_batch_size: int | None) -> list[list[list[str]]]:
        return list(BasicSweeper.split_overrides_to_chunks(list(points_by_key(overrides).values()), max_batch_size))


def check_count(name: str, value: object, least: int) -> None:
    """Raises UserError unless a setting is a whole number that is large enough."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise UserError(f"{name}={value}: must be a whole number, {least} or more")


SETTINGS = {
    "_target_": "hydra_plugins.lcomp_grid.grid.GridSweeper",
    "max_batch_size": None,
    "params": None,
    "resume": False,
    "max_retries": 3,
}
ConfigStore.instance().store(group="hydra/sweeper", name="grid", node=SETTINGS, provider="lcomp")
