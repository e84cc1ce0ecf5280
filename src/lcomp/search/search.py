"""One search, from the command line to its best trials: opened or resumed, launched, told."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import optuna
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, ListConfig, open_dict
from optuna.trial import FrozenTrial, TrialState

from lcomp.config import run_config
from lcomp.config.typed_command import TypedCommand
from lcomp.errors import UserError
from lcomp.record import run_folders
from lcomp.record.containers import plain_list, plain_mapping
from lcomp.record.interruption import Interrupted
from lcomp.record.listener import listener
from lcomp.record.metric import Metric
from lcomp.record.plain import PlainValue
from lcomp.record.point_key import canonical_point
from lcomp.record.redaction import redacted
from lcomp.report import study_file
from lcomp.report.sweep_end import show, summarize, tell_command
from lcomp.search import study as studies
from lcomp.search.best_trials import report_best
from lcomp.search.command_line import custom_function, fixed_overrides, with_families
from lcomp.search.options import Given, SearchOptions, listed
from lcomp.search.settings import Settings, settings_by_name
from lcomp.search.space import Space, SpacePoint, flatten_params, suggest
from lcomp.search.study_settings import add_finished_runs, claim_study, retry_lost
from lcomp.search.worker import SearchWorker, point_attributes, requested_points
from lcomp.sweeps import broken_files, composition_check, configuration_files, deferred_latency, sweep
from lcomp.sweeps.progress import ProgressView

log = logging.getLogger("lcomp")
STUDY = "study.db"  # in the folder, where no storage is named: a folder may be renamed


def run_search(
    options: SearchOptions, context: HydraContext, task_function: TaskFunction, cfg: DictConfig, arguments: list[str]
) -> None:
    """Carries out a search; `arguments` are the command line's overrides."""
    composition_check.check_composition(cfg)
    folder = Path(cfg.hydra.sweep.dir)
    asked = [argument for argument in arguments if not argument.startswith("hparams_search=")]
    parser = OverridesParser.create(config_loader=context.config_loader)
    ready = list(flatten_params(given_mapping(options.params)))
    fixed = fixed_overrides(ready, asked, parser)
    space = with_families(Space([*ready, *asked], parser), [*ready, *asked], parser)
    custom = custom_function(options.custom_search_space)
    if not space.sampled and custom is None:
        raise UserError("nothing to search: give a key several values, as in 'kd.temperature=interval(1,10)'")
    settings = make_settings(options, folder, run_config.metric_of_task(cfg.task))
    check_measured(settings, space, cfg)
    settings.make_sampler(0), settings.make_pruner()  # refuse what cannot be before anything is written
    settings.try_out(lambda trial: space.point(suggest(trial)))
    plan: dict[str, PlainValue] = {**space.plan(), **settings.asked}
    plan |= {"storage": options.storage or f"{STUDY} in the folder"}
    plan["study_name"] = settings.study_name
    points = None if custom else space.points(settings.n_trials)
    if points is not None:
        settings.n_trials = len(points)

    hydras = run_config.overrides_of_hydra(cfg.hydra)
    files = configuration_files.read_all_files(
        context.config_loader, str(cfg.hydra.job.config_name), hydras, space.representative_points()
    )
    command = TypedCommand(context.config_loader, cfg, lambda result: space.point_of_result(result, custom is not None))
    with open_dict(cfg):  # Hydra writes both beside every trial
        cfg.hydra.sweeper.storage, cfg.hydra.overrides.hydra = redacted(options.storage), redacted(hydras)
    worker = SearchWorker(settings, space, context, cfg, task_function, custom)
    launcher = Plugins.instance().instantiate_launcher(
        hydra_context=context, task_function=worker, config=cfg
    )  # which checks its settings
    if options.storage and not options.resume:
        claim_study(settings, space, files, settings.open_study())
    opened = sweep.open_sweep(cfg, [*hydras, *arguments], options.resume, plan, files, settings.n_trials)
    with opened, studies.as_sweep_error(folder):
        if not options.storage:
            check_study(folder / STUDY)
        study = settings.open_study()
        worker.sweep = sweep.sweep_identity(folder)
        claim_study(settings, space, files, study)
        if options.storage is None or options.resume:
            fail_orphaned_trials(worker, study)
        if options.resume:
            add_finished_runs(worker, study)
            retry_lost(worker, study)
        if points is not None:
            enqueue(study, points)
        done = sum(trial.state.is_finished() for trial in studies.counted_trials(study.get_trials(deepcopy=False)))
        if options.resume:
            print(f"{done} of {settings.n_trials} trials are finished in {folder}", flush=True)
        workers = settings.n_jobs or int(getattr(launcher, "processes", 1))
        jobs = max(1, min(workers, settings.n_trials - done))
        thread_overrides = [argument for argument in asked if argument.startswith("threads=") and argument in arguments]
        single = (settings.objective[0], settings.direction[0] == "maximize") if len(settings.objective) == 1 else None
        try:
            with ProgressView(
                folder, settings.n_trials, done, run_config.shows_progress(cfg), None if settings.constraint else single
            ):
                if done < settings.n_trials:
                    returned = launcher.launch(
                        [[*thread_overrides, "hydra.sweep.subdir=.workers/${hydra.job.num}"]] * jobs, initial_job_idx=0
                    )
                    for one in returned:
                        _ = one.return_value
        except BaseException as error:
            known = sweep.infrastructure_error(error, folder) if isinstance(error, Exception) else error
            stopped = isinstance(known, KeyboardInterrupt | Interrupted)
            try:
                fail_orphaned_trials(
                    worker, study, sweep.interruption_cause(known) if stopped else run_folders.INTERRUPTED
                )
            except studies.STORAGE_ERRORS:  # such as a full one: resuming settles them
                log.debug("the study is left as it is", exc_info=True)
            if isinstance(error, UserError) or not isinstance(error, Exception):
                raise
            raise known from error
        deferred_latency.measure_deferred(folder, command)
        trials = study.get_trials(deepcopy=False)
        report_best(settings, study, folder, worker.sweep, fixed)
        best = studies.pareto_front(study)[: None if len(settings.objective) > 1 else 1]
        listener.tell(best=[studies.run_number(trial, worker.sweep) for trial in best])
    try:
        check_failures(settings, trials)
    except UserError:  # Hydra's callbacks hear nothing of a sweep that raises
        summarize(folder)
        show(cfg, command)
        raise
    tell_command(context, command)


def check_study(path: Path) -> None:
    """Sets a study's file aside that is no database, or a damaged one; Optuna opens it afterwards, to go on with it.

    Raises:
        Refused: it does more than hold rows.
    """
    try:
        if path.with_name(f"{path.name}-journal").exists():  # of a killed process: SQLite takes back what it wrote
            with closing(sqlite3.connect(path)) as database:
                database.execute("SELECT count(*) FROM sqlite_master")
        with closing(study_file.checked(path)) as copy:
            [verdict, *_] = copy.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)
    except FileNotFoundError:
        pass
    except sqlite3.OperationalError as error:
        raise UserError(f"{path}: cannot be looked at ({error}); start the search anew") from error
    except sqlite3.DatabaseError as error:
        broken_files.set_aside(path, error)


def check_measured(settings: Settings, space: Space, cfg: DictConfig) -> None:
    """Raises UserError for an objective or a constraint that the search's runs would not measure."""
    chosen = space.keys.get("robustness", "none" if not cfg.robustness else "chosen")
    every = isinstance(chosen, str) and chosen != "none"
    if "val_mce" in (*settings.objective, *settings.constraint) and not every:
        raise UserError("val_mce: only runs with a robustness measure it; add robustness=mnist_c, cifar10_c or typos")


def given_value(node: Given) -> PlainValue:
    if isinstance(node, DictConfig):
        return plain_mapping(node)
    return plain_list(node) if isinstance(node, ListConfig) else node


def given_mapping(node: Given) -> dict[str, PlainValue]:
    """A setting that is a dictionary; an empty one where it was not given."""
    plain = given_value(node)
    return plain if isinstance(plain, dict) else {}


def make_settings(options: SearchOptions, folder: Path, metric: Metric) -> Settings:
    """The settings of a search, with names looked up and defaults in place."""
    import optuna.pruners
    import optuna.samplers

    sampler = settings_by_name("hydra/sweeper/sampler", given_value(options.sampler), optuna.samplers, "Sampler")
    pruner = settings_by_name("hydra/sweeper/pruner", given_value(options.pruner or "nop"), optuna.pruners, "Pruner")
    constraint = {name: value for name, value in (options.constraint or {}).items() if value is not None}
    objective = listed(options.objective or metric.validation)
    return Settings(
        storage=str(options.storage) if options.storage else f"sqlite:///{(folder / STUDY).absolute()}",
        study_name=str(options.study_name) if options.study_name else (folder.name if options.storage else "lcomp"),
        objective=objective,
        direction=listed(options.direction or [better(name, metric) for name in objective]),
        metric=metric,
        n_trials=options.n_trials,
        max_failure_rate=options.max_failure_rate,
        max_retries=options.max_retries,
        heartbeat=options.heartbeat,
        sampler=sampler,
        pruner=None if str(pruner["_target_"]).endswith("NopPruner") else pruner,
        constraint=constraint,
        n_jobs=options.n_jobs,
    )


def fail_orphaned_trials(worker: SearchWorker, study: optuna.Study, cause: str = run_folders.INTERRUPTED) -> None:
    """Settles the trials that this folder's workers, who are gone, left running; only while none of them works."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        begun = (run_folder := worker.run_folder(trial)) is not None and run_folder.is_dir()
        of_session = str(trial.user_attrs.get("worker", "")).startswith(worker.session)
        if begun or of_session or worker.settings.storage.startswith("sqlite:///" + str(worker.folder.absolute())):
            worker.fail_trial(study, trial, cause)


def enqueue(study: optuna.Study, points: list[SpacePoint]) -> None:
    """Queues those points of a finite space that the study does not have."""
    trials = study.get_trials(deepcopy=False)
    known = requested_points(trials)
    for point, parameters in points:
        if canonical_point(point) not in known:
            study.enqueue_trial(parameters, user_attrs=point_attributes(point), skip_if_exists=False)


def check_failures(settings: Settings, trials: Sequence[FrozenTrial]) -> None:
    """Raises UserError where too many trials failed for the search to go on."""
    if studies.is_over(settings, trials):
        failed = len(studies.failed_trials(trials))
        raise UserError(
            f"the search ended early: {failed} of {settings.n_trials} trials failed, more than "
            f"max_failure_rate={settings.max_failure_rate} allows; mend the cause, or allow more"
        )


def better(name: str, metric: Metric) -> str:
    """The direction of an objective."""
    rises = metric.higher_is_better if name == metric.validation else name == "sparsity"
    return "maximize" if rises else "minimize"
