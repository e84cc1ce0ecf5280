"""A sweep's jobs as tasks of a Ray cluster."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn
from omegaconf import DictConfig

from lcomp.errors import needing
from lcomp.record.containers import plain_mapping
from lcomp.sweeps.worker_pool import WorkerExit, run_task

if TYPE_CHECKING:
    from ray import ObjectRef

PATIENCE = 20  # seconds for cancelled tasks to end


class Tasks:
    """What `WorkerPool` is, on a cluster: a task whose worker is gone comes to a `WorkerExit`.

    Args:
        options: of each, as `ray.remote` has them.
    """

    def __init__(self, options: dict[str, Any]):
        self.options = options
        self.running: dict[ObjectRef[bytes], int] = {}

    def schedule(self, number: int, function: Callable[..., JobReturn], *arguments: object) -> None:
        import ray

        task = ray.remote(**self.options)(run_task)
        self.running[task.remote(pickle.dumps(partial(function, *arguments)))] = number

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
def tasks_on_cluster(settings: DictConfig) -> Iterator[Tasks]:
    """Tasks on the cluster that this process joins; cancelled when the block raises.

    Args:
        settings: of `ray.init`, and of each task (`remote`).

    Raises:
        UserError: Ray is not installed.
    """
    with needing("ray", "launcher=ray"):
        import ray  # noqa: F401 - what is imported below
        from hydra_plugins.hydra_ray_launcher._launcher_util import start_ray

    start_ray(settings.init)
    tasks = Tasks(plain_mapping(settings.remote))
    try:
        yield tasks
    finally:
        tasks.cancel()
