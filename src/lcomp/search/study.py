"""The study of a search: which trials count, what each came to, which are the best."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import optuna
import sqlalchemy.exc
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from lcomp.errors import UserError
from lcomp.record.interruption import is_interruption
from lcomp.record.result import Result
from lcomp.search.settings import Retry, Settings, without_warnings
from lcomp.sweeps import sweep

log = logging.getLogger("lcomp")
STORAGE_ERRORS = (optuna.exceptions.OptunaError, sqlalchemy.exc.SQLAlchemyError, OSError)
DISCARDED = "withdrawn"  # why a trial does not count: a duplicate, one too many, one that was tried again

RUN = "run"  # where a trial's run lies: the identity of its sweep, the number of its folder


def retried_numbers(trials: Sequence[FrozenTrial]) -> set[int]:
    """The numbers of the trials that were interrupted and stand there a second time."""
    return {number for trial in trials for number in trial.system_attrs.get("retry_history", ())}


def counted_trials(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The trials that count for the budget, in the order of their numbers."""
    again = retried_numbers(trials)
    return [trial for trial in trials if DISCARDED not in trial.user_attrs and trial.number not in again]


def run_number(trial: FrozenTrial, sweep: str | None) -> int | None:
    """The number of the trial's run in the folder of a sweep; None where it has none there.

    Args:
        sweep: the identity of the sweep, for a study may have several.
    """
    if RUN not in trial.user_attrs:  # of before runs and trials were told apart
        return trial.number
    match trial.user_attrs[RUN]:
        case [of, int(number)] if of == sweep:
            return number
    return None


def failed_trials(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    return [trial for trial in counted_trials(trials) if trial.state == TrialState.FAIL]


def unfinished_trials(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    return [trial for trial in counted_trials(trials) if not trial.state.is_finished()]


def is_over(settings: Settings, trials: Sequence[FrozenTrial]) -> bool:
    """Whether too many trials failed for the search to go on."""
    return len(failed_trials(trials)) > settings.max_failure_rate * settings.n_trials


@contextmanager
def ignoring_ended_trials() -> Iterator[None]:
    """What is told of a trial that another process has ended meanwhile, taking it for lost, is not heard."""
    try:
        yield
    except optuna.exceptions.UpdateFinishedTrialError:
        log.warning("a trial of this process was taken for lost and given to another; its result is not used")


@contextmanager
def as_sweep_error(folder: Path) -> Iterator[None]:
    """A study or a folder that cannot be read or written as the line that ends the sweep, not as a traceback.

    Said where it is met: what an error was raised from does not reach another process.
    """
    try:
        yield
    except UserError:
        raise
    except STORAGE_ERRORS as error:
        inner = error.__cause__ if isinstance(error, optuna.exceptions.StorageInternalError) else None
        raise sweep.infrastructure_error(inner if isinstance(inner, Exception) else error, folder) from error


def tell_result(settings: Settings, study: optuna.Study, trial: FrozenTrial, result: Result) -> None:
    """Tells the study what a run came to."""
    with ignoring_ended_trials():
        record_and_tell(settings, study, trial, result)


def record_and_tell(settings: Settings, study: optuna.Study, trial: FrozenTrial, result: Result) -> None:
    note = study._storage.set_trial_user_attr  # a trial that another process began has no other handle
    missing = [m for m in (*settings.objective, *settings.constraint) if m not in result.metrics]  # no packed form
    if result.status == "ok" and not missing:
        note(trial._trial_id, settings.metric.test, result.metrics[settings.metric.test])
        for metric, violation in settings.violations(result).items():  # as Trial.set_constraint does
            study._storage.set_trial_system_attr(trial._trial_id, f"constraints:{metric}", violation)
        tell_values(study, trial, settings.values(result))
    elif result.status == "pruned":
        tell_values(study, trial, None, TrialState.PRUNED)
    else:
        note(trial._trial_id, "cause", result.error or f"the run has no {missing[0]}; its log says why")
        tell_values(study, trial, None, TrialState.FAIL)


def tell_values(
    study: optuna.Study, trial: FrozenTrial, values: list[float] | None, state: TrialState = TrialState.COMPLETE
) -> None:
    """`Study.tell`, but for a trial that another process has ended meanwhile, and a sampler that wants to stop."""
    try:
        study.tell(trial.number, values, state, skip_if_finished=True)
    except RuntimeError as error:
        if "Study.stop" not in str(error):  # grid and brute force know no ask-and-tell when they have seen everything
            raise


def discard_trial(study: optuna.Study, trial: FrozenTrial, why: str) -> None:
    """Ends a trial that does not count."""
    with ignoring_ended_trials():
        study._storage.set_trial_user_attr(trial._trial_id, DISCARDED, why)
        tell_values(study, trial, None, TrialState.FAIL)


def fail_trial(settings: Settings, study: optuna.Study, trial: FrozenTrial, result: Result | None, cause: str) -> None:
    """Ends a trial whose worker is gone: as its record says where the run had ended, else as failed, to be tried again.

    Args:
        result: the trial's record, where there is one.
    """
    if result and result.is_final:
        tell_result(settings, study, trial, result)
        return
    with ignoring_ended_trials(), without_warnings():
        study._storage.set_trial_user_attr(trial._trial_id, "cause", cause)
        tell_values(study, trial, None, TrialState.FAIL)
        trials = study.get_trials(deepcopy=False)
        before = set(trial.system_attrs.get("retry_history", ()))
        stopped = sum(t.number in before and is_interruption(t.user_attrs.get("cause")) for t in trials)
        ended = next(candidate for candidate in trials if candidate.number == trial.number)
        Retry(None if is_interruption(cause) else settings.max_retries + stopped)(study, ended)


def fail_stale_trials(settings: Settings, study: optuna.Study) -> None:
    """Fails the trials of workers on other machines that are gone, and has them tried again."""
    with without_warnings():
        optuna.storages.fail_stale_trials(study)
    limit = datetime.now() - timedelta(seconds=3 * settings.heartbeat)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if "worker" not in trial.user_attrs and trial.datetime_start and trial.datetime_start < limit:
            fail_trial(settings, study, trial, None, "the worker was lost before it began")


def pareto_front(study: optuna.Study) -> list[FrozenTrial]:
    """The best trials: those that keep the constraint and that no other beats in every objective; best first in the
    first objective."""
    done = [
        trial
        for trial in counted_trials(study.get_trials(deepcopy=False))
        if trial.state == TrialState.COMPLETE and all(violation <= 0 for violation in trial.constraints.values())
    ]
    signs = [-1 if direction == StudyDirection.MAXIMIZE else 1 for direction in study.directions]
    costs = {trial.number: [s * v for s, v in zip(signs, trial.values, strict=True)] for trial in done}

    def is_dominated(trial: FrozenTrial) -> bool:
        trial_costs = costs[trial.number]
        return any(
            all(a <= b for a, b in zip(other_costs, trial_costs, strict=True))
            and (other_costs != trial_costs or number < trial.number)
            for number, other_costs in costs.items()
            if number != trial.number
        )

    return sorted((trial for trial in done if not is_dominated(trial)), key=lambda trial: costs[trial.number])
