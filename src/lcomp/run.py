"""The story of one run: train, compress, export, measure, record."""

from __future__ import annotations

import logging
import re
import time
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.utilities.exceptions import SIGTERMException

from lcomp.config import composition, identity, run_config
from lcomp.config.run_spec import RunSpec, parse
from lcomp.data import content_hash
from lcomp.data.protocol import Data
from lcomp.errors import TrialPruned
from lcomp.evaluation import corruptions, measurement
from lcomp.evaluation.comparison import Evaluator, make_runtime, measure_latencies
from lcomp.evaluation.corruptions import Corruptions
from lcomp.export.onnx_export import export
from lcomp.export.rounding import round_network
from lcomp.record import live_run, result_cache
from lcomp.record import log as log_names
from lcomp.record.causes import error_message
from lcomp.record.environment import Environment, environment
from lcomp.record.interruption import BY_MACHINE, BY_USER, SigintState, Stopped, machine_interruption, watch_sigint
from lcomp.record.plain import PlainValue
from lcomp.record.redaction import redacted
from lcomp.record.result import ARTIFACT, Result, file_hashes, timing
from lcomp.techniques.distillation.objective import check_task
from lcomp.techniques.parametrizations import independent_copy
from lcomp.tracking import loggers
from lcomp.tracking.tracker import Tracker
from lcomp.training import components, devices, random_states, speed, teacher_chain, weights_file
from lcomp.training.best_epoch import BestEpoch
from lcomp.training.checkpoint_files import FOLDER as CHECKPOINTS
from lcomp.training.checkpoint_files import CheckpointFiles
from lcomp.training.epochs import Epochs, Report
from lcomp.training.fit import NotFinite, fit, save
from lcomp.training.optimization import fit_settings
from lcomp.training.watched import Watched

log = logging.getLogger(__name__)


def run(
    cfg: DictConfig,
    folder: Path,
    overrides: list[str],
    choices: dict[str, Any] | None = None,
    timed: bool = True,
    report: Report | None = None,
    equals: Path | None = None,
    group: str | None = None,
    alone: AbstractContextManager[None] | None = None,
) -> Result:
    """Carries out the run that `cfg` describes; leaves checkpoint, artifact and record in `folder`.

    A run that fails has a record too, with its status and the cause, also where a user's code exits; only an
    interruption, by the user or the machine, is raised again.

    Args:
        timed: measure latencies now. A run beside others leaves that to their end, or is given `alone`.
        report: is told of each epoch that can be compared with another run's, and may give the run up.
        equals: where sweeps lie whose equal results are taken instead of running again.
        group: the sweep's name, for a logger.
        alone: within it latencies are measured: nothing else of the sweep is at work.
    """
    folder.mkdir(parents=True, exist_ok=True)
    live_run.clear(folder)  # of a try before
    result = Result(overrides=overrides, choices=choices or {}, started=time.time())
    tracker, epochs, config = Tracker(), Epochs(report), dict[str, PlainValue]()
    with watch_sigint() as signals:
        try:
            cfg = own_config(cfg, overrides, folder)
            config = run_config.resolved_where_possible(cfg)
            tracker = loggers.make_tracker(config, folder)
            epochs.live = tracker.follow(folder, config, result, group or folder.name)
            result.name, result.seed = None if cfg.name is None else str(cfg.name), cfg.seed
            result.params = run_config.technique_params(config)
            spec = parse(cfg)
            result.environment = environment_of(spec)
            measured_in = (alone or nullcontext()) if timed else None
            execute(spec, folder, result, measured_in, epochs, equals, tracker, group)
            result.files, result.status = file_hashes(folder), "ok"
        except TrialPruned as pruned:
            result.status, result.error = "pruned", str(pruned)
        except BaseException as error:  # whatever a user's code raises, also to exit: recorded, not lost
            result.status = "nan" if isinstance(error, NotFinite) else "failed"
            stop = stopped_by(error, signals)
            if stop is not None:
                result.error = str(stop) or BY_USER
                raise stop from error
            result.error = error_message(error)
            log.debug("the run failed", exc_info=True)
        finally:
            result.epochs = result.epochs or epochs.curves.columns
            write_record(result, folder)
            live_run.clear(folder)
            if result.is_final:
                checkpoint_files(folder, result, group).clear()
            tracker.end(folder, config, result, group or folder.name, is_whole=timed and alone is None)
    return result


def stopped_by(error: BaseException, signals: SigintState) -> BaseException | None:
    """The interruption that `error` is, by the user or the machine; None where the run failed."""
    if isinstance(error, SIGTERMException | Stopped) or (isinstance(error, KeyboardInterrupt) and signals.received):
        return KeyboardInterrupt()
    return machine_interruption(error)


def write_record(result: Result, folder: Path) -> None:
    """Writes the record; of a run that the machine interrupted, when what it left has made room.

    Raises:
        Interrupted: the machine cannot write it.
    """
    try:
        if result.error and result.error.startswith(BY_MACHINE):
            make_room(folder)
        result.write(folder)
    except OSError as error:
        stop = machine_interruption(error)
        if stop is None:
            raise
        result.status, result.error, result.files = "failed", str(stop), {}
        with suppress(OSError):
            make_room(folder)
            result.write(folder)
        raise stop from error


def make_room(folder: Path) -> None:
    """Removes what a run without a result left."""
    for name in file_hashes(folder):
        (folder / name).unlink()


def own_config(cfg: DictConfig, overrides: list[str], folder: Path) -> DictConfig:
    """What the run is of `cfg`: less what a replaced class left behind, its paths absolute; so in the note of it in
    `folder` too."""
    settled, note = composition.without_leftovers(cfg, overrides), folder / ".hydra" / "config.yaml"
    settled = run_config.with_absolute_paths(settled)
    if note.exists():
        OmegaConf.save(redacted(OmegaConf.to_container(settled)), note)
    return settled


def execute(
    spec: RunSpec,
    folder: Path,
    result: Result,
    measured_in: AbstractContextManager[None] | None,
    epochs: Epochs,
    equals: Path | None,
    tracker: Tracker,
    group: str | None,
) -> None:
    """The way of one run; fills `result` as it goes.

    Args:
        measured_in: what latencies are measured within; None where they are not yet.
    """
    torch.set_num_threads(spec.threads)
    pl.seed_everything(spec.seed, verbose=False)
    with timing(result, "total"):
        objective, techniques = components.make_techniques(spec)
        components.check_objective(spec, objective)
        if spec.baseline.weights is not None:
            weights_file.check_overrides(result.overrides)
        data = components.make_data(spec)
        spec = speed.with_speed(spec, data, lambda model: components.make_network(model, data, spec.seed))
        if spec.speed == "auto":
            result.environment = environment_of(spec)
        student = components.make_network(spec.distillation.student, data, spec.distillation.student_seed)
        robustness = corruptions.make_robustness(spec.robustness, data)
        runtime = make_runtime(spec.runtime)
        result.environment["versions"] |= runtime.versions()
        describe(spec, data, robustness, runtime.versions(), result)
        if equals and result_cache.adopt_equal_run(equals, folder, result, data.eval_perturbations):
            if measured_in and not result.has_latencies:
                splits = measurement.splits_of(data)
                calls = spec.measure.latency_runs
                measure_latencies(calls, runtime, data.task, splits, folder, result, measured_in)
            return
        example = measurement.example_of(data)
        for technique in techniques:
            technique.check(student, example)
        check_task(objective, data.task)
        components.check_later_training(spec, data, student, objective)

        loaded = components.load_teacher(spec, data, objective)
        baseline = components.make_baseline(spec, data)
        result.seconds["baseline"] = baseline.seconds
        teacher, chain = teacher_chain.make_teacher(spec, data, baseline, loaded, objective)
        if chain:
            result.seconds["assistants"] = sum(link.seconds for link in chain)
        fresh = not spec.distillation.starts_from_baseline or any(technique.starts_fresh for technique in techniques)
        network = student if fresh else independent_copy(baseline.network)
        module = components.make_module(spec, data, network, teacher, objective, techniques)
        with timing(result, "train"):
            if objective is not None or any(technique.trains for technique in techniques):
                asked, device = (spec.trainer.max_epochs, spec.seed, spec.progress), devices.device(spec.device)
                checkpoints = checkpoint_files(folder, result, group, spec.trainer.checkpoint_minutes)
                best = BestEpoch() if spec.checkpoint == "best" else None
                settings = fit_settings(spec, data.task.metric) | {"watched": Watched(folder)}
                result.steps = fit(module, data, *asked, epochs, device, tracker.loggers, checkpoints, best, **settings)
                result.best_epoch = best.epoch if best else None
            else:
                warn_of_unused(overrides=result.overrides)
                for technique in techniques:
                    technique.prepare_after_others(network)
        result.seconds["train"] += epochs.seconds_before
        save(module, folder)
        trained = None  # the outputs of a network that learned with rounded weights, before these become integers
        if all(technique.trains for technique in techniques):
            test = measurement.split_of(data.test_dataloader(), data.task)
            trained = measurement.predict_outputs(module.network, test.inputs)
        pl.seed_everything(spec.seed, verbose=False)  # a loader that shuffles gives the same calibration examples again
        random_states.begin_anew(data)
        network = round_network(module.finalize(module.calibration(data)), spec.pack.bias_bits, spec.pack.scale_bits)

        with timing(result, "export"):
            export(network, folder / ARTIFACT, data.task, result.config_hash or "")
        with timing(result, "measure"):
            evaluator = Evaluator(data, robustness, runtime, spec.pack.version or 1)
            found = evaluator.compare(baseline, network, trained, folder)
            found.enter(result)
            if spec.baseline.weights is not None:
                result.baseline_artifact["weights"] = weights_file.weights_identity(spec.baseline.weights)
            if not found.is_finite:
                raise NotFinite("the artifact's outputs are not finite")
            if measured_in:
                calls, splits = spec.measure.latency_runs, evaluator.splits
                measure_latencies(calls, runtime, data.task, splits, folder, result, measured_in)


def environment_of(spec: RunSpec) -> Environment:
    """Where the run's figures are measured, and what it trains in."""
    trainer, baseline = spec.trainer, spec.baseline.trainer
    return environment(
        spec.threads, devices.device(spec.device), trainer.precision, baseline.precision, trainer.memory_format
    )


def checkpoint_files(folder: Path, result: Result, group: str | None, minutes: float | None = None) -> CheckpointFiles:
    """Where the fit of a run, whose hashes are known, leaves checkpoints and finds those of a try before: in a sweep,
    also in another of its folders."""
    defining = identity.digest([result.config_hash, result.code_hash])
    return CheckpointFiles(folder / CHECKPOINTS, defining, minutes, folder.parent if group else None)


def warn_of_unused(overrides: list[str]) -> None:
    """Says which overrides nothing reads, in a run that trains nothing but the baseline."""
    groups = ("trainer", "optimizer", "scheduler", "callbacks")
    unused = [one for one in overrides if re.split(r"[.=]", one.lstrip("+"))[0] in groups]
    if unused:
        log.warning("nothing trains in this run: %s has no effect (the baseline has its own under baseline)", unused[0])


def describe(
    spec: RunSpec, data: Data, robustness: Corruptions | None, versions: dict[str, str], result: Result
) -> None:
    """Names the data, the engine, of these versions, and the experiment in the record."""
    result.dataset, result.metric = content_hash.dataset_record(data), data.task.metric.record
    log_names.name_dataset(result.dataset["name"])
    defining = run_config.without(spec.config, "logger") | {
        "student": spec.distillation.student,
        "links": list(spec.distillation.chain),
        "teacher": components.teacher_identity(spec.distillation.checkpoints),
        "runtime_versions": versions,
        "mnist_c": robustness.content if robustness else None,  # of any set of corruptions, under its first name
    }
    if spec.baseline.weights is not None:  # how it would be trained does not count
        defining["baseline"] = {"sha256": weights_file.weights_identity(spec.baseline.weights)}
    result.config_hash = identity.config_hash(defining, result.dataset["sha256"])
    result.code_hash = identity.code_hash(defining)
