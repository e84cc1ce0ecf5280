"""A worker of a search: asks for a trial, composes its run, carries it out, tells, until the budget is spent."""

from __future__ import annotations

import itertools
import logging
import os
import random
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import filelock
import optuna
from hydra.core.utils import run_job
from hydra.types import HydraContext
from omegaconf import DictConfig, open_dict
from optuna.trial import FrozenTrial, Trial, TrialState

from lcomp.errors import TrialPruned
from lcomp.record.interruption import is_interruption, raise_machine_error
from lcomp.record.plain import PlainValue
from lcomp.record.point_key import canonical_point, hidden_digest
from lcomp.record.redaction import redacted
from lcomp.record.result import FILE_NAME, Result, read_result
from lcomp.search import study as studies
from lcomp.search.heartbeat import heartbeat, regular_heartbeats
from lcomp.search.settings import Settings, without_warnings
from lcomp.search.space import Space, format_value, suggest
from lcomp.sweeps.pauses import Pauses
from lcomp.sweeps.sweep import next_number

log = logging.getLogger("lcomp")
DUPLICATES = 3  # in a row, before a point is drawn at random
COUNTABLE = 5000  # points of a space that are listed to find one that is left
PAUSES = ".pauses"  # in the sweep's folder, what workers lock
PATIENCE = 2.0  # seconds between looks at trials that another machine may lose


@dataclass
class SearchWorker:
    """Hydra's task function of a search's workers; each call of it is one worker.

    Attributes:
        master: the configuration that trials are composed from.
        task_function: of a run, which it tells of each epoch: (configuration, report); where artifacts are timed, it
            is also given what pauses the other workers, `pause_others`.
        custom: the user's function (configuration, trial) that suggests parameters of its own.
        points: by the number of its trial, each point that this worker has begun, secrets included.
        sweep: the identity of the sweep in this folder.
        pauses: while another worker times its artifact; only where the search looks at latencies.
    """

    settings: Settings
    space: Space
    context: HydraContext
    master: DictConfig
    task_function: Callable[..., float]
    custom: Callable[[DictConfig, Trial], None] | None = None
    points: dict[int, list[str]] = field(default_factory=dict)
    sweep: str | None = None
    pauses: Pauses = field(default_factory=Pauses)
    session: str = field(default_factory=lambda: f"{socket.gethostname()}:{os.getpid()}")

    def __call__(self, cfg: DictConfig) -> None:
        from hydra.core.hydra_config import HydraConfig

        number = int(HydraConfig.get().job.num)
        timed = self.settings.times_artifacts
        with studies.as_sweep_error(self.folder), self.pauses.among(self.folder / PAUSES) if timed else nullcontext():
            while (trial := self.next_trial(number)) is not None:
                with regular_heartbeats(trial, self.settings.heartbeat):
                    self.execute(trial)

    @property
    def folder(self) -> Path:
        return Path(self.master.hydra.sweep.dir)

    def on_worker_exit(self, job: DictConfig, cause: str) -> bool:
        """The launcher's question, in its own process, when the worker of a job ended: whether it had begun a trial."""
        study, began = self.settings.open_study(), False
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if trial.user_attrs.get("worker") == f"{self.session}/{job.hydra.job.num}":
                self.fail_trial(study, trial, cause)
                began = True
        return began

    def fail_trial(self, study: optuna.Study, trial: FrozenTrial, cause: str) -> None:
        """Ends a trial whose worker, one of this folder, is gone; its run has a record then."""
        self.record_failure(trial, cause)
        run_folder = self.run_folder(trial)
        result = read_result(run_folder / FILE_NAME) if run_folder else None
        studies.fail_trial(
            self.settings,
            study,
            trial,
            result,
            str(result.error) if result and is_interruption(result.error) else cause,
        )

    def record_failure(self, trial: FrozenTrial, cause: str) -> None:
        """Leaves the record of a trial that could not leave its own."""
        folder, attributes = self.run_folder(trial), trial.user_attrs
        if folder and not (folder / FILE_NAME).exists():
            Result(overrides=list(attributes.get("point", ())), error=cause, hidden=attributes.get("hidden")).write(
                folder
            )

    def run_folder(self, trial: FrozenTrial) -> Path | None:
        """Where the trial's run lies, if it is one of this folder and was begun."""
        number = studies.run_number(trial, self.sweep)
        return None if number is None else self.folder / str(number)

    def make_run_folder(self, trial: Trial) -> None:
        """Makes the folder of the trial's run: the one of its own number, or the next where that was used before."""
        for number in itertools.chain([trial.number], itertools.count(next_number(self.folder))):
            try:
                (self.folder / str(number)).mkdir(parents=True)
            except FileExistsError:
                continue
            trial.set_user_attr(studies.RUN, [self.sweep, number])
            return

    def next_trial(self, number: int) -> Trial | None:
        """The next trial of the worker of that number; None when there is none to come."""
        duplicates = 0
        while True:
            study = self.settings.open_study()
            studies.fail_stale_trials(self.settings, study)
            trials = study.get_trials(deepcopy=False)
            if studies.is_over(self.settings, trials):
                return None
            if len(studies.counted_trials(trials)) >= self.settings.n_trials:
                open_ones = studies.unfinished_trials(trials)
                if not any(trial.state == TrialState.WAITING for trial in open_ones):
                    if all(str(trial.user_attrs.get("worker")).startswith(self.session) for trial in open_ones):
                        return None
                    with self.pauses.pausing(allowed=True):
                        time.sleep(
                            PATIENCE
                        )  # a worker of another process may be lost, and its trial be left to this one
                    continue
            with filelock.FileLock(self.folder / ".ask"):  # one at a time, so that none takes a point just taken
                seed = len(trials) - len(studies.retried_numbers(trials)) + 1000003 * number
                study.sampler = self.settings.make_sampler(seed)
                if duplicates >= DUPLICATES and not self.enqueue_random(study, seed):
                    self.warn_exhausted(study)
                    return None
                trial, why = self.ask_trial(study, number)
            if why is None:
                return trial
            duplicates += why == "duplicate"
            if duplicates > 50 * DUPLICATES:
                self.warn_exhausted(study)
                return None

    def enqueue_random(self, study: optuna.Study, seed: int) -> bool:
        """After too many duplicates: a point at random, of those that are left where they can be counted."""
        points = None if self.custom else self.space.points(COUNTABLE)
        if points is None:
            study.sampler = optuna.samplers.RandomSampler(seed)
            return True
        requested = requested_points(study.get_trials(deepcopy=False))
        left = [parameters for point, parameters in points if canonical_point(point) not in requested]
        if left:
            study.enqueue_trial(random.Random(seed).choice(left))
        return bool(left)

    def warn_exhausted(self, study: optuna.Study) -> None:
        done = len(studies.counted_trials(study.get_trials(deepcopy=False)))
        log.warning("the space has no new point; the search ends with %d trials", done)

    def ask_trial(self, study: optuna.Study, number: int) -> tuple[Trial, str | None]:
        """A trial with its point, and why it was withdrawn at once, if it was."""
        with without_warnings():
            trial = study.ask()
        heartbeat(study, trial._trial_id)
        trial.set_user_attr("worker", f"{self.session}/{number}")
        for name in ("cause", studies.RUN):  # of the try before
            if trial.user_attrs.get(name):
                trial.set_user_attr(name, None)
        point = self.space.point(suggest(trial))
        if self.custom is not None:
            self.custom(self.master, trial)
            point += [
                f"{name}={format_value(value)}" for name, value in trial.params.items() if name not in self.space.keys
            ]
        self.points[trial.number] = point
        for name, value in point_attributes(point).items():
            trial.set_user_attr(name, value)
        why = self.reason_to_discard(study, trial, point)
        if why is not None:
            studies.discard_trial(study, frozen_trial(study, trial), why)
        else:
            self.make_run_folder(trial)
        return trial, why

    def reason_to_discard(self, study: optuna.Study, trial: Trial, point: list[str]) -> str | None:
        """Why the trial is one too many, if it is: its point was asked for before, or the budget is spent."""
        before = [
            earlier
            for earlier in studies.counted_trials(study.get_trials(deepcopy=False))
            if earlier.number < trial.number
        ]
        if canonical_point(point) in requested_points(before):
            return "duplicate"
        return "surplus" if len(before) >= self.settings.n_trials else None

    def execute(self, trial: Trial) -> None:
        """Runs the trial's point and tells the study what it came to."""
        study = trial.study
        point = self.points.pop(trial.number)
        try:
            job = self.context.config_loader.load_sweep_config(self.master, point)
            with open_dict(job):
                job.hydra.job.id = job.hydra.job.num = studies.run_number(frozen_trial(study, trial), self.sweep)
            task = partial(self.task_function, report=self.epoch_reporter(trial))
            if self.settings.times_artifacts:
                task = partial(task, pause_others=self.pauses.alone())
            with self.pauses.pausing(allowed=True):
                returned = run_job(
                    hydra_context=self.context,
                    task_function=task,
                    config=job,
                    job_dir_key="hydra.sweep.dir",
                    job_subdir_key="hydra.sweep.subdir",
                )
            _ = returned.return_value  # raises what the run raised outside its record
        except Exception as error:  # a point that cannot be composed
            raise_machine_error(error)
            self.record_failure(
                frozen_trial(study, trial), f"{type(error).__name__}: {' '.join(str(error).split())[:400]}"
            )
        ended = frozen_trial(study, trial)
        run_folder = self.run_folder(ended)
        assert run_folder is not None  # it was claimed when the trial was asked for
        studies.tell_result(self.settings, study, ended, read_result(run_folder / FILE_NAME))

    def epoch_reporter(self, trial: Trial) -> Callable[[int, float], None] | None:
        """What a run tells of its epochs."""
        if not self.settings.reports_epochs:
            return None

        def report(epoch: int, accuracy: float) -> None:
            with self.pauses.pausing(allowed=False):
                with studies.ignoring_ended_trials():
                    trial.report(accuracy, epoch)
                given_up = trial.should_prune()
            if given_up:
                raise TrialPruned(f"after epoch {epoch}, at a validation accuracy of {accuracy:.2%}")

        return report


def requested_points(trials: Sequence[FrozenTrial]) -> set[tuple[str, ...]]:
    """The points that trials have or had, those aside that were withdrawn as one too many."""
    counted = studies.counted_trials(trials)
    attributes = [trial.user_attrs for trial in counted if "point" in trial.user_attrs]
    return {canonical_point(user_attrs["point"], user_attrs.get("hidden")) for user_attrs in attributes}


def point_attributes(point: Sequence[str], digest: str | None = None) -> dict[str, PlainValue]:
    """What a study is told of a point: no secrets, for it may be anybody's.

    Args:
        digest: of the secrets of a point that was written without them.
    """
    digest = hidden_digest(point) or digest
    return {"point": [*redacted(list(point))], **({"hidden": digest} if digest else {})}


def frozen_trial(study: optuna.Study, trial: Trial) -> FrozenTrial:
    """The trial as the storage has it."""
    return study._storage.get_trial(trial._trial_id)
