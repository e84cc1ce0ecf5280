"""The study of a search: which trials count, what each came to, which are the best."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import hydra.utils
import optuna
import sqlalchemy.exc
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from lcomp.errors import UserError, nearest, one_of
from lcomp.result import FILE_NAME, Result, read

log = logging.getLogger("lcomp")
WITHDRAWN = "withdrawn"  # why a trial does not count: a duplicate, one too many, one that was tried again
METRICS = (
    "val_accuracy",
    "gzip_bytes",
    "file_bytes",
    "memory_bytes",
    "macs",
    "parameters",
    "nonzero_parameters",
    "sparsity",
)
MORE_IS_BETTER = ("val_accuracy", "sparsity")
Retry = optuna.storages.RetryHeartbeatStaleTrialCallback


@contextmanager
def quietly() -> Iterator[None]:
    """Without Optuna's warnings that heartbeats, retries and constraints may change, or are meant for `optimize`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        warnings.filterwarnings("ignore", "Heartbeat of storage is supposed")
        yield


@contextmanager
def reachable(storage: str) -> Iterator[None]:
    """A storage that cannot be opened as one line, not as its driver's traceback."""
    try:
        yield
    except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError, ImportError, OSError) as error:
        cause = " ".join(str(error.__cause__ or error).split())[:300]
        raise UserError(f"hydra.sweeper.storage={storage}: cannot be opened ({cause})") from error


@dataclass
class Settings:
    """What every worker of a search knows.

    Attributes:
        storage: URL of an Optuna storage that all workers can reach.
        objective, direction: metrics of the record's `metrics`, and whether each is to `maximize` or to `minimize`.
        constraint: least values (`val_accuracy`) or greatest (every other metric) that an artifact must keep.
        n_trials: trials in all, resumed ones included; those that were withdrawn do not count.
        max_failure_rate: share of `n_trials` that may fail before the search ends.
        max_retries: how often a trial that was interrupted is tried again.
        heartbeat: seconds between a trial's signs of life; one without for three times as long is taken over.
        sampler, pruner: Optuna's, as `_target_` and its arguments.
    """

    storage: str
    study_name: str
    objective: list[str]
    direction: list[str]
    n_trials: int
    max_failure_rate: float
    max_retries: int
    sampler: dict[str, Any]
    pruner: dict[str, Any] | None
    constraint: dict[str, float] = field(default_factory=dict)
    heartbeat: int = 20

    def __post_init__(self) -> None:
        for metric in [*self.objective, *self.constraint]:
            if metric.startswith(("test", "accuracy/", "latency")):
                why = "measured when the search has ended" if metric.startswith("latency") else "read once, at the end"
                raise UserError(f"hydra.sweeper.objective={metric}: {why}; a search chooses on {', '.join(METRICS)}")
            one_of("hydra.sweeper.objective", metric, METRICS)
        for direction in self.direction:
            one_of("hydra.sweeper.direction", direction, ("maximize", "minimize"))
        if len(self.objective) != len(self.direction) or not self.objective:
            raise UserError(
                f"hydra.sweeper.direction={self.direction}: one for each objective ({', '.join(self.objective)})"
            )
        for name in ("n_trials", "max_retries", "heartbeat"):
            if not isinstance(getattr(self, name), int):
                raise UserError(f"hydra.sweeper.{name}={getattr(self, name)}: a whole number")
        if not isinstance(self.max_failure_rate, int | float):
            raise UserError(f"hydra.sweeper.max_failure_rate={self.max_failure_rate}: a share, 0 to 1")
        for name, value, allowed in (
            ("n_trials", self.n_trials, self.n_trials >= 1),
            ("heartbeat", self.heartbeat, self.heartbeat >= 1),
            ("max_retries", self.max_retries, self.max_retries >= 0),
            ("max_failure_rate", self.max_failure_rate, 0 <= self.max_failure_rate <= 1),
        ):
            if not allowed:
                words = "a share, 0 to 1" if name == "max_failure_rate" else "a whole number, 1 or more (retries: 0)"
                raise UserError(f"hydra.sweeper.{name}={value}: {words}")

    def open(self, seed: int = 0) -> optuna.Study:
        """The study, made by whoever comes first.

        Args:
            seed: added to the sampler's; so a search with one worker repeats itself, and two workers do not repeat one
                another.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with quietly(), reachable(self.storage):
            return optuna.create_study(
                storage=open_storage(self.storage, self.heartbeat, self.max_retries),
                study_name=self.study_name,
                directions=[StudyDirection[one.upper()] for one in self.direction],
                sampler=self.make_sampler(seed),
                pruner=self.make_pruner(),
                load_if_exists=True,
            )

    def make_sampler(self, seed: int) -> optuna.samplers.BaseSampler:
        settings = {k: v for k, v in self.sampler.items() if v is not None}
        target = hydra.utils.get_object(settings["_target_"])
        if settings.get("seed") is not None and target is not optuna.samplers.QMCSampler:  # one sequence for all
            settings["seed"] += seed
        if self.constraint and target is optuna.samplers.CmaEsSampler:
            raise UserError("hydra/sweeper/sampler=cmaes: takes no constraint; tpe, nsgaii and gp do")
        made = make("hydra.sweeper.sampler", settings)
        assert isinstance(made, optuna.samplers.BaseSampler)
        return made

    def make_pruner(self) -> optuna.pruners.BasePruner:
        if self.pruner is None:
            return optuna.pruners.NopPruner()
        made = make("hydra.sweeper.pruner", self.pruner)
        assert isinstance(made, optuna.pruners.BasePruner)
        return made

    @property
    def reports(self) -> bool:
        """Whether trials report each epoch: only where the objective is what an epoch gives."""
        return self.objective == ["val_accuracy"] and self.pruner is not None

    def values(self, result: Result) -> list[float]:
        return [result.metrics[metric] for metric in self.objective]

    def violations(self, result: Result) -> dict[str, float]:
        """By how much an artifact misses each constraint; 0 or less where it keeps it."""
        return {
            metric: (limit - result.metrics[metric]) * (1 if metric in MORE_IS_BETTER else -1)
            for metric, limit in self.constraint.items()
        }


def make(key: str, settings: Mapping[str, Any]) -> Any:
    """The object that `_target_` names, with the other settings as its arguments, those that are null left out."""
    arguments = {k: v for k, v in settings.items() if k != "_target_" and v is not None}
    try:
        with quietly():
            return hydra.utils.get_object(settings["_target_"])(**arguments)
    except (TypeError, ValueError) as error:
        raise UserError(f"{key}: {settings['_target_']} takes no such settings ({error})") from error


def named(key: str, given: Any, module: Any, suffix: str) -> dict[str, Any]:
    """A sampler or pruner by its name (`tpe`, `TPESampler`) or its settings as settings.

    Raises:
        UserError: Optuna has none of that name.
    """
    if not isinstance(given, str):
        return dict(given)
    known = {
        name.removesuffix(suffix).lower(): name for name in dir(module) if name.endswith(suffix) and name[0] != "_"
    }
    short = given.removesuffix(suffix).lower().replace("_", "")
    if short not in known:
        raise UserError(f"{key}={given}: Optuna has {', '.join(sorted(known))}{nearest(short, list(known))}")
    return {"_target_": f"{module.__name__}.{known[short]}"}


@cache
def open_storage(url: str, heartbeat: int, max_retries: int) -> optuna.storages.BaseStorage:
    """The storage behind a URL; `journal:FILE` is a file that also NFS can carry."""
    if url.startswith("journal:"):
        from optuna.storages.journal import JournalFileBackend

        return optuna.storages.JournalStorage(JournalFileBackend(url.removeprefix("journal:")))
    return optuna.storages.RDBStorage(
        url,
        engine_kwargs={"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {"pool_pre_ping": True},
        heartbeat_interval=heartbeat,
        grace_period=3 * heartbeat,
        heartbeat_stale_trial_callback=Retry(max_retries),
    )


def retried(trials: Sequence[FrozenTrial]) -> int:
    """How many trials were interrupted and stand there a second time."""
    return len({number for trial in trials for number in trial.system_attrs.get("retry_history", ())})


def counted(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The trials that count for the budget, in the order of their numbers."""
    retried = {number for trial in trials for number in trial.system_attrs.get("retry_history", ())}
    return [trial for trial in trials if WITHDRAWN not in trial.user_attrs and trial.number not in retried]


def failed(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    return [trial for trial in counted(trials) if trial.state == TrialState.FAIL]


def unfinished(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    return [trial for trial in counted(trials) if not trial.state.is_finished()]


def is_over(settings: Settings, trials: Sequence[FrozenTrial]) -> bool:
    """Whether too many trials failed for the search to go on."""
    return len(failed(trials)) > settings.max_failure_rate * settings.n_trials


@contextmanager
def unless_ended() -> Iterator[None]:
    """What is told of a trial that another process has ended meanwhile, taking it for lost, is not heard."""
    try:
        yield
    except optuna.exceptions.UpdateFinishedTrialError:
        log.warning("a trial of this process was taken for lost and given to another; its result is not used")


def conclude(settings: Settings, study: optuna.Study, trial: FrozenTrial, result: Result) -> None:
    """Tells the study what a run came to."""
    with unless_ended():
        note_and_tell(settings, study, trial, result)


def note_and_tell(settings: Settings, study: optuna.Study, trial: FrozenTrial, result: Result) -> None:
    note = study._storage.set_trial_user_attr  # a trial that another process began has no other handle
    if result.status == "ok":
        note(trial._trial_id, "test_accuracy", result.metrics["test_accuracy"])
        for metric, violation in settings.violations(result).items():  # as Trial.set_constraint does
            study._storage.set_trial_system_attr(trial._trial_id, f"constraints:{metric}", violation)
        tell(study, trial, settings.values(result))
    elif result.status == "pruned":
        tell(study, trial, None, TrialState.PRUNED)
    else:
        note(trial._trial_id, "cause", result.error)
        tell(study, trial, None, TrialState.FAIL)


def tell(
    study: optuna.Study, trial: FrozenTrial, values: list[float] | None, state: TrialState = TrialState.COMPLETE
) -> None:
    """`Study.tell`, but for a trial that another process has ended meanwhile, and a sampler that wants to stop."""
    try:
        study.tell(trial.number, values, state, skip_if_finished=True)
    except RuntimeError as error:
        if "Study.stop" not in str(error):  # grid and brute force know no ask-and-tell when they have seen everything
            raise


def withdraw(study: optuna.Study, trial: FrozenTrial, why: str) -> None:
    """Ends a trial that does not count."""
    with unless_ended():
        study._storage.set_trial_user_attr(trial._trial_id, WITHDRAWN, why)
        tell(study, trial, None, TrialState.FAIL)


def settle(settings: Settings, study: optuna.Study, trial: FrozenTrial, folder: Path, cause: str) -> None:
    """Ends a trial whose worker is gone: as its record says where the run had ended, else as failed, to be tried again.

    Args:
        folder: the sweep's.
    """
    record = folder / str(trial.number) / FILE_NAME
    result = read(record) if record.exists() else None
    if result and (result.status in ("ok", "pruned", "nan")):
        conclude(settings, study, trial, result)
        return
    with unless_ended(), quietly():
        study._storage.set_trial_user_attr(trial._trial_id, "cause", cause)
        tell(study, trial, None, TrialState.FAIL)
        trials = study.get_trials(deepcopy=False)
        before = set(trial.system_attrs.get("retry_history", ()))
        by_user = sum(t.number in before and t.user_attrs.get("cause") == "KeyboardInterrupt" for t in trials)
        ended = next(one for one in trials if one.number == trial.number)
        Retry(None if cause == "KeyboardInterrupt" else settings.max_retries + by_user)(study, ended)


def take_over(settings: Settings, study: optuna.Study) -> None:
    """Fails the trials of workers on other machines that are gone, and has them tried again."""
    with quietly():
        optuna.storages.fail_stale_trials(study)
    limit = datetime.now() - timedelta(seconds=3 * settings.heartbeat)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if "worker" not in trial.user_attrs and trial.datetime_start and trial.datetime_start < limit:
            settle(settings, study, trial, Path("/nonexistent"), "the worker was lost before it began")


def front(study: optuna.Study) -> list[FrozenTrial]:
    """The best trials: those that keep the constraint and that no other beats in every objective; best first in the
    first objective."""
    done = [
        trial
        for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if all(violation <= 0 for violation in trial.constraints.values())
    ]
    signs = [-1 if one == StudyDirection.MAXIMIZE else 1 for one in study.directions]
    costs = {trial.number: [s * v for s, v in zip(signs, trial.values, strict=True)] for trial in done}

    def beaten(trial: FrozenTrial) -> bool:
        own = costs[trial.number]
        return any(
            all(a <= b for a, b in zip(other, own, strict=True)) and (other != own or number < trial.number)
            for number, other in costs.items()
            if number != trial.number
        )

    return sorted((trial for trial in done if not beaten(trial)), key=lambda trial: costs[trial.number])
