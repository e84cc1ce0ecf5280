"""What a run is made of: data, networks, baseline, module, each from its part of the configuration."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lcomp.config import identity
from lcomp.config.instantiation import build, find, names_of
from lcomp.config.run_config import without
from lcomp.config.run_spec import RunSpec, TrainingSpec
from lcomp.config.settings import Settings
from lcomp.data import content_hash, loaders
from lcomp.data.protocol import Data
from lcomp.errors import UserError
from lcomp.export.onnx_export import export
from lcomp.modules import BaselineModule, DistillationModule
from lcomp.modules.distillation import example_of
from lcomp.record.files import sha256
from lcomp.record.result import Curves
from lcomp.tasks import Task
from lcomp.techniques.distillation import Distillation, Ensemble
from lcomp.techniques.distillation.objective import Objective, needs_of
from lcomp.techniques.technique import Technique
from lcomp.training import baseline_cache as baselines
from lcomp.training import devices, preflight, random_states
from lcomp.training.baseline_cache import Baseline
from lcomp.training.checkpoint_files import FOLDER as CHECKPOINTS
from lcomp.training.checkpoint_files import CheckpointFiles
from lcomp.training.epochs import Epochs
from lcomp.training.fit import fit
from lcomp.training.optimization import fit_settings, make_callbacks, make_optimization
from lcomp.training.weights_file import load_weights, weights_identity

log = logging.getLogger(__name__)
WITHOUT_EFFECT_ON_WEIGHTS = ("root", "download", "dataset", "eval_perturbations", "mnist_c_root", "cache", "cache_gb")
DATA_ATTRIBUTES = {  # what a task may ask of them
    "num_classes": "10",
    "input_shape": "(1, 28, 28)",
    "vocab_size": "30522",
    "max_length": "128",
}
STATISTICS = ("mean", "std")  # of each channel, which a task is given where the data have them


def example_shape(task: Task) -> tuple[int, ...]:
    """Of the first input of one example."""
    return tuple(next(iter(task.example_inputs(1).values())).shape[1:])


def target(settings: Settings) -> str:
    """What the settings make, as the configuration names it."""
    return str(settings.get("_target_"))


def data_attribute(data: Data, key: str, name: str) -> Any:
    """What the data say of themselves.

    Raises:
        UserError: they do not, or it cannot be.
    """
    if not hasattr(data, key):
        raise UserError(f"{name}: give it an attribute {key}, such as {DATA_ATTRIBUTES[key]}")
    value = getattr(data, key)
    if key == "input_shape":
        return loaders.input_shape(value, name)
    return loaders.number_of_classes(value, name) if key == "num_classes" else loaders.count_of(value, key, name)


def make_techniques(spec: RunSpec) -> tuple[Objective | None, list[Technique]]:
    """The distillation objective, if one was chosen, and the techniques of the other families."""
    families = {"prune": spec.prune, "quant": spec.quant}
    objective = build(spec.distillation.objective, "kd") if spec.distillation.objective else None
    return objective, [build(settings, family) for family, settings in families.items() if settings]


def make_data(spec: RunSpec) -> Data:
    """The DataModule, set up, with its task.

    Raises:
        UserError: a user's own does not say what the task asks of it (such as classes and a shape), or cannot be read.
    """
    data, name = build(spec.data, "data"), f"data._target_={spec.data['_target_']}"
    loaders.begin(data, name)
    task = make_task(spec.task, data, name)
    ready = loaders.set_up(data, name, task)
    random_states.remember(ready)
    return ready


def make_task(settings: Settings, data: Data, name: str) -> Task:
    """The task, given what it asks of the data.

    Args:
        name: of the data in messages.
    """
    names = set(names_of(find(target(settings), "task._target_"))) - settings.keys()
    given = {key: data_attribute(data, key, name) for key in sorted(names & DATA_ATTRIBUTES.keys())}
    if "input_shape" in given:
        of_channels = {key: getattr(data, key, None) for key in STATISTICS if key in names}
        given |= loaders.statistics(of_channels, given["input_shape"], name)
    if "decode" in names and hasattr(data, "decode"):
        given["decode"] = data.decode
    made = build(settings, "task", **given)
    if not isinstance(made, Task):
        raise UserError(f"task._target_={target(settings)}: not a Task of lcomp.tasks")
    return made


def make_network(model: Settings, data: Data, seed: int) -> nn.Module:
    """The network of a model's settings, its weights drawn from `seed`; the task says what its constructor is given."""
    torch.manual_seed(seed)
    network: nn.Module = build(model, "model", **data.task.arguments)
    if preflight.is_foreign(model) or not loaders.is_own(data):
        network = preflight.accept(network, f"model._target_={target(model)}", data)
    preflight.check_arguments(network, f"model._target_={target(model)}", data.task)
    return network


def check_objective(spec: RunSpec, objective: Objective | None) -> None:
    """Raises UserError for an objective, or several teachers, for logits of classes, under a task of other outputs."""
    task = f"task._target_={target(spec.task)}"
    if objective is None or getattr(find(target(spec.task), "task._target_"), "output", None) == "logits":
        return
    if needs_of(objective).reads == "logits":
        raise UserError(
            f"kd._target_={target(spec.distillation.objective)}: learns from logits of classes; {task} has "
            "other outputs: name an objective for these (kd._target_=package.Class)"
        )
    if spec.distillation.ensemble > 1 or len(spec.distillation.checkpoints) > 1:
        raise UserError(
            f"kd.ensemble={spec.distillation.ensemble}: several teachers are joined by their softened logits; {task} "
            "has other outputs: name one teacher"
        )


def check_later_training(spec: RunSpec, data: Data, student: nn.Module, objective: Objective | None) -> None:
    """Raises UserError for an optimizer, a network or an objective that would train after the baseline and cannot, or
    a network that cannot be exported."""
    make_optimization(spec)
    make_callbacks(spec.callbacks, data.task.metric)
    between = [make_network(model, data, spec.seed) for model in spec.distillation.chain]
    for network, model in zip(between, spec.distillation.chain, strict=True):
        preflight.try_export(network, model, data)
    if isinstance(objective, Distillation) and objective.parts:
        count = max(spec.distillation.ensemble, len(spec.distillation.checkpoints))
        first = [make_network(spec.model, data, spec.seed) for _ in range(count)]
        teacher = first[0] if count == 1 else Ensemble(first, needs_of(objective).temperature)
        labels = data.carry_indices() if objective.reads_indices else None
        for one, other in pairwise([teacher, *between, student]):
            objective.prepare(other, one, example_shape(data.task), spec.seed, labels, example_of(data.task))
    if (model := spec.distillation.student) != spec.model:  # else the baseline is tried, before it trains
        preflight.try_export(student, model, data)


def make_baseline(spec: RunSpec, data: Data, member: int = 0) -> Baseline:
    """The cached baseline of this model, data, training perturbation and seed, trained now if there is none; or the
    one whose weights `baseline.weights` names.

    Args:
        member: of an ensemble: drawn from that many seeds further, on the same data.
    """
    if spec.baseline.weights is not None:
        return read_baseline(spec, data, spec.baseline.weights)
    training, seed, trained_on = spec.baseline, spec.seed + member, replace(spec, data=spec.baseline.data)
    defining = training_identity(trained_on, data, training) | {"model": spec.model, "seed": seed}
    code = [spec.model, spec.data, spec.task, training.optimizer, training.scheduler, training.callbacks]
    name = identity.digest(defining | {"code": identity.code_hash(code)})

    def train(network: nn.Module) -> Curves:
        preflight.try_export(network, spec.model, data)
        log.info("training the baseline once (%d epochs); it is cached", training.trainer.max_epochs)
        settings = fit_settings(training, data.task.metric, "baseline.callbacks")
        module, epochs = BaselineModule(network, **make_optimization(training, "baseline."), task=data.task), Epochs()
        source = data if trained_on.data == spec.data else make_data(trained_on)
        asked, device = (training.trainer.max_epochs, seed, spec.progress), devices.device(spec.device)
        checkpoints = cached_checkpoints(spec, name, training.trainer.checkpoint_minutes)
        fit(module, source, *asked, epochs, device, checkpoints=checkpoints, **settings)
        return epochs.curves.columns

    def write(network: nn.Module, path: Path) -> None:
        export(network, path, data.task, name)

    network = make_network(spec.model, data, seed)
    return baselines.cached(spec.baseline.cache, name, network, train, write)


def cached_checkpoints(spec: RunSpec, name: str, minutes: float | None) -> CheckpointFiles:
    """Where the training of a network that is cached under that name leaves checkpoints."""
    return CheckpointFiles(spec.baseline.cache / name / CHECKPOINTS, name, minutes)


def read_baseline(spec: RunSpec, data: Data, path: Path) -> Baseline:
    """The baseline with the weights of a file; what the file holds, the model and the data tell it from others."""
    defining = {"weights": weights_identity(path), "model": spec.model, "task": spec.task}
    defining |= {"data": without(spec.data, *WITHOUT_EFFECT_ON_WEIGHTS), "dataset": content_hash.dataset_record(data)}
    name = identity.digest(defining | {"code": identity.code_hash([spec.model, spec.data, spec.task])})

    def load(network: nn.Module) -> Curves:
        try:
            load_weights(path, network)
        except UserError as error:
            raise UserError(f"baseline.weights={error}") from error
        preflight.try_export(network, spec.model, data)
        return {}

    def write(network: nn.Module, artifact: Path) -> None:
        export(network, artifact, data.task, name)

    return baselines.cached(spec.baseline.cache, name, make_network(spec.model, data, spec.seed), load, write)


def training_identity(spec: RunSpec, data: Data, training: TrainingSpec) -> dict[str, Any]:
    """What the weights of any network depend on that is trained so, as JSON-like values."""
    defining = {
        "trainer": without(vars(training.trainer), "checkpoint_minutes"),
        "optimizer": training.optimizer,
        "scheduler": training.scheduler,
        "callbacks": training.callbacks,
        "task": spec.task,
        "data": without(spec.data, *WITHOUT_EFFECT_ON_WEIGHTS),
        "dataset": content_hash.dataset_record(data),
        "threads": spec.threads,
    }
    return defining if spec.device == "cpu" else defining | {"device": spec.device}


def make_module(
    spec: RunSpec,
    data: Data,
    network: nn.Module,
    teacher: nn.Module,
    objective: Objective | None,
    techniques: list[Technique],
    carried: bool | None = None,
) -> BaselineModule:
    """What trains `network`: on the labels, or under a teacher, whose outputs the data then carry where they can.

    Args:
        carried: whether they do already; None: they are asked to.
    """
    optimization = make_optimization(spec) | {"task": data.task}
    if objective is None:
        return BaselineModule(network, techniques, **optimization)
    if target := needs_of(objective).module:  # of an objective that needs a LightningModule of its own
        settings = optimization | {"input_shape": example_shape(data.task), "seed": spec.seed}
        own: BaselineModule = find(target, "kd.module")(network, teacher, objective, techniques, **settings)
        return own
    labels = data.carry_indices() if needs_of(objective).reads_indices else None
    if carried is None and labels is None and not needs_of(objective).reads_features:
        with torch.no_grad():
            carried = data.carry_outputs(teacher.eval())
    settings = optimization | {"input_shape": example_shape(data.task), "seed": spec.seed, "labels": labels}
    return DistillationModule(network, teacher, objective, techniques, **settings, outputs_in_batch=bool(carried))


def load_teacher(spec: RunSpec, data: Data, objective: Objective | None) -> nn.Module | None:
    """The network of the file of weights that `kd.teacher` names, several of them as one, or None."""
    try:
        paths = spec.distillation.checkpoints
        networks = [load_weights(path, make_network(spec.model, data, spec.seed)) for path in paths]
    except UserError as error:
        raise UserError(f"kd.teacher: {error}") from error
    if len(networks) > 1:
        return Ensemble(networks, needs_of(objective).temperature)
    return networks[0] if networks else None


def make_ensemble(
    spec: RunSpec, data: Data, baseline: Baseline, objective: Objective | None
) -> tuple[nn.Module, list[str]]:
    """The baseline as a teacher, or `kd.ensemble` baselines together; with the identities of what teaches."""
    others = range(1, spec.distillation.ensemble)
    members = [baseline, *(make_baseline(spec, data, member) for member in others)]
    names = [member.folder.name for member in members]
    if not others:
        return baseline.network, names
    return Ensemble([member.network for member in members], needs_of(objective).temperature), names


def teacher_identity(paths: Sequence[Path]) -> str | list[str] | None:
    """The SHA-256 of each checkpoint of a teacher, so that two files of one name are two experiments."""
    found = [sha256(path) for path in paths if path.is_file()]
    return found if len(found) > 1 else found[0] if found else None
