"""One search, from the command line to its best trials: opened or resumed, launched, told."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from omegaconf import OmegaConf, open_dict
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from rich.table import Table

from lcomp import broken_files, clocks, config, inputs, sweep, sweep_composition
from lcomp.ending import end
from lcomp.errors import UserError
from lcomp.files import write_atomically
from lcomp.interruption import Interrupted
from lcomp.points import key
from lcomp.progress import View
from lcomp.redact import redacted
from lcomp.report import study_file
from lcomp.report.escaping import terminal
from lcomp.result import FILE_NAME, Result, read
from lcomp.search import study as studies
from lcomp.search.asked import adopt, claim, repeat_lost
from lcomp.search.given import custom_of, fixed_of, with_families
from lcomp.search.settings import Settings, named
from lcomp.search.space import Space, flat, suggest
from lcomp.search.worker import Worker, asked_for, noted
from lcomp.typed import Typed

if TYPE_CHECKING:
    from hydra_plugins.lcomp_optuna.sweeper import OptunaSweeper

log = logging.getLogger("lcomp")
STUDY = "study.db"  # in the folder, where no storage is named: a folder may be renamed
RESULTS = "optimization_results.yaml"


def search(sweeper: OptunaSweeper, arguments: list[str]) -> None:
    """Carries out the search of a sweeper; `arguments` are the command line's overrides."""
    cfg = sweeper.config
    assert cfg is not None
    sweep_composition.check(cfg)
    folder = Path(cfg.hydra.sweep.dir)
    asked = [argument for argument in arguments if not argument.startswith("hparams_search=")]
    parser = OverridesParser.create(config_loader=sweeper.context.config_loader)
    ready = list(flat(plain(sweeper.params)))
    fixed = fixed_of(ready, asked, parser)
    space = with_families(Space([*ready, *asked], parser), [*ready, *asked], parser)
    custom = custom_of(sweeper)
    if not space.sampled and custom is None:
        raise UserError("nothing to search: give a key several values, as in 'kd.temperature=interval(1,10)'")
    settings = settings_of(sweeper, folder)
    check_measured(settings, space, cfg)
    settings.make_sampler(0), settings.make_pruner()  # refuse what cannot be before anything is written
    settings.rehearse(lambda trial: space.point(suggest(trial)))
    plan: dict[str, Any] = {**space.plan(), "objective": settings.objective, "direction": settings.direction}
    plan |= {"constraint": settings.constraint, "storage": sweeper.storage or f"{STUDY} in the folder"}
    plan["study_name"] = settings.study_name
    points = None if custom else space.points(settings.n_trials)
    if points is not None:
        settings.n_trials = len(points)

    hydras = [str(one) for one in plain(cfg.hydra.overrides.hydra)]  # unresolved
    files = inputs.keep(sweeper.context.config_loader, str(cfg.hydra.job.config_name), hydras, space.examples())
    sweep.typed = Typed(sweeper.context.config_loader, cfg, lambda result: space.named(result, custom is not None))
    with open_dict(cfg):  # Hydra writes both beside every trial
        cfg.hydra.sweeper.storage, cfg.hydra.overrides.hydra = redacted(sweeper.storage), redacted(hydras)
    worker = Worker(settings, space, sweeper.context, cfg, custom)
    launcher = Plugins.instance().instantiate_launcher(
        hydra_context=sweeper.context, task_function=worker, config=cfg
    )  # which checks its settings
    if sweeper.storage and not sweeper.resume:
        claim(settings, space, files, settings.open())
    with sweep.opened(cfg, [*hydras, *arguments], sweeper.resume, plan, files), studies.storing(folder):
        if not sweeper.storage:
            check_study(folder / STUDY)
        study = settings.open()
        worker.sweep = sweep.identity(folder)
        claim(settings, space, files, study)
        if sweeper.storage is None or sweeper.resume:
            recover(worker, study)
        if sweeper.resume:
            adopt(worker, study)
            repeat_lost(worker, study)
        if points is not None:
            enqueue(study, points)
        done = sum(trial.state.is_finished() for trial in studies.counted(study.get_trials(deepcopy=False)))
        if sweeper.resume:
            print(f"{done} of {settings.n_trials} trials are finished in {folder}", flush=True)
        workers = settings.n_jobs or int(getattr(launcher, "processes", 1))
        jobs = max(1, min(workers, settings.n_trials - done))
        own = [argument for argument in asked if argument.startswith("threads=") and argument in arguments]
        single = (settings.objective[0], settings.direction[0] == "maximize") if len(settings.objective) == 1 else None
        try:
            with View(folder, settings.n_trials, done, config.shows(cfg), None if settings.constraint else single):
                if done < settings.n_trials:
                    returned = launcher.launch(
                        [[*own, "hydra.sweep.subdir=.workers/${hydra.job.num}"]] * jobs, initial_job_idx=0
                    )
                    for one in returned:
                        _ = one.return_value
        except BaseException as error:
            known = sweep.broken(error, folder) if isinstance(error, Exception) else error
            stopped = isinstance(known, KeyboardInterrupt | Interrupted)
            try:
                recover(worker, study, sweep.cause_of(known) if stopped else sweep.INTERRUPTED)
            except Exception:  # a storage that is full: resuming settles them
                log.debug("the study is left as it is", exc_info=True)
            if isinstance(error, UserError) or not isinstance(error, Exception):
                raise
            raise known from error
        clocks.complete(folder, sweep.typed)
        found = study.get_trials(deepcopy=False)
        tell(settings, study, folder, worker.sweep, fixed)
    try:
        check_failures(settings, found)
    except UserError:  # Hydra's callbacks hear nothing of a sweep that raises
        end(cfg)
        raise


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
            [said, *_] = copy.execute("PRAGMA quick_check(1)").fetchone()
        if said != "ok":
            raise sqlite3.DatabaseError(said)
    except FileNotFoundError:
        pass
    except sqlite3.OperationalError as error:
        raise UserError(f"{path}: cannot be looked at ({error}); start the search anew") from error
    except sqlite3.DatabaseError as error:
        broken_files.set_aside(path, error)


def check_measured(settings: Settings, space: Space, cfg: Any) -> None:
    """Raises UserError for an objective or a constraint that the search's runs would not measure."""
    chosen = space.keys.get("robustness", "none" if not cfg.robustness else "chosen")
    every = isinstance(chosen, str) and chosen != "none"
    if "val_mce" in (*settings.objective, *settings.constraint) and not every:
        raise UserError("val_mce: only runs with robustness=mnist_c measure it; add robustness=mnist_c to the command")


def plain(node: Any) -> Any:
    return OmegaConf.to_container(node) if OmegaConf.is_config(node) else node


def settings_of(sweeper: OptunaSweeper, folder: Path) -> Settings:
    """The settings of a sweeper, with names looked up and defaults in place."""
    import optuna.pruners
    import optuna.samplers

    sampler = named("hydra/sweeper/sampler", plain(sweeper.sampler), optuna.samplers, "Sampler")
    pruner = named("hydra/sweeper/pruner", plain(sweeper.pruner or "nop"), optuna.pruners, "Pruner")
    constraint = {name: value for name, value in plain(sweeper.constraint).items() if value is not None}
    return Settings(
        storage=str(sweeper.storage) if sweeper.storage else f"sqlite:///{(folder / STUDY).absolute()}",
        study_name=str(sweeper.study_name) if sweeper.study_name else (folder.name if sweeper.storage else "lcomp"),
        objective=sweeper.objective,
        direction=sweeper.direction,
        n_trials=sweeper.n_trials,
        max_failure_rate=sweeper.max_failure_rate,
        max_retries=sweeper.max_retries,
        heartbeat=sweeper.heartbeat,
        sampler=sampler,
        pruner=None if pruner["_target_"].endswith("NopPruner") else pruner,
        constraint=constraint,
        n_jobs=sweeper.n_jobs,
    )


def recover(worker: Worker, study: optuna.Study, cause: str = sweep.INTERRUPTED) -> None:
    """Settles the trials that this folder's workers, who are gone, left running; only while none of them works."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        begun = (place := worker.place(trial)) is not None and place.is_dir()
        own = str(trial.user_attrs.get("worker", "")).startswith(worker.session)
        if begun or own or worker.settings.storage.startswith("sqlite:///" + str(worker.folder.absolute())):
            worker.settle(study, trial, cause)


def enqueue(study: optuna.Study, points: list[tuple[list[str], dict[str, Any]]]) -> None:
    """Queues those points of a finite space that the study does not have."""
    trials = study.get_trials(deepcopy=False)
    known = asked_for(trials)
    for point, parameters in points:
        if key(point) not in known:
            study.enqueue_trial(parameters, user_attrs=noted(point), skip_if_exists=False)


def tell(
    settings: Settings, study: optuna.Study, folder: Path, own: str | None = None, fixed: Sequence[str] = ()
) -> None:
    """Prints the best trials, and writes them as hydra-optuna-sweeper did.

    Args:
        own: the identity of the sweep in the folder.
        fixed: what the command fixed of what its search's file samples.
    """
    trials = studies.counted(study.get_trials(deepcopy=False))
    best = studies.front(study)
    several = len(settings.objective) > 1
    if not best:
        kept = " that keeps the constraint" if settings.constraint else ""
        print(f"No trial of {len(trials)} came to a result{kept}.")
    else:
        table = front_table if several else best_table
        made = table(settings, best, folder, own)
        if fixed:
            made.caption = f"{made.caption}; fixed by the command: {' '.join(redacted(list(fixed)))}"
        Console(width=None if Console().is_terminal else 160, markup=False).print(made)
    found: dict[str, Any] = {"name": "optuna"}
    if several:
        found["solutions"] = [{"params": trial.params, "values": list(trial.values)} for trial in best]
    elif best:
        found |= {"best_params": best[0].params, "best_value": best[0].value}
    write_atomically(folder / RESULTS, yaml.safe_dump(found).encode())


def check_failures(settings: Settings, trials: Sequence[FrozenTrial]) -> None:
    """Raises UserError where too many trials failed for the search to go on."""
    if studies.is_over(settings, trials):
        failed = len(studies.failed(trials))
        raise UserError(
            f"the search ended early: {failed} of {settings.n_trials} trials failed, more than "
            f"max_failure_rate={settings.max_failure_rate} allows; mend the cause, or allow more"
        )


def front_table(
    settings: Settings, best: list[FrozenTrial], folder: Path, own: str | None = None, title: str = ""
) -> Table:
    """The trials beside one another, and their baselines: objectives first, then what the search did not see."""
    made = Table(title=title or f"Pareto front of {' and '.join(settings.objective)}: {len(best)} trials")
    made.add_column("run", justify="right")
    for metric in settings.objective:
        made.add_column(metric, justify="right", no_wrap=True)
    if "val_accuracy" not in settings.objective:
        made.add_column("val_accuracy", justify="right")
    made.add_column("test accuracy", justify="right")
    made.add_column("of what", overflow="fold")
    baselines = {}
    for trial in best:
        number = studies.run_of(trial, own)
        record = folder / str(number) / FILE_NAME
        result = read(record) if record.exists() else Result()
        metrics = result.metrics
        if result.baseline:
            baselines[result.baseline_artifact.get("sha256")] = result.baseline
        cells = [shown(metric, value) for metric, value in zip(settings.objective, trial.values, strict=True)]
        if "val_accuracy" not in settings.objective:
            cells.append(shown("val_accuracy", metrics.get("val_accuracy")))
        cells.append(shown("test_accuracy", trial.user_attrs.get("test_accuracy")))
        run = trial.number if number is None else number
        made.add_row(str(run), *cells, terminal(" ".join(trial.user_attrs.get("point", ()))))
    columns = [
        *settings.objective,
        *(() if "val_accuracy" in settings.objective else ("val_accuracy",)),
        "test_accuracy",
    ]
    for figures in baselines.values():
        made.add_row("baseline", *(shown(metric, figures.get(metric)) for metric in columns), "no trial of the search")
    made.caption = "chosen on validation; the test accuracy was not seen by the search"
    return made


def best_table(settings: Settings, best: list[FrozenTrial], folder: Path, own: str | None = None) -> Table:
    """The best trial."""
    kept = "".join(f", {metric} {value} kept" for metric, value in settings.constraint.items())
    return front_table(settings, best[:1], folder, own, f"Best {settings.objective[0]}{kept}")


def shown(metric: str, value: float | None) -> str:
    """A metric as people read it."""
    if value is None:
        return ""
    if metric.endswith("accuracy"):
        return f"{value:.2%}"
    return f"{value / 1000:.1f} KB" if metric.endswith("bytes") else f"{value:,.4g}"
