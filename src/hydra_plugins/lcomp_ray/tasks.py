"""Hydra's launcher for a Ray cluster: a task for each run, with an account of those whose worker ends."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn
from omegaconf import DictConfig

from hydra_plugins.lcomp_local.local import Job, LocalLauncher, RunJob
from lcomp.errors import needing
from lcomp.record.containers import plain_mapping
from lcomp.record.plain import PlainValue
from lcomp.sweeps.worker_pool import WorkerExit, run_task

if TYPE_CHECKING:
    from ray import ObjectRef

PATIENCE = 20  # seconds for cancelled tasks to end


class RayLauncher(LocalLauncher):
    """Runs the jobs of a sweep as Ray's tasks; one whose worker is gone costs its job, as with local workers.

    Args:
        ray: settings of `ray.init` and of each task (`remote`), as hydra-ray-launcher has them.
    """

    def __init__(self, ray: DictConfig):
        super().__init__(workers=1)  # of a search, unless `n_jobs` says how many the cluster has
        self.ray = ray

    def pool(self, jobs: int, threads: Sequence[int]) -> AbstractContextManager[Tasks]:
        with needing("ray", "launcher=ray"):
            import ray  # noqa: F401 - what is imported below
            from hydra_plugins.hydra_ray_launcher._launcher_util import start_ray

        start_ray(self.ray.init)
        return tasks_of(plain_mapping(self.ray.remote))


class Tasks:
    """What `WorkerPool` is, on a cluster: a task whose worker is gone comes to a `WorkerExit`."""

    def __init__(self, options: dict[str, Any]):
        self.options = options
        self.running: dict[ObjectRef[bytes], int] = {}

    def schedule(self, number: int, function: RunJob, state: bytes, job: Job) -> None:
        import ray

        task = ray.remote(**self.options)(run_task)
        self.running[task.remote(pickle.dumps(partial(function, state, job)))] = number

    def outcomes(self) -> Iterator[tuple[int, JobReturn | BaseException]]:
        """Each task's number, and the value or the exception that it came to, as they end; more may be scheduled."""
        import ray

        while self.running:
            [ended], _ = ray.wait(list(self.running))
            number = self.running.pop(ended)
            try:
                outcome = pickle.loads(ray.get(ended))
            except ray.exceptions.RayError as error:
                said = " ".join(str(error).split())[:300]
                outcome = WorkerExit(f"the worker ended in the middle of its task ({type(error).__name__}: {said})")
            yield number, outcome

    def cancel(self) -> None:
        """Ends the tasks that run, so that whoever resumes the sweep is alone."""
        import ray

        for task in self.running:
            ray.cancel(task, force=True)
        if self.running:
            ray.wait(list(self.running), num_returns=len(self.running), timeout=PATIENCE)


@contextmanager
def tasks_of(options: dict[str, PlainValue]) -> Iterator[Tasks]:
    """Tasks on the cluster that this process joined; cancelled when the block raises."""
    tasks = Tasks(options)
    try:
        yield tasks
    finally:
        tasks.cancel()
