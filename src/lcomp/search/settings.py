"""What a search is asked to do, and the sampler, pruner and storage that this takes."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from types import ModuleType
from typing import TypeVar

import optuna
import sqlalchemy.exc
from optuna.study import StudyDirection
from optuna.trial import Trial

from lcomp.config.instantiation import find
from lcomp.errors import UserError, check_installed, suggestion, validate_choice
from lcomp.record.metric import ACCURACY, Metric
from lcomp.record.plain import PlainValue
from lcomp.record.redaction import redacted
from lcomp.record.result import LATENCIES, METRICS, Result

Made = TypeVar("Made", optuna.samplers.BaseSampler, optuna.pruners.BasePruner)
Retry = optuna.storages.RetryHeartbeatStaleTrialCallback


@contextmanager
def without_warnings() -> Iterator[None]:
    """Without Optuna's warnings that heartbeats, retries and constraints may change, or are meant for `optimize`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        warnings.filterwarnings("ignore", "Heartbeat of storage is supposed")
        yield


@contextmanager
def storage_errors(storage: str) -> Iterator[None]:
    """A storage that cannot be opened as one line, not as its driver's traceback."""
    try:
        yield
    except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError, ImportError, OSError) as error:
        cause = " ".join(str(error.__cause__ or error).split())[:300]
        raise UserError(f"hydra.sweeper.storage={redacted(storage)}: cannot be opened ({cause})") from error


@dataclass
class Settings:
    """What every worker of a search knows.

    Attributes:
        storage: URL of an Optuna storage that all workers can reach.
        objective, direction: metrics of the record's `metrics`, and whether each is to `maximize` or to `minimize`.
        constraint: least values (of the task's metric, where more is better, and of sparsity) or greatest (of others)
            that an artifact must keep.
        n_trials: trials in all, resumed ones included; those that were withdrawn do not count.
        max_failure_rate: share of `n_trials` that may fail before the search ends.
        max_retries: how often a trial that was interrupted is tried again.
        heartbeat: seconds between a trial's signs of life; one without for three times as long is taken over.
        sampler, pruner: Optuna's, as `_target_` and its arguments.
        n_jobs: workers; None is as many as the launcher has.
        metric: of the task.
    """

    storage: str
    study_name: str
    objective: list[str]
    direction: list[str]
    n_trials: int
    max_failure_rate: float
    max_retries: int
    sampler: dict[str, PlainValue]
    pruner: dict[str, PlainValue] | None
    constraint: dict[str, float] = field(default_factory=dict)
    heartbeat: int = 20
    n_jobs: int | None = None
    metric: Metric = ACCURACY

    def __post_init__(self) -> None:
        for key, metrics in (("objective", self.objective), ("constraint", self.constraint)):
            for metric in metrics:
                check_metric(f"hydra.sweeper.{key}", metric, self.metric)
        for direction in self.direction:
            validate_choice("hydra.sweeper.direction", direction, ("maximize", "minimize"))
        if len(self.objective) != len(self.direction) or not self.objective:
            raise UserError(
                f"hydra.sweeper.direction={self.direction}: one for each objective ({', '.join(self.objective)})"
            )
        key = "hydra.sweeper"
        check_whole(f"{key}.n_trials", self.n_trials, 1, "a whole number, 1 or more")
        check_whole(f"{key}.heartbeat", self.heartbeat, 1, "a whole number of seconds, 1 or more")
        check_whole(f"{key}.max_retries", self.max_retries, 0, "a whole number, 0 or more")
        check_number(f"{key}.max_failure_rate", self.max_failure_rate, lambda rate: 0 <= rate <= 1, "a share, 0 to 1")
        if self.n_jobs is not None:
            check_whole(f"{key}.n_jobs", self.n_jobs, 1, "a whole number of workers, 1 or more, or null")
        for metric, limit in self.constraint.items():
            check_number(f"{key}.constraint.{metric}", limit, math.isfinite, "a number")

    def open_study(self, seed: int = 0) -> optuna.Study:
        """The study, made by whoever comes first.

        Args:
            seed: added to the sampler's; so a search with one worker repeats itself, and two workers do not repeat one
                another.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with without_warnings(), storage_errors(self.storage):
            return optuna.create_study(
                storage=open_storage(self.storage, self.heartbeat, self.max_retries),
                study_name=self.study_name,
                directions=[StudyDirection[direction.upper()] for direction in self.direction],
                sampler=self.make_sampler(seed),
                pruner=self.make_pruner(),
                load_if_exists=True,
            )

    def make_sampler(self, seed: int) -> optuna.samplers.BaseSampler:
        settings = {k: v for k, v in self.sampler.items() if v is not None}
        target = import_class("hydra.sweeper.sampler", settings, optuna.samplers.BaseSampler)  # type: ignore[type-abstract]
        if settings.get("seed") is not None and target is not optuna.samplers.QMCSampler:  # one sequence for all
            own = check_whole("hydra.sweeper.sampler.seed", settings["seed"], 0, "a whole number, 0 or more")
            settings["seed"] = own + seed
        if issubclass(target, optuna.samplers.CmaEsSampler):
            check_installed("samplers", "hydra/sweeper/sampler=cmaes", "cmaes")
        if self.constraint and target is optuna.samplers.CmaEsSampler:
            raise UserError("hydra/sweeper/sampler=cmaes: takes no constraint; tpe, nsgaii and gp do")
        return instantiate("hydra.sweeper.sampler", settings, optuna.samplers.BaseSampler)  # type: ignore[type-abstract]

    def make_pruner(self) -> optuna.pruners.BasePruner:
        if self.pruner is None:
            return optuna.pruners.NopPruner()
        return instantiate("hydra.sweeper.pruner", self.pruner, optuna.pruners.BasePruner)  # type: ignore[type-abstract]

    def try_out(self, suggested: Callable[[Trial], list[str]]) -> None:
        """Asks for two trials of a study in memory, as a worker will.

        Args:
            suggested: asks a trial for the parameters of a point.

        Raises:
            UserError: the sampler has no answer for this space, or for these objectives.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        directions = [StudyDirection[direction.upper()] for direction in self.direction]
        study = optuna.create_study(directions=directions, sampler=self.make_sampler(0), pruner=self.make_pruner())
        with without_warnings():
            for _ in range(2):
                try:
                    trial = study.ask()
                    suggested(trial)
                    study.tell(trial, [0.5] * len(directions))
                except (ValueError, TypeError, RuntimeError, NotImplementedError, ImportError) as error:
                    if "Study.stop" in str(error):  # a small space, seen as a whole
                        return
                    name = str(self.sampler["_target_"]).rpartition(".")[2]
                    cause = " ".join(str(error).split())[:200]
                    raise UserError(f"hydra.sweeper.sampler: {name} cannot search this ({cause})") from error

    @property
    def asked(self) -> dict[str, PlainValue]:
        """What a search optimizes; the same whenever it goes on."""
        return {
            "objective": [*self.objective],
            "direction": [*self.direction],
            "constraint": {**self.constraint},
        }

    @property
    def reports_epochs(self) -> bool:
        """Whether trials report each epoch: only where the objective is what an epoch gives."""
        return self.objective == [self.metric.validation] and self.pruner is not None

    @property
    def times_artifacts(self) -> bool:
        """Whether it looks at latencies: each trial is timed as it ends then, not all of them at the search's end."""
        return any(metric in LATENCIES for metric in (*self.objective, *self.constraint))

    def values(self, result: Result) -> list[float]:
        return [result.metrics[metric] for metric in self.objective]

    def is_least(self, metric: str) -> bool:
        """Whether a constraint on the metric is the least value that it may have."""
        return metric == "sparsity" or (metric == self.metric.validation and self.metric.higher_is_better)

    def violations(self, result: Result) -> dict[str, float]:
        """By how much an artifact misses each constraint; 0 or less where it keeps it."""
        return {
            metric: (limit - result.metrics[metric]) * (1 if self.is_least(metric) else -1)
            for metric, limit in self.constraint.items()
        }


def check_number(key: str, value: PlainValue, allowed: Callable[[float], bool], words: str) -> None:
    """Raises UserError unless a setting is a number, and allowed."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not allowed(value):
        raise UserError(f"{key}={value}: {words}")


def check_whole(key: str, value: PlainValue, least: int, words: str) -> int:
    """The setting; raises UserError unless it is a whole number that is large enough."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise UserError(f"{key}={value}: {words}")
    return value


def check_metric(key: str, metric: str, chosen_by: Metric = ACCURACY) -> None:
    """Raises UserError unless a search may look at the metric: none of the test split, none that is not there yet."""
    metric = str(metric)
    allowed = (chosen_by.validation, *(name for name in METRICS if name != ACCURACY.validation))
    if metric not in allowed and metric.startswith(("test", f"{chosen_by.name}/")):
        raise UserError(f"{key}={metric}: read once, at the end; a search chooses on {', '.join(allowed)}")
    validate_choice(key, metric, allowed)


def import_class(key: str, settings: Mapping[str, PlainValue], kind: type[Made]) -> type[Made]:
    """The class that `_target_` names.

    Raises:
        UserError: it names none of that kind; it is not called to find out.
    """
    target = str(settings.get("_target_"))
    target_class = find(target, f"{key}._target_")
    if not (isinstance(target_class, type) and issubclass(target_class, kind)):
        raise UserError(f"{key}._target_={target}: must be a class of the kind {kind.__module__}.{kind.__name__}")
    return target_class


def instantiate(key: str, settings: Mapping[str, PlainValue], kind: type[Made]) -> Made:
    """The object that `_target_` names, with the other settings as its arguments, those that are null left out."""
    arguments = {k: v for k, v in settings.items() if k != "_target_" and v is not None}
    factory = import_class(key, settings, kind)
    try:
        with without_warnings():
            return factory(**arguments)
    except (TypeError, ValueError) as error:
        raise UserError(f"{key}: {settings['_target_']} takes no such settings ({error})") from error


def settings_by_name(key: str, given: PlainValue, module: ModuleType, suffix: str) -> dict[str, PlainValue]:
    """A sampler or pruner by its name (`tpe`, `TPESampler`) or its settings as settings.

    Raises:
        UserError: Optuna has none of that name.
    """
    if isinstance(given, dict):
        return given
    names = [name for name in dir(module) if name.endswith(suffix) and name != f"Base{suffix}"]
    known = {name.removesuffix(suffix).lower(): name for name in names}
    short = str(given).removesuffix(suffix).lower().replace("_", "")
    if short not in known:
        raise UserError(f"{key}={given}: Optuna has {', '.join(sorted(known))}{suggestion(short, list(known))}")
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
