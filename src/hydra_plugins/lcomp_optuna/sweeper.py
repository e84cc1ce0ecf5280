"""Hydra's sweeper for searches with Optuna: `hydra/sweeper=optuna`, or `sweeper=optuna`."""

from __future__ import annotations

from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from lcomp.search.choices import register
from lcomp.search.options import SearchOptions


class OptunaSweeper(Sweeper):
    """Searches the swept keys with a study of Optuna; `options` are those of `SearchOptions`."""

    def __init__(self, **options: Any):
        self.options = SearchOptions(**options)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def sweep(self, arguments: list[str]) -> None:
        from lcomp.search.search import run_search  # Optuna takes a second, and Hydra imports every plugin

        assert self.hydra_context is not None and self.config is not None  # Hydra calls setup first
        run_search(self.options, self.hydra_context, self.task_function, self.config, arguments)


register()
