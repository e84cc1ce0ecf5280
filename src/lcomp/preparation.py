"""What a run is made of before anything is trained, what tells it from others, and what then trains."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import nn

from lcomp.config import identity, run_config
from lcomp.config.run_spec import RunSpec
from lcomp.data import content_hash
from lcomp.data.protocol import Data
from lcomp.evaluation import corruptions, measurement
from lcomp.evaluation.comparison import make_runtime
from lcomp.evaluation.corruptions import Corruptions
from lcomp.modules import BaselineModule
from lcomp.record import log as log_names
from lcomp.record.environment import Environment, environment
from lcomp.record.result import Result
from lcomp.runtimes import Runtime
from lcomp.techniques.distillation.objective import Objective, check_task
from lcomp.techniques.parametrizations import independent_copy
from lcomp.techniques.technique import Technique
from lcomp.training import components, devices, speed, teacher_chain, weights_file
from lcomp.training.baseline_cache import Baseline


@dataclass(frozen=True)
class Parts:
    """What is made of a run's configuration; `student` is fresh.

    Attributes:
        spec: the run's, with what `speed=auto` chose.
    """

    spec: RunSpec
    objective: Objective | None
    techniques: list[Technique]
    data: Data
    student: nn.Module
    robustness: Corruptions | None
    runtime: Runtime


@dataclass(frozen=True)
class Taught:
    """Trained networks that a run begins with: its baseline, what teaches, and those between the two."""

    baseline: Baseline
    teacher: nn.Module
    chain: list[Baseline]


def parts_of(spec: RunSpec, result: Result, stacked: bool = False, like: Parts | None = None) -> Parts:
    """Makes a run's parts, and names what it is in `result`.

    Args:
        stacked: whether its network learns at once with others.
        like: the parts of another run, which differs in its techniques' and optimizer's numbers alone.
    """
    objective, techniques = components.make_techniques(spec)
    components.check_objective(spec, objective)
    if spec.baseline.weights is not None:
        weights_file.check_overrides(result.overrides)
    data = components.make_data(spec) if like is None else like.data
    spec = speed.with_speed(spec, data, lambda model: components.make_network(model, data, spec.seed))
    result.environment = environment_of(spec)
    if like is None:
        student = components.make_network(spec.distillation.student, data, spec.distillation.student_seed)
        robustness = corruptions.make_robustness(spec.robustness, data)
        parts = Parts(spec, objective, techniques, data, student, robustness, make_runtime(spec.runtime))
    else:
        student = independent_copy(like.student)
        parts = replace(like, spec=spec, objective=objective, techniques=techniques, student=student)
    result.environment["versions"] |= parts.runtime.versions()
    describe(spec, parts, result, stacked)
    return parts


def environment_of(spec: RunSpec) -> Environment:
    """Where the run's figures are measured, and what it trains in."""
    trainer, baseline = spec.trainer, spec.baseline.trainer
    return environment(
        spec.threads, devices.device(spec.device), trainer.precision, baseline.precision, trainer.memory_format
    )


def describe(spec: RunSpec, parts: Parts, result: Result, stacked: bool) -> None:
    """Names the data, the engine and the experiment in the record."""
    result.dataset, result.metric = content_hash.dataset_record(parts.data), parts.data.task.metric.record
    log_names.name_dataset(result.dataset["name"])
    defining = run_config.without(spec.config, "logger") | {
        "student": spec.distillation.student,
        "links": list(spec.distillation.chain),
        "teacher": components.teacher_identity(spec.distillation.checkpoints),
        "runtime_versions": parts.runtime.versions(),
        "mnist_c": parts.robustness.content if parts.robustness else None,  # of any corruptions, under its first name
        "stacked": stacked or None,
    }
    if spec.baseline.weights is not None:  # how it would be trained does not count
        defining["baseline"] = {"sha256": weights_file.weights_identity(spec.baseline.weights)}
    result.config_hash = identity.config_hash(defining, result.dataset["sha256"])
    result.code_hash = identity.code_hash(defining)


def taught_for(spec: RunSpec, parts: Parts, result: Result) -> Taught:
    """The networks that the run begins with, trained now where they are not cached; what could not train or be exported
    after them is refused first."""
    data, objective = parts.data, parts.objective
    check_techniques(parts)
    components.check_later_training(spec, data, parts.student, objective)
    loaded = components.load_teacher(spec, data, objective)
    baseline = components.make_baseline(spec, data)
    result.seconds["baseline"] = baseline.seconds
    teacher, chain = teacher_chain.make_teacher(spec, data, baseline, loaded, objective)
    if chain:
        result.seconds["assistants"] = sum(link.seconds for link in chain)
    return Taught(baseline, teacher, chain)


def check_techniques(parts: Parts) -> None:
    """Raises UserError where a technique cannot act on the student, or the objective cannot teach the task."""
    example = measurement.example_of(parts.data)
    for technique in parts.techniques:
        technique.check(parts.student, example)
    check_task(parts.objective, parts.data.task)


def learner(spec: RunSpec, parts: Parts, taught: Taught, carried: bool | None = None) -> BaselineModule:
    """What trains the run's network.

    Args:
        carried: whether batches have the teacher's outputs; None: they get them, where they can.
    """
    fresh = not spec.distillation.starts_from_baseline or any(one.starts_fresh for one in parts.techniques)
    network = parts.student if fresh else independent_copy(taught.baseline.network)
    made = parts.objective, parts.techniques, carried
    return components.make_module(spec, parts.data, network, taught.teacher, *made)
