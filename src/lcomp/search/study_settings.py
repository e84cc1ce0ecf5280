"""What a study was asked, and what a sweep's folder holds that the study lacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import optuna
from optuna.distributions import distribution_to_json
from optuna.trial import TrialState, create_trial

from lcomp.errors import UserError
from lcomp.record.plain import PlainValue
from lcomp.record.redaction import redacted
from lcomp.record.result import Result
from lcomp.record.run_folders import latest_by_point, recorded_runs
from lcomp.search import study as studies
from lcomp.search.settings import Retry, Settings, without_warnings
from lcomp.search.space import Space, Value
from lcomp.search.worker import SearchWorker, point_attributes, requested_points
from lcomp.sweeps.sweep import describe_difference

SETTINGS_KEY = "asked"  # the attribute of a study
FREE = (
    *("name", "tags", "notes", "progress", "report", "reuse", "logger", "threads"),
    *("baseline.cache", "data.root", "data.download"),
)


def claim_study(settings: Settings, space: Space, files: Mapping[str, str], study: optuna.Study) -> None:
    """Notes in a study what it is asked, where nobody has asked it yet.

    Args:
        files: digests of what its runs are composed from.

    Raises:
        UserError: it was asked something else.
    """
    defining = {
        name: swept for name, swept in space.plan().items() if name not in FREE and not name.startswith("logger.")
    }
    now = redacted({**defining, **{f"{name}.yaml": digest for name, digest in files.items()}, **settings.asked})
    before = study.user_attrs.get(SETTINGS_KEY)
    if before is None:
        before = now | settings_of_trials(study, space)
    if before != now:
        raise UserError(
            f"study {settings.study_name} in {redacted(settings.storage)} was asked something else: "
            f"{describe_difference(before, now)}; name another, study_name=..., or ask it the same"
        )
    if SETTINGS_KEY not in study.user_attrs:
        study.set_user_attr(SETTINGS_KEY, now)


def settings_of_trials(study: optuna.Study, space: Space) -> dict[str, PlainValue]:
    """What the trials of a study say of what it was asked, which itself says nothing of it."""
    trials = study.get_trials(deepcopy=False)
    if not trials:
        return {}
    stated: dict[str, PlainValue] = {"direction": [one.name.lower() for one in study.directions]}
    known = {name: one for trial in trials for name, one in trial.distributions.items()}
    return stated | {name: distribution_to_json(one) for name, one in known.items() if space.keys.get(name) != one}


def add_finished_runs(worker: SearchWorker, study: optuna.Study) -> None:
    """Tells a study of the finished runs in the sweep's folder that it lacks, so that none runs, or is written, twice.

    Raises:
        UserError: a run is none of the search's space.
    """
    known = requested_points(study.get_trials(deepcopy=False))
    lacking = [
        run
        for run in latest_by_point(recorded_runs(worker.folder))
        if run.result.is_final and run.result.point not in known
    ]
    parameters = [worker.space.parameters(run.result.overrides, run.result.hidden) for run in lacking]
    for run, given in zip(lacking, parameters, strict=True):
        if given is None or worker.custom is not None:
            raise UserError(
                f"{run.folder}: holds a finished run ({' '.join(redacted(run.result.overrides))}) that the study "
                f"{worker.settings.study_name} lacks, and that is no point of this search; "
                "name the study that has it (storage=, study_name=), or start anew"
            )
    for run, given in zip(lacking, parameters, strict=True):
        number = [worker.sweep, int(run.folder.name)]
        study.add_trial(trial_from_result(worker.settings, worker.space, run.result, given or {}, number))
    if lacking:
        print(f"{len(lacking)} finished runs in {worker.folder} that the study lacked count as its trials", flush=True)


def trial_from_result(
    settings: Settings,
    space: Space,
    result: Result,
    parameters: Mapping[str, Value],
    number: Sequence[str | int | None],
) -> optuna.trial.FrozenTrial:
    """The trial that a finished run would have been."""
    measured = all(metric in result.metrics for metric in (*settings.objective, *settings.constraint))
    complete = result.status == "ok" and measured
    state = TrialState.COMPLETE if complete else TrialState.PRUNED if result.status == "pruned" else TrialState.FAIL
    limits = settings.violations(result) if complete else {}
    attributes: dict[str, PlainValue] = {**point_attributes(result.overrides, result.hidden), studies.RUN: [*number]}
    test = settings.metric.test
    attributes[test if complete else "cause"] = result.metrics[test] if complete else result.error
    with without_warnings():
        return create_trial(
            state=state,
            values=settings.values(result) if complete else None,
            params=dict(parameters),
            distributions={name: space.sampled[name] for name in parameters},
            user_attrs=attributes,
            system_attrs={f"constraints:{metric}": violation for metric, violation in limits.items()},
        )


def retry_lost(worker: SearchWorker, study: optuna.Study) -> None:
    """Has those trials run again whose record in the sweep's folder was lost: a figure without its run is none."""
    final = {int(run.folder.name) for run in recorded_runs(worker.folder) if run.result.is_final}
    for trial in studies.counted_trials(study.get_trials(deepcopy=False)):
        run_folder = worker.run_folder(trial)
        ended = trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
        if ended and run_folder and run_folder.is_dir() and int(run_folder.name) not in final:
            with without_warnings():
                Retry(None)(study, trial)
