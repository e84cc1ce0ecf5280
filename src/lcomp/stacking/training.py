"""The training of a sweep's points at once, from which the run of each goes on."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig

from lcomp.config import identity
from lcomp.config.run_spec import RunSpec, parse
from lcomp.data.datamodule import ImageDataModule
from lcomp.data.loaders import is_own
from lcomp.data.protocol import Data
from lcomp.preparation import Parts, Taught, check_techniques, learner, parts_of, taught_for
from lcomp.record import result_cache
from lcomp.record.interruption import raise_machine_error
from lcomp.record.result import Result
from lcomp.run import checkpoint_files, own_config
from lcomp.stacking.groups import Report, common_settings
from lcomp.techniques.distillation import Distillation
from lcomp.techniques.parametrizations import independent_copy
from lcomp.techniques.pruning import Pruning
from lcomp.techniques.pruning.criteria import ObservingCriterion
from lcomp.techniques.quantization import QuantizationAwareTraining
from lcomp.techniques.quantization import stacked as stacked_quantizers
from lcomp.techniques.technique import Technique
from lcomp.training import devices
from lcomp.training.stack import Unstackable
from lcomp.training.stacked_fit import Point, fit_stack

log = logging.getLogger(__name__)
FOLDER = ".stacked-"  # in a sweep's: what the training of a point came to, until its run has it
ELEMENTWISE = ("torch.optim.Adam", "torch.optim.AdamW", "torch.optim.SGD")  # optimizers of each number by itself


@dataclass(frozen=True)
class Job:
    """A point that is to learn at once with others: its number, configuration and overrides."""

    number: int
    cfg: DictConfig
    overrides: list[str]


@dataclass(frozen=True)
class Ready:
    """A point that can: what it is made of."""

    number: int
    spec: RunSpec
    parts: Parts
    point: Point


def train_stack(jobs: Sequence[Job], sweep: Path, reuse_from: Path | None) -> Report:
    """Trains the jobs' networks at once; leaves in `sweep` what each run goes on from.

    Args:
        sweep: the folder of the sweep.
        reuse_from: where sweeps lie: a job that has an equal run there is not trained again.
    """
    report, start = Report(), time.monotonic()
    ready: list[Ready] = []
    known: dict[int, tuple[Parts, Taught]] = {}  # by seed: data and teachers are those of every job that has it
    common: set[str] = set()
    for job in jobs:
        try:
            found = prepare(job, sweep, reuse_from, known, common)
        except Exception as error:  # whatever is wrong with a point: its own run says it in its record
            raise_machine_error(error)
            report.refused[job.number] = str(error) or type(error).__name__
        else:
            if found is None:
                report.trained.append(job.number)
            else:
                ready.append(found)
    if len(ready) == 1:
        report.refused[ready.pop().number] = "there is no other point to learn with"
    if ready:
        try:
            fit_ready(ready, known)
            report.trained += [one.number for one in ready]
            report.size = len(ready)
        except (Unstackable, RuntimeError, ValueError, TypeError) as error:  # of a network that cannot be mapped
            raise_machine_error(error)
            report.refused |= dict.fromkeys((one.number for one in ready), " ".join(str(error).split())[:300])
    report.seconds = time.monotonic() - start
    return report


def prepare(
    job: Job, sweep: Path, reuse_from: Path | None, known: dict[int, tuple[Parts, Taught]], common: set[str]
) -> Ready | None:
    """What is made of a job; None where its training has ended before, or an equal run lies there.

    Raises:
        Unstackable: it cannot learn at once with others.
    """
    spec = parse(own_config(job.cfg, job.overrides, sweep))
    common.add(common_settings(spec.config))
    if len(common) > 1:
        common.discard(common_settings(spec.config))
        raise Unstackable("its configuration differs in more than numbers")
    torch.set_num_threads(spec.threads)
    pl.seed_everything(spec.seed, verbose=False)
    result = Result(overrides=job.overrides, environment={"versions": {}})
    parts, taught = known.get(spec.seed, (None, None))
    parts = parts_of(spec, result, stacked=True, like=parts)
    spec = parts.spec
    if reason := alone_because(spec, parts):
        raise Unstackable(reason)
    evaluated = parts.data.eval_perturbations
    if reuse_from and result_cache.find_equal_run(reuse_from, sweep, result, evaluated):
        return None
    files = checkpoint_files(sweep / f"{FOLDER}{result.config_hash}", result, sweep.name)
    if files.has_end:
        return None
    if taught is None:
        taught = taught_for(spec, parts, result)
        untouched = independent_copy(taught.baseline.network)  # as a teacher it is frozen
        known[spec.seed] = parts, replace(taught, baseline=replace(taught.baseline, network=untouched))
        module = learner(spec, parts, taught)
    else:
        check_techniques(parts)
        module = learner(spec, parts, taught, carried=not parts.data.train.changes)  # type: ignore[attr-defined]
    optimization = identity.digest([spec.optimizer, spec.scheduler, vars(spec.trainer)])
    return Ready(job.number, spec, parts, Point(module, 0, files, optimization, spec.trainer.gradient_clip_val))


def fit_ready(ready: list[Ready], known: dict[int, tuple[Parts, Taught]]) -> None:
    """Trains them, those of one kind of optimization side by side."""
    ready.sort(key=lambda one: one.point.optimization)
    seeds = list(dict.fromkeys(one.spec.seed for one in ready))
    sources: list[Data] = [known[seed][0].data for seed in seeds]
    for one in ready:
        one.point.source = seeds.index(one.spec.seed)
    spec = ready[0].spec
    fit_stack([one.point for one in ready], sources, spec.trainer.max_epochs, devices.device(spec.device))


def alone_because(spec: RunSpec, parts: Parts) -> str | None:
    """Why a point cannot learn at once with others, or None."""
    trainer, distillation = spec.trainer, spec.distillation
    objective = parts.objective
    reasons = {
        "trainer.precision": trainer.precision != "32-true",
        "trainer.accumulate_grad_batches": trainer.accumulate_grad_batches != 1,
        "checkpoint=best": spec.checkpoint != "last",
        "callbacks": bool(spec.callbacks),
        f"optimizer._target_={spec.optimizer['_target_']}": spec.optimizer["_target_"] not in ELEMENTWISE,
        "several teachers, or some between baseline and student": distillation.ensemble > 1
        or len(distillation.checkpoints) > 1
        or bool(distillation.chain),
        "data of your own, or of sentences": not (isinstance(parts.data, ImageDataModule) and is_own(parts.data)),
        "kd: an objective other than kd=logit": objective is not None
        and (type(objective) is not Distillation or bool(objective.parts) or objective.noise is not None),
        "nothing that trains": objective is None and not any(one.trains for one in parts.techniques),
    }
    reasons |= {why: True for one in parts.techniques if (why := technique_reason(one))}
    return next((f"not at once with others: {what}" for what, holds in reasons.items() if holds), None)


def technique_reason(technique: Technique) -> str | None:
    """Why a technique cannot act on networks that learn at once, or None."""
    if type(technique) is Pruning:
        observes = isinstance(technique.criterion, ObservingCriterion)
        return "prune/criterion: one that observes gradients or inputs" if observes else None
    if type(technique) is QuantizationAwareTraining:
        return stacked_quantizers.mapping_obstacle(technique)
    return type(technique).__name__
