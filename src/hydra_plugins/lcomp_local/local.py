"""Hydra's launcher for one machine: persistent worker processes, as many as there are cores to give them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from functools import partial
from pathlib import Path
from typing import Any

import cloudpickle
from hydra.core.config_store import ConfigStore
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, configure_log, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict
from pebble import ProcessExpired, ProcessPool

from lcomp import config as configuration
from lcomp import inputs
from lcomp.errors import UserError
from lcomp.points import covering
from lcomp.pool import death, pool_of
from lcomp.result import FILE_NAME, Result

Job = tuple[list[str], int]  # overrides, number


class LocalLauncher(Launcher):
    """Runs the jobs of a sweep in `workers` processes, each with the run's own number of threads.

    A worker imports once and takes one job after another; one that is killed costs its job, which is recorded as
    failed, and is replaced. Latencies are left to the sweep's end.

    Args:
        workers: processes; null is every core that this process may use, divided by the runs' threads.
    """

    composes_first = True  # enough jobs, before the first begins, that what cannot be composed is refused as a whole

    def __init__(self, workers: int | None = None):
        if workers is not None and (not isinstance(workers, int) or workers < 1):
            raise UserError(f"launcher.workers={workers}: a whole number of processes, 1 or more; null is every core")
        self.workers = workers

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.context, self.function, self.config = hydra_context, task_function, config

    @property
    def processes(self) -> int:
        """How many workers it has for runs of the sweep's own number of threads."""
        return self.workers or cores() // max(1, threads_of(self.config)) or 1

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        jobs = [(list(overrides), initial_job_idx + number) for number, overrides in enumerate(job_overrides)]
        enough = covering([point for point, _ in jobs])
        threads = [threads_of(cfg) for cfg in inputs.composed(self.context.config_loader, self.config, enough)]
        workers = self.workers or cores() // max(1, *threads) or 1
        with pool_of(min(len(jobs), workers)) as pool:
            return self.run(pool, jobs)

    def composed(self, job: Job) -> DictConfig:
        return compose(self.context, self.config, job)

    def run(self, pool: ProcessPool, jobs: Sequence[Job]) -> list[JobReturn]:
        """Runs every job; returns what Hydra wants, in their order.

        A job whose worker is killed is given to another worker where the task function has a method `lost` that says
        so; else its run is recorded as failed.
        """
        state = cloudpickle.dumps((Singleton.get_state(), self.context, self.function, self.config))
        lost = getattr(self.function, "lost", lambda job, cause: False)
        waiting: dict[Future[Any], int] = {}

        def schedule(number: int) -> None:
            waiting[pool.schedule(work, args=(state, jobs[number]))] = number

        for number in range(len(jobs)):
            schedule(number)
        returns = [JobReturn() for _ in jobs]
        while waiting:
            done, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                number = waiting.pop(future)
                error = future.exception()
                if isinstance(error, ProcessExpired) and lost(self.composed(jobs[number]), death(error.exitcode)):
                    schedule(number)
                elif hasattr(self.function, "lost"):  # a search's worker, whose trials have records of their own
                    returns[number] = failed(error) if error else future.result()
                else:
                    returns[number] = ended(future, partial(self.composed, jobs[number]))
        return returns


def cores() -> int:
    """How many cores this process may use, a container's limit included."""
    import joblib  # not in a worker, whose death would leave its semaphore

    return int(joblib.cpu_count())


def threads_of(cfg: DictConfig) -> int:
    """The threads of a run; a run refuses what is no number itself."""
    return cfg.threads if isinstance(cfg.threads, int) else 1


def failed(error: BaseException) -> JobReturn:
    """A job that ended by `error`; Hydra raises it when it looks for what the job returned."""
    returned = JobReturn(status=JobStatus.FAILED)
    returned.return_value = error
    return returned


def ended(future: Future[Any], composed: Callable[[], DictConfig]) -> JobReturn:
    """What a job returned; the job of a killed worker, or one that could not begin, leaves a record that says so.

    Args:
        composed: gives the job's configuration, where that is needed.
    """
    try:
        returned: JobReturn = future.result()
        _ = returned.return_value  # raises what the job raised outside its run
    except Exception as error:
        cause = death(error.exitcode) if isinstance(error, ProcessExpired) else f"{type(error).__name__}: {error}"
        lose(composed(), cause)
        returned = JobReturn(status=JobStatus.COMPLETED)
        returned.return_value = float("nan")
    return returned


def lose(job: DictConfig, cause: str) -> None:
    """Leaves the record of a job that could not leave its own."""
    folder = (Path(job.hydra.sweep.dir) / str(job.hydra.sweep.subdir)).absolute()
    if (folder / FILE_NAME).exists():
        return
    overrides = configuration.overrides(job.hydra)
    Result(overrides=overrides, choices=configuration.choices(job.hydra), seed=job.seed, error=cause).write(folder)


def compose(context: HydraContext, config: DictConfig, job: Job) -> DictConfig:
    """The job's configuration: some 50 ms, so that workers do it, not the one process that they wait for."""
    overrides, number = job
    composed: DictConfig = context.config_loader.load_sweep_config(config, overrides)
    with open_dict(composed):
        composed.hydra.job.id = composed.hydra.job.num = number
    return composed


def work(state: bytes, job: Job) -> JobReturn:
    """A job, in a worker; `state` is the launcher's: Hydra's singletons, its context, the task function, the
    configuration of the sweep."""
    setup_globals()
    singletons, context, function, config = cloudpickle.loads(state)
    Singleton.set_state(singletons)
    return run_job(
        hydra_context=context,
        task_function=function,
        config=compose(context, config, job),
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
    )


TARGET = "hydra_plugins.lcomp_local.local.LocalLauncher"
store = ConfigStore.instance().store
store(group="hydra/launcher", name="local", node={"_target_": TARGET, "workers": None}, provider="lcomp")
store(
    group="hydra/launcher",
    name="serial",
    node={"_target_": "hydra._internal.core_plugins.basic_launcher.BasicLauncher"},
    provider="lcomp",
)
