"""Hydra's launcher for a Ray cluster: a task for each run, with an account of those whose worker ends."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

from omegaconf import DictConfig

from hydra_plugins.lcomp_local.local import LocalLauncher
from lcomp.sweeps.ray_tasks import Tasks, tasks_on_cluster


class RayLauncher(LocalLauncher):
    """Runs the jobs of a sweep as Ray's tasks; one whose worker is gone costs its job, as with local workers.

    Args:
        ray: settings of `ray.init` and of each task (`remote`), as hydra-ray-launcher has them.
    """

    def __init__(self, ray: DictConfig):
        super().__init__(workers=1)  # of a search, unless `n_jobs` says how many the cluster has
        self.ray = ray

    def pool(self, jobs: int, threads: Sequence[int]) -> AbstractContextManager[Tasks]:
        return tasks_on_cluster(self.ray)
