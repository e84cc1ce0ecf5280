"""What a run is made of: data, networks, baseline, module, each from its part of the configuration."""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from lcomp.config import identity, run_config
from lcomp.config.instantiation import build, find, names_of
from lcomp.data import content_hash, loaders
from lcomp.data.protocol import Data
from lcomp.errors import UserError
from lcomp.export.onnx_export import export
from lcomp.modules import BaselineModule, DistillationModule
from lcomp.modules.distillation import Objective
from lcomp.record.files import sha256
from lcomp.record.result import Curves
from lcomp.tasks import Task
from lcomp.techniques.distillation import Ensemble
from lcomp.techniques.technique import Technique
from lcomp.training import baseline_cache as baselines
from lcomp.training import devices, preflight
from lcomp.training.baseline_cache import Baseline
from lcomp.training.fit import Epochs, fit, load_checkpoint

log = logging.getLogger(__name__)
DATA_ATTRIBUTES = {"num_classes": "10", "input_shape": "(1, 28, 28)"}  # what a task may ask of them


def example_shape(task: Task) -> tuple[int, ...]:
    """Of the first input of one example."""
    return tuple(next(iter(task.example_inputs(1).values())).shape[1:])


def data_attribute(data: Data, key: str, name: str) -> Any:
    """What the data say of themselves.

    Raises:
        UserError: they do not, or it cannot be.
    """
    if not hasattr(data, key):
        raise UserError(f"{name}: give it an attribute {key}, such as {DATA_ATTRIBUTES[key]}")
    value = getattr(data, key)
    return loaders.number_of_classes(value, name) if key == "num_classes" else loaders.input_shape(value, name)


def make_techniques(cfg: DictConfig) -> tuple[Objective | None, list[Technique]]:
    """The distillation objective, if one was chosen, and the techniques of the other families."""
    objective = build(run_config.without(cfg.kd, *run_config.KD_RUN_KEYS), "kd") if cfg.kd else None
    return objective, [build(cfg[family], family) for family in ("prune", "quant") if cfg[family]]


def make_data(cfg: DictConfig) -> Data:
    """The DataModule, set up, with its task.

    Raises:
        UserError: a user's own does not say what the task asks of it (such as classes and a shape), or cannot be read.
    """
    data, name = build(cfg.data, "data"), f"data._target_={cfg.data._target_}"
    loaders.begin(data, name)
    task = make_task(cfg.task, data, name)
    return loaders.set_up(data, name, task)


def make_task(node: DictConfig, data: Data, name: str) -> Task:
    """The task, given what it asks of the data.

    Args:
        name: of the data in messages.
    """
    wanted = set(names_of(find(node._target_, "task._target_"))) & DATA_ATTRIBUTES.keys()
    made = build(node, "task", **{key: data_attribute(data, key, name) for key in sorted(wanted) if key not in node})
    if not isinstance(made, Task):
        raise UserError(f"task._target_={node._target_}: not a Task of lcomp.tasks")
    return made


def make_network(model: DictConfig, data: Data, seed: int) -> nn.Module:
    """The network of a model's YAML, its weights drawn from `seed`; the task says what its constructor is given."""
    torch.manual_seed(seed)
    network: nn.Module = build(model, "model", **data.task.arguments)
    if preflight.is_foreign(model) or not loaders.is_own(data):
        network = preflight.accept(network, f"model._target_={model._target_}", data)
    return network


def make_optimization(node: DictConfig, prefix: str = "") -> dict[str, Any]:
    """What a LightningModule takes of `node.trainer` and `node.optimizer`, whose own `lr` goes before the trainer's.

    Args:
        prefix: of `node` in the configuration, for messages.

    Raises:
        UserError: it is no optimizer, or its class refuses a value.
    """
    settings, key = run_config.without(node.trainer, "max_epochs"), f"{prefix}optimizer"
    given = {name: value for name, value in run_config.plain_dict(node.optimizer).items() if value is not None}
    rate = settings["learning_rate"] = given.pop("lr", settings["learning_rate"])
    made = build(given | {"_partial_": True}, key)
    try:
        tried = made([nn.Parameter(torch.zeros(1))], lr=rate)
    except Exception as error:  # whatever a user's constructor raises
        raise UserError(f"{key}: {given['_target_']} cannot be made ({type(error).__name__}: {error})") from error
    if not isinstance(tried, torch.optim.Optimizer) or "lr" not in tried.param_groups[0]:
        raise UserError(
            f"{key}._target_={given['_target_']}: must be a torch.optim.Optimizer with a learning rate, `lr`"
        )
    return settings | {"optimizer": made}


def check_objective(cfg: DictConfig, objective: Objective | None) -> None:
    """Raises UserError for an objective, or several teachers, for logits of classes, under a task of other outputs."""
    task = f"task._target_={cfg.task._target_}"
    if objective is None or getattr(find(cfg.task._target_, "task._target_"), "output", None) == "logits":
        return
    if getattr(objective, "reads", None) == "logits":
        raise UserError(
            f"kd._target_={cfg.kd._target_}: learns from logits of classes; {task} has other outputs: name an "
            "objective for these (kd._target_=package.Class)"
        )
    if cfg.kd.get("ensemble", 1) > 1 or len(teacher_paths(cfg)) > 1:
        raise UserError(
            f"kd.ensemble={cfg.kd.get('ensemble', 1)}: several teachers are joined by their softened logits; {task} "
            "has other outputs: name one teacher"
        )


def check_later_training(cfg: DictConfig, data: Data, student: nn.Module) -> None:
    """Raises UserError for an optimizer, or a network, that would train after the baseline and cannot, or cannot be
    exported."""
    make_optimization(cfg)
    for model in run_config.intermediate_models(cfg):
        preflight.try_export(make_network(model, data, cfg.seed), model, data)
    if (model := run_config.student_config(cfg)) != cfg.model:  # else the baseline is tried, before it trains
        preflight.try_export(student, model, data)


def make_baseline(cfg: DictConfig, data: Data, member: int = 0) -> Baseline:
    """The cached baseline of this model, data, training perturbation and seed, trained now if there is none.

    Args:
        member: of an ensemble: drawn from that many seeds further, on the same data.
    """
    perturbed = cfg.baseline.perturb is not None and cfg.baseline.perturb != cfg.perturb
    if perturbed:  # otherwise than what it teaches or becomes
        cfg = copy.deepcopy(cfg)
        cfg.perturb = cfg.baseline.perturb
    settings, dataset, seed = cfg.baseline.trainer, content_hash.dataset_record(data), cfg.seed + member
    defining = {
        "model": run_config.plain_dict(cfg.model),
        "trainer": run_config.plain_dict(settings),
        "optimizer": run_config.plain_dict(cfg.baseline.optimizer),
        "task": run_config.plain_dict(cfg.task),
        "data": run_config.training_data_settings(cfg),
        "dataset": dataset,
        "seed": seed,
        "threads": cfg.threads,
        "code": identity.code_hash([cfg.model, cfg.data, cfg.task, cfg.baseline.optimizer]),
    }
    if cfg.device != "cpu":
        defining["device"] = cfg.device
    name = identity.digest(defining)

    def train(network: nn.Module) -> Curves:
        preflight.try_export(network, cfg.model, data)
        log.info("training the baseline once (%d epochs); it is cached", settings.max_epochs)
        optimization = make_optimization(cfg.baseline, "baseline.")
        module, epochs = BaselineModule(network, **optimization, task=data.task), Epochs()
        source = make_data(cfg) if perturbed else data
        fit(module, source, settings.max_epochs, seed, cfg.progress, epochs, devices.device(cfg))
        return epochs.curves.columns

    def write(network: nn.Module, path: Path) -> None:
        export(network, path, data.task, name)

    return baselines.cached(Path(cfg.baseline.cache), name, make_network(cfg.model, data, seed), train, write)


def make_module(
    cfg: DictConfig,
    data: Data,
    network: nn.Module,
    teacher: nn.Module,
    objective: Objective | None,
    techniques: list[Technique],
) -> BaselineModule:
    """What trains `network`: on the labels, or under a teacher, whose outputs the data then carry where they can."""
    optimization = make_optimization(cfg) | {"task": data.task}
    if objective is None:
        return BaselineModule(network, techniques, **optimization)
    if target := getattr(objective, "module", None):  # of an objective that needs a LightningModule of its own
        settings = optimization | {"input_shape": example_shape(data.task), "seed": cfg.seed}
        own: BaselineModule = find(target, "kd.module")(network, teacher, objective, techniques, **settings)
        return own
    carried = False
    if not getattr(objective, "reads_features", False):
        with torch.no_grad():
            carried = data.carry_outputs(teacher.eval())
    settings = optimization | {"outputs_in_batch": carried, "input_shape": example_shape(data.task), "seed": cfg.seed}
    return DistillationModule(network, teacher, objective, techniques, **settings)


def teacher_paths(cfg: DictConfig) -> list[Path]:
    """The checkpoints that `kd.teacher` names: none, one, or a list of them."""
    named = OmegaConf.select(cfg, "kd.teacher")
    return [Path(path) for path in ([named] if isinstance(named, str) else named or [])]


def load_teacher(cfg: DictConfig, data: Data, objective: Objective | None) -> nn.Module | None:
    """The network of the checkpoint that `kd.teacher` names, several of them as one, or None."""
    try:
        networks = [load_checkpoint(path, make_network(cfg.model, data, cfg.seed)) for path in teacher_paths(cfg)]
    except UserError as error:
        raise UserError(f"kd.teacher: {error}") from error
    if len(networks) > 1:
        return Ensemble(networks, getattr(objective, "temperature", 1.0))
    return networks[0] if networks else None


def make_ensemble(
    cfg: DictConfig, data: Data, baseline: Baseline, objective: Objective | None
) -> tuple[nn.Module, list[str]]:
    """The baseline as a teacher, or `kd.ensemble` baselines together; with the identities of what teaches."""
    others = range(1, cfg.kd.get("ensemble", 1))
    members = [baseline, *(make_baseline(cfg, data, member) for member in others)]
    names = [member.folder.name for member in members]
    if not others:
        return baseline.network, names
    return Ensemble([member.network for member in members], getattr(objective, "temperature", 1.0)), names


def teacher_identity(cfg: DictConfig) -> str | list[str] | None:
    """The SHA-256 of each checkpoint that `kd.teacher` names, so that two files of one name are two experiments."""

    found = [sha256(path) for path in teacher_paths(cfg) if path.is_file()]
    return found if len(found) > 1 else found[0] if found else None
