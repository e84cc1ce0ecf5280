"""Hydra's launcher for one machine: persistent worker processes, as many as there are cores to give them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import cloudpickle
from hydra.core.config_store import ConfigStore
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, configure_log, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from lcomp.errors import UserError
from lcomp.record.interruption import BY_MACHINE, Interrupted, machine_interruption
from lcomp.sweeps import configuration_files
from lcomp.sweeps.grid_points import representative_points
from lcomp.sweeps.lost_jobs import record_lost, record_lost_if_begun
from lcomp.sweeps.worker_pool import WorkerExit, open_pool

Job = tuple[list[str], int]  # overrides, number
RunJob = Callable[[bytes, Job], JobReturn]  # of `LocalLauncher.run`'s state, and a job
IDLE = 3  # workers in a row that may end before they begin a run


class JobPool(Protocol):
    """Workers for a sweep's jobs, here or on a cluster, see `WorkerPool`."""

    def schedule(self, number: int, function: RunJob, state: bytes, job: Job, /) -> None: ...

    def outcomes(self) -> Iterator[tuple[int, JobReturn | BaseException]]: ...


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
        enough = representative_points([point for point, _ in jobs])
        threads = [
            threads_of(cfg)
            for cfg in configuration_files.compose_points(self.context.config_loader, self.config, enough)
        ]
        with self.pool(len(jobs), threads) as pool:
            return self.run(pool, jobs)

    def pool(self, jobs: int, threads: Sequence[int]) -> AbstractContextManager[JobPool]:
        """Workers for so many jobs, the numbers of whose threads are among these."""
        return open_pool(min(jobs, self.workers or cores() // max(1, *threads) or 1))

    def composed(self, job: Job) -> DictConfig:
        return compose_job(self.context, self.config, job)

    def state(self, function: TaskFunction) -> bytes:
        """What a worker needs: Hydra's singletons, its context, the task function, the configuration of the sweep."""
        made: bytes = cloudpickle.dumps((Singleton.get_state(), self.context, function, self.config))
        return made

    def state_for(self, job: Job, state: bytes) -> bytes:
        """The same for one job, of whose sweep it is `state`."""
        return state

    def run(self, pool: JobPool, jobs: Sequence[Job]) -> list[JobReturn]:
        """Runs every job; returns what Hydra wants, in their order.

        A grid's job whose worker ended has a record that says so, and is given to another worker if its run had not
        begun. That of a search, whose task function ends the worker's trial in `on_worker_exit`, always is.

        Raises:
            Interrupted: the machine cannot go on, or workers end, one after another, before they begin anything.
        """
        on_worker_exit = getattr(self.function, "on_worker_exit", None)
        search = on_worker_exit is not None  # its trials have records of their own
        state = self.state(self.function)
        for number, job in enumerate(jobs):
            pool.schedule(number, run_in_worker, self.state_for(job, state), job)
        returns = [JobReturn() for _ in jobs]
        idle = 0
        for number, outcome in pool.outcomes():
            if isinstance(outcome, WorkerExit):
                began = (on_worker_exit or record_lost_if_begun)(self.composed(jobs[number]), str(outcome))
                idle = 0 if began else idle + 1
                if idle > IDLE:
                    raise Interrupted(f"{BY_MACHINE}: {idle} workers in a row ended before they began a run: {outcome}")
                if search or not began:
                    pool.schedule(number, run_in_worker, self.state_for(jobs[number], state), jobs[number])
                else:
                    returns[number] = completed_job(float("nan"))
                continue
            idle = 0
            returns[number] = outcome if isinstance(outcome, JobReturn) else failed_job(outcome)
            if error := error_of(returns[number]):
                if machines := machine_interruption(error):
                    raise machines
                if not search:
                    record_lost(self.composed(jobs[number]), f"{type(error).__name__}: {error}")
                    returns[number] = completed_job(float("nan"))
        return returns


def cores() -> int:
    """How many cores this process may use, a container's limit included."""
    import joblib  # not in a worker, whose death would leave its semaphore

    return int(joblib.cpu_count())


def threads_of(cfg: DictConfig) -> int:
    """The threads of a run; a run refuses what is no number itself."""
    return cfg.threads if isinstance(cfg.threads, int) else 1


def completed_job(value: float) -> JobReturn:
    """What a job that ended returns to Hydra."""
    job = JobReturn(status=JobStatus.COMPLETED)
    job.return_value = value
    return job


def failed_job(error: BaseException) -> JobReturn:
    """A job that ended by `error`; Hydra raises it when it looks for what the job returned."""
    job = JobReturn(status=JobStatus.FAILED)
    job.return_value = error
    return job


def error_of(job: JobReturn) -> BaseException | None:
    """What the job raised outside its run, which has a record of what it raised."""
    error = job._return_value if job.status == JobStatus.FAILED else None
    return error if isinstance(error, BaseException) else None


def compose_job(context: HydraContext, config: DictConfig, job: Job) -> DictConfig:
    """The job's configuration: some 50 ms, so that workers do it, not the one process that they wait for."""
    overrides, number = job
    composed: DictConfig = context.config_loader.load_sweep_config(config, overrides)
    with open_dict(composed):
        composed.hydra.job.id = composed.hydra.job.num = number
    return composed


def run_in_worker(state: bytes, job: Job) -> JobReturn:
    """A job, in a worker; `state` is the launcher's."""
    setup_globals()
    singletons, context, function, config = cloudpickle.loads(state)
    Singleton.set_state(singletons)
    return run_job(
        hydra_context=context,
        task_function=function,
        config=compose_job(context, config, job),
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
