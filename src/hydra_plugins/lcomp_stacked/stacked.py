"""Hydra's launcher for points that differ only in numbers: one program trains them at once."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import cloudpickle
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, configure_log, setup_globals
from omegaconf import open_dict, read_write

from hydra_plugins.lcomp_local.local import Job, LocalLauncher, compose_job
from lcomp.config import run_config
from lcomp.errors import UserError
from lcomp.record.interruption import machine_interruption
from lcomp.stacking.groups import Report, stacks_of
from lcomp.sweeps.worker_pool import WorkerPool, open_pool

log = logging.getLogger("lcomp")
SLOWER = "launcher=stacked: on a processor networks that learn at once take longer than one after another in workers"


class StackedLauncher(LocalLauncher):
    """Trains points that differ in nothing but numbers at once; then runs each in workers, as `LocalLauncher` does,
    where it finds its training done. Points that cannot learn at once with others run alone, and a line says why.

    Args:
        workers: processes; null is every core that this process may use, divided by the runs' threads.
        points: how many networks learn at once at the most, 2 or more.
    """

    def __init__(self, workers: int | None = None, points: int = 64):
        super().__init__(workers)
        if not isinstance(points, int) or points < 2:
            raise UserError(f"launcher.points={points}: a whole number of networks that learn at once, 2 or more")
        self.points = points
        self.stacked: set[int] = set()  # numbers of jobs whose training has ended
        self.of_stacked = b""  # the state of their runs

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        if hasattr(self.function, "on_worker_exit"):
            raise UserError("launcher=stacked: a search chooses its points one by one; leave it out, or sweep a grid")
        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        jobs = [(list(overrides), initial_job_idx + number) for number, overrides in enumerate(job_overrides)]
        stacks = [[jobs[number] for number in stack] for stack in stacks_of([point for point, _ in jobs], self.points)]
        self.tell_alone(len(jobs) - sum(map(len, stacks)), "no other point differs from it in numbers alone")
        if stacks:
            self.train(stacks)
        returns = super().launch(job_overrides, initial_job_idx)
        for left in Path(self.config.hydra.sweep.dir).glob(".stacked-*"):
            with suppress(OSError):  # what a run that failed goes on from
                left.rmdir()
        return returns

    def train(self, stacks: Sequence[Sequence[Job]]) -> None:
        """Trains each stack in a worker of its own."""
        if self.config.device == "cpu":
            log.warning(SLOWER)
        stacked = partial(self.function, stacked=True)  # type: ignore[call-arg]
        state, self.of_stacked = self.state(self.function), self.state(stacked)
        workers: WorkerPool[Report] = open_pool(min(len(stacks), self.processes))
        with workers as pool:
            for number, stack in enumerate(stacks):
                pool.schedule(number, train_in_worker, state, stack)
            for number, outcome in pool.outcomes():
                if isinstance(outcome, BaseException):
                    if (stop := machine_interruption(outcome)) is not None:
                        raise stop
                    self.tell_alone(len(stacks[number]), " ".join(str(outcome).split())[:300])
                    continue
                self.stacked |= set(outcome.trained)
                if outcome.size:
                    log.warning("%d points learned at once in %.0f s", outcome.size, outcome.seconds)
                for reason in dict.fromkeys(outcome.refused.values()):
                    self.tell_alone([*outcome.refused.values()].count(reason), reason)

    @staticmethod
    def tell_alone(count: int, reason: str) -> None:
        """Says of how many points why they run alone."""
        if count:
            log.warning("launcher=stacked: %d of the points run%s alone: %s", count, "s" * (count == 1), reason)

    def state_for(self, job: Job, state: bytes) -> bytes:
        return self.of_stacked if job[1] in self.stacked else state


def train_in_worker(state: bytes, jobs: Sequence[Job]) -> Report:
    """Trains these jobs' networks at once, in a worker; `state` as in `run_in_worker`."""
    from lcomp.stacking import training  # torch takes seconds, and Hydra imports every plugin
    from lcomp.training import devices

    setup_globals()
    singletons, context, _, config = cloudpickle.loads(state)
    Singleton.set_state(singletons)
    sweep = Path(config.hydra.sweep.dir).absolute()
    if config.device == "gpu":
        devices.take(sweep)
    asked = []
    for job in jobs:
        cfg = compose_job(context, config, job)
        HydraConfig.instance().set_config(cfg)
        overrides = run_config.overrides(cfg.hydra)
        with read_write(cfg), open_dict(cfg):
            del cfg["hydra"]
        cfg.progress = False
        asked.append(training.Job(job[1], cfg, overrides))
    return training.train_stack(asked, sweep, sweep.parent if config.reuse is True else None)


TARGET = "hydra_plugins.lcomp_stacked.stacked.StackedLauncher"
ConfigStore.instance().store(
    group="hydra/launcher",
    name="stacked",
    node={"_target_": TARGET, "workers": None, "points": 64},
    provider="lcomp",
)
