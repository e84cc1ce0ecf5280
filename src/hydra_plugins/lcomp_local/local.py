"""Hydra's launcher for one machine: persistent worker processes, as many as there are cores to give them."""

from __future__ import annotations

import gc
import logging
import multiprocessing
import signal
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cloudpickle
import joblib
from hydra.core.config_store import ConfigStore
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, configure_log, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict
from pebble import ProcessExpired, ProcessPool
from rich.console import Console
from rich.progress import Progress

from lcomp import config as configuration
from lcomp import job as task
from lcomp import sweep
from lcomp.errors import UserError
from lcomp.result import FILE_NAME, Result, read

log = logging.getLogger("lcomp")


class LocalLauncher(Launcher):
    """Runs the jobs of a sweep in `workers` processes, each with the run's own number of threads.

    A worker imports once and takes one job after another; one that is killed costs its job, which is recorded as
    failed, and is replaced. Latencies are measured when every job has ended, one artifact at a time, with nothing else
    of the sweep running.

    Args:
        workers: processes; null is every core that this process may use, divided by the runs' threads.
    """

    def __init__(self, workers: int | None = None):
        if workers is not None and (not isinstance(workers, int) or workers < 1):
            raise UserError(f"launcher.workers={workers}: a whole number of processes, 1 or more; null is every core")
        self.workers = workers

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.context, self.function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        Path(self.config.hydra.sweep.dir).mkdir(parents=True, exist_ok=True)
        jobs = [self.composed(list(o), initial_job_idx + n) for n, o in enumerate(job_overrides)]
        threads = max((job.threads for job in jobs if isinstance(job.threads, int)), default=1)  # a run checks its own
        try:
            with pool_of(min(len(jobs), self.workers or max(1, joblib.cpu_count() // max(1, threads)))) as pool:
                returns = self.run(pool, jobs)
                for job in jobs:
                    clock(pool, job)
        except KeyboardInterrupt:
            for job in jobs:
                if folder_of(job).is_dir():
                    lose(job, "KeyboardInterrupt")
            raise
        return returns

    def composed(self, overrides: list[str], number: int) -> DictConfig:
        job: DictConfig = self.context.config_loader.load_sweep_config(self.config, overrides)
        with open_dict(job):
            job.hydra.job.id = job.hydra.job.num = number
        return job

    def run(self, pool: ProcessPool, jobs: Sequence[DictConfig]) -> list[JobReturn]:
        """Runs every job, tells of each as it ends, and returns what Hydra wants, in their order."""
        state = cloudpickle.dumps((Singleton.get_state(), self.context, self.function))
        futures: dict[Future[Any], int] = {
            pool.schedule(work, args=(state, job)): number for number, job in enumerate(jobs)
        }
        returns = [JobReturn() for _ in jobs]
        shown = jobs[0].progress is True or (jobs[0].progress == "auto" and Console(stderr=True).is_terminal)
        lines = sys.stdout.isatty()  # elsewhere they go where they were sent
        with Progress(console=Console(stderr=True), disable=not shown, redirect_stdout=lines) as progress:
            bar = progress.add_task(f"{len(jobs)} runs", total=len(jobs))
            for future in as_completed(futures):
                number = futures[future]
                returns[number] = ended(future, jobs[number])
                progress.advance(bar)
        return returns


@contextmanager
def pool_of(workers: int) -> Iterator[ProcessPool]:
    """Worker processes that import once; stopped at once when the block raises."""
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    processes = multiprocessing.get_context(method)
    if method == "forkserver":
        processes.set_forkserver_preload(["lcomp.run"])  # imports are paid once, however many workers
    pool = ProcessPool(workers, context=processes)
    try:
        yield pool
    except BaseException:
        pool.stop()
        raise
    finally:
        pool.close()
        pool.join()
        del pool
        gc.collect()  # its semaphores end here, not in a thread while the interpreter ends


def ended(future: Future[Any], job: DictConfig) -> JobReturn:
    """What a job returned; the job of a killed worker, or one that could not begin, leaves a record that says so."""
    try:
        returned: JobReturn = future.result()
        _ = returned.return_value  # raises what the job raised outside its run
    except Exception as error:
        cause = death(error.exitcode) if isinstance(error, ProcessExpired) else f"{type(error).__name__}: {error}"
        lose(job, cause)
        returned = JobReturn(status=JobStatus.COMPLETED)
        returned.return_value = float("nan")
    if (path := folder_of(job) / FILE_NAME).exists():
        sweep.tell(read(path))
    return returned


def lose(job: DictConfig, cause: str) -> None:
    """Leaves the record of a job that could not leave its own."""
    if (folder_of(job) / FILE_NAME).exists():
        return
    overrides = configuration.overrides(job.hydra)
    Result(overrides=overrides, choices=configuration.choices(job.hydra), seed=job.seed, error=cause).write(
        folder_of(job)
    )


def clock(pool: ProcessPool, job: DictConfig) -> None:
    """Has a worker, alone, measure the latencies of a finished job's artifact; where it cannot, the record has none."""
    folder = folder_of(job)
    if not (folder / FILE_NAME).exists() or read(folder / FILE_NAME).status != "ok":
        return
    own = OmegaConf.masked_copy(job, [str(key) for key in job if key != "hydra"])
    try:
        pool.schedule(clock_here, args=(own, folder)).result()
    except Exception as error:  # a killed worker, a baseline that is gone
        log.warning("%s: no latency could be measured (%s: %s)", folder, type(error).__name__, error)


def work(state: bytes, job: DictConfig) -> JobReturn:
    """A job, in a worker; `state` is the launcher's: Hydra's singletons, its context and the task function."""
    task.in_worker = True
    setup_globals()
    singletons, context, function = cloudpickle.loads(state)
    Singleton.set_state(singletons)
    return run_job(
        hydra_context=context,
        task_function=function,
        config=job,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
    )


def clock_here(cfg: DictConfig, folder: Path) -> None:
    from lcomp.run import clock

    setup_globals()
    clock(cfg, folder)


def folder_of(job: DictConfig) -> Path:
    return (Path(job.hydra.sweep.dir) / str(job.hydra.sweep.subdir)).absolute()


def death(exitcode: int) -> str:
    """How a worker ended, and what may have ended it."""
    names = {-number: number.name for number in signal.Signals}
    return f"the worker was killed ({names.get(exitcode, exitcode)}); its memory may not have sufficed"


TARGET = "hydra_plugins.lcomp_local.local.LocalLauncher"
store = ConfigStore.instance().store
store(group="hydra/launcher", name="local", node={"_target_": TARGET, "workers": None}, provider="lcomp")
store(
    group="hydra/launcher",
    name="serial",
    node={"_target_": "hydra._internal.core_plugins.basic_launcher.BasicLauncher"},
    provider="lcomp",
)
