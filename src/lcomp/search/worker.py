"""A worker of a search: asks for a trial, composes its run, carries it out, tells, until the budget is spent."""

from __future__ import annotations

import itertools
import logging
import os
import random
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import filelock
import optuna
from hydra.core.utils import run_job
from hydra.types import HydraContext
from omegaconf import DictConfig, open_dict
from optuna.trial import FrozenTrial, Trial, TrialState

from lcomp import job as task
from lcomp.errors import Pruned
from lcomp.interruption import excused, of_machine
from lcomp.points import hidden, key
from lcomp.redact import redacted
from lcomp.result import FILE_NAME, Result, read
from lcomp.search import study as studies
from lcomp.search.heartbeat import beat, beating
from lcomp.search.settings import Settings, quietly
from lcomp.search.space import Space, suggest, text
from lcomp.sweep import next_number

log = logging.getLogger("lcomp")
DUPLICATES = 3  # in a row, before a point is drawn at random
COUNTABLE = 5000  # points of a space that are listed to find one that is left
PATIENCE = 2.0  # seconds between looks at trials that another machine may lose


@dataclass
class Worker:
    """Hydra's task function of a search's workers; each call of it is one worker.

    Attributes:
        master: the configuration that trials are composed from.
        custom: the user's function (configuration, trial) that suggests parameters of its own.
        points: by the number of its trial, each point that this worker has begun, secrets included.
        sweep: the identity of the sweep in this folder.
    """

    settings: Settings
    space: Space
    context: HydraContext
    master: DictConfig
    custom: Callable[[DictConfig, Trial], None] | None = None
    points: dict[int, list[str]] = field(default_factory=dict)
    sweep: str | None = None
    session: str = field(default_factory=lambda: f"{socket.gethostname()}:{os.getpid()}")

    def __call__(self, cfg: DictConfig) -> None:
        from hydra.core.hydra_config import HydraConfig

        number = int(HydraConfig.get().job.num)
        with studies.storing(self.folder):
            while (trial := self.next(number)) is not None:
                with beating(trial, self.settings.heartbeat):
                    self.carry_out(trial)

    @property
    def folder(self) -> Path:
        return Path(self.master.hydra.sweep.dir)

    def lost(self, job: DictConfig, cause: str) -> bool:
        """The launcher's question, in its own process, when the worker of a job ended: whether it had begun a trial."""
        study, began = self.settings.open(), False
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if trial.user_attrs.get("worker") == f"{self.session}/{job.hydra.job.num}":
                self.settle(study, trial, cause)
                began = True
        return began

    def settle(self, study: optuna.Study, trial: FrozenTrial, cause: str) -> None:
        """Ends a trial whose worker, one of this folder, is gone; its run has a record then."""
        self.record(trial, cause)
        place = self.place(trial)
        found = read(place / FILE_NAME) if place else None
        studies.settle(
            self.settings, study, trial, found, str(found.error) if found and excused(found.error) else cause
        )

    def record(self, trial: FrozenTrial, cause: str) -> None:
        """Leaves the record of a trial that could not leave its own."""
        folder, noted = self.place(trial), trial.user_attrs
        if folder and not (folder / FILE_NAME).exists():
            Result(overrides=list(noted.get("point", ())), error=cause, hidden=noted.get("hidden")).write(folder)

    def place(self, trial: FrozenTrial) -> Path | None:
        """Where the trial's run lies, if it is one of this folder and was begun."""
        number = studies.run_of(trial, self.sweep)
        return None if number is None else self.folder / str(number)

    def claim(self, trial: Trial) -> None:
        """Makes the folder of the trial's run: the one of its own number, or the next where that was used before."""
        for number in itertools.chain([trial.number], itertools.count(next_number(self.folder))):
            try:
                (self.folder / str(number)).mkdir(parents=True)
            except FileExistsError:
                continue
            trial.set_user_attr(studies.RUN, [self.sweep, number])
            return

    def next(self, number: int) -> Trial | None:
        """The next trial of the worker of that number; None when there is none to come."""
        duplicates = 0
        while True:
            study = self.settings.open()
            studies.take_over(self.settings, study)
            trials = study.get_trials(deepcopy=False)
            if studies.is_over(self.settings, trials):
                return None
            if len(studies.counted(trials)) >= self.settings.n_trials:
                open_ones = studies.unfinished(trials)
                if not any(trial.state == TrialState.WAITING for trial in open_ones):
                    if all(str(trial.user_attrs.get("worker")).startswith(self.session) for trial in open_ones):
                        return None
                    time.sleep(PATIENCE)  # a worker of another process may be lost, and its trial be left to this one
                    continue
            with filelock.FileLock(self.folder / ".ask"):  # one at a time, so that none takes a point just taken
                seed = len(trials) - len(studies.retried(trials)) + 1000003 * number
                study.sampler = self.settings.make_sampler(seed)
                if duplicates >= DUPLICATES and not self.queue_new(study, seed):
                    self.warn_exhausted(study)
                    return None
                trial, why = self.ask(study, number)
            if why is None:
                return trial
            duplicates += why == "duplicate"
            if duplicates > 50 * DUPLICATES:
                self.warn_exhausted(study)
                return None

    def queue_new(self, study: optuna.Study, seed: int) -> bool:
        """After too many duplicates: a point at random, of those that are left where they can be counted."""
        points = None if self.custom else self.space.points(COUNTABLE)
        if points is None:
            study.sampler = optuna.samplers.RandomSampler(seed)
            return True
        asked = asked_for(study.get_trials(deepcopy=False))
        left = [parameters for point, parameters in points if key(point) not in asked]
        if left:
            study.enqueue_trial(random.Random(seed).choice(left))
        return bool(left)

    def warn_exhausted(self, study: optuna.Study) -> None:
        done = len(studies.counted(study.get_trials(deepcopy=False)))
        log.warning("the space has no new point; the search ends with %d trials", done)

    def ask(self, study: optuna.Study, number: int) -> tuple[Trial, str | None]:
        """A trial with its point, and why it was withdrawn at once, if it was."""
        with quietly():
            trial = study.ask()
        beat(study, trial._trial_id)
        trial.set_user_attr("worker", f"{self.session}/{number}")
        for name in ("cause", studies.RUN):  # of the try before
            if trial.user_attrs.get(name):
                trial.set_user_attr(name, None)
        point = self.space.point(suggest(trial))
        if self.custom is not None:
            self.custom(self.master, trial)
            point += [f"{name}={text(value)}" for name, value in trial.params.items() if name not in self.space.keys]
        self.points[trial.number] = point
        for name, value in noted(point).items():
            trial.set_user_attr(name, value)
        why = self.surplus(study, trial, point)
        if why is not None:
            studies.withdraw(study, frozen(study, trial), why)
        else:
            self.claim(trial)
        return trial, why

    def surplus(self, study: optuna.Study, trial: Trial, point: list[str]) -> str | None:
        """Why the trial is one too many, if it is: its point was asked for before, or the budget is spent."""
        before = [one for one in studies.counted(study.get_trials(deepcopy=False)) if one.number < trial.number]
        if key(point) in asked_for(before):
            return "duplicate"
        return "surplus" if len(before) >= self.settings.n_trials else None

    def carry_out(self, trial: Trial) -> None:
        """Runs the trial's point and tells the study what it came to."""
        study = trial.study
        point = self.points.pop(trial.number)
        try:
            job = self.context.config_loader.load_sweep_config(self.master, point)
            with open_dict(job):
                job.hydra.job.id = job.hydra.job.num = studies.run_of(frozen(study, trial), self.sweep)
            task.report = self.reporting(trial)
            returned = run_job(
                hydra_context=self.context,
                task_function=task.job,
                config=job,
                job_dir_key="hydra.sweep.dir",
                job_subdir_key="hydra.sweep.subdir",
            )
            _ = returned.return_value  # raises what the run raised outside its record
        except Exception as error:  # a point that cannot be composed
            if machines := of_machine(error):
                raise machines from error
            self.record(frozen(study, trial), f"{type(error).__name__}: {' '.join(str(error).split())[:400]}")
        finally:
            task.report = None
        ended = frozen(study, trial)
        place = self.place(ended)
        assert place is not None  # it was claimed when the trial was asked for
        studies.conclude(self.settings, study, ended, read(place / FILE_NAME))

    def reporting(self, trial: Trial) -> Callable[[int, float], None] | None:
        """What a run tells of its epochs."""
        if not self.settings.reports:
            return None

        def report(epoch: int, accuracy: float) -> None:
            with studies.unless_ended():
                trial.report(accuracy, epoch)
            if trial.should_prune():
                raise Pruned(f"after epoch {epoch}, at a validation accuracy of {accuracy:.2%}")

        return report


def asked_for(trials: Sequence[FrozenTrial]) -> set[tuple[str, ...]]:
    """The points that trials have or had, those aside that were withdrawn as one too many."""
    counted = studies.counted(trials)
    attributes = [trial.user_attrs for trial in counted if "point" in trial.user_attrs]
    return {key(noted["point"], noted.get("hidden")) for noted in attributes}


def noted(point: Sequence[str], digest: str | None = None) -> dict[str, Any]:
    """What a study is told of a point: no secrets, for it may be anybody's.

    Args:
        digest: of the secrets of a point that was written without them.
    """
    digest = hidden(point) or digest
    return {"point": redacted(list(point))} | ({"hidden": digest} if digest else {})


def frozen(study: optuna.Study, trial: Trial) -> FrozenTrial:
    """The trial as the storage has it."""
    return study._storage.get_trial(trial._trial_id)
