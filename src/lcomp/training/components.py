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
from lcomp.config.instantiation import build, find
from lcomp.data import content_hash, loaders
from lcomp.errors import UserError
from lcomp.export.onnx_export import export
from lcomp.modules import BaselineModule, DistillationModule
from lcomp.modules.distillation import Objective
from lcomp.record.files import sha256
from lcomp.record.result import Curves
from lcomp.techniques.distillation import Ensemble
from lcomp.techniques.technique import Technique
from lcomp.training import baseline_cache as baselines
from lcomp.training import devices, preflight
from lcomp.training.baseline_cache import Baseline
from lcomp.training.fit import Epochs, fit, load_checkpoint

log = logging.getLogger(__name__)


def make_techniques(cfg: DictConfig) -> tuple[Objective | None, list[Technique]]:
    """The distillation objective, if one was chosen, and the techniques of the other families."""
    objective = build(run_config.without(cfg.kd, *run_config.KD_RUN_KEYS), "kd") if cfg.kd else None
    return objective, [build(cfg[family], family) for family in ("prune", "quant") if cfg[family]]


def make_data(cfg: DictConfig) -> Any:
    """The DataModule, set up.

    Raises:
        UserError: a user's own does not say how many classes there are or how an image is shaped, or cannot be read.
    """
    return loaders.set_up(build(cfg.data, "data"), f"data._target_={cfg.data._target_}")


def make_network(model: DictConfig, data: Any, seed: int) -> nn.Module:
    """The network of a model's YAML, its weights drawn from `seed`; classes and input shape come from the data."""
    torch.manual_seed(seed)
    network: nn.Module = build(model, "model", num_classes=data.num_classes, input_shape=list(data.input_shape))
    if preflight.is_foreign(model) or not loaders.is_own(data):
        network = preflight.accept(network, f"model._target_={model._target_}", data)
    return network


def check_models(cfg: DictConfig, data: Any, student: nn.Module) -> None:
    """Raises UserError for a network that would train after the baseline and fails, or cannot be exported."""
    for model in run_config.links(cfg):
        preflight.try_export(make_network(model, data, cfg.seed), model, data)
    if (model := run_config.student(cfg)) != cfg.model:  # else the baseline is tried, before it trains
        preflight.try_export(student, model, data)


def make_baseline(cfg: DictConfig, data: Any, member: int = 0) -> Baseline:
    """The cached baseline of this model, data, training perturbation and seed, trained now if there is none.

    Args:
        member: of an ensemble: drawn from that many seeds further, on the same data.
    """
    perturbed = cfg.baseline.perturb is not None and cfg.baseline.perturb != cfg.perturb
    if perturbed:  # otherwise than what it teaches or becomes
        cfg = copy.deepcopy(cfg)
        cfg.perturb = cfg.baseline.perturb
    settings, dataset, seed = cfg.baseline.trainer, content_hash.dataset(data), cfg.seed + member
    defining = {
        "model": run_config.plain(cfg.model),
        "trainer": run_config.plain(settings),
        "data": run_config.learned(cfg),
        "dataset": dataset,
        "seed": seed,
        "threads": cfg.threads,
        "code": identity.code_hash([cfg.model, cfg.data]),
    }
    if cfg.device != "cpu":
        defining["device"] = cfg.device
    name = identity.digest(defining)

    def train(network: nn.Module) -> Curves:
        preflight.try_export(network, cfg.model, data)
        log.info("training the baseline once (%d epochs); it is cached", settings.max_epochs)
        module, epochs = BaselineModule(network, **run_config.without(settings, "max_epochs")), Epochs()
        images = make_data(cfg) if perturbed else data
        fit(module, images, settings.max_epochs, seed, cfg.progress, epochs, devices.device(cfg))
        return epochs.curves.columns

    def write(network: nn.Module, path: Path) -> None:
        export(network, path, data.input_shape, data.num_classes, name)

    return baselines.cached(Path(cfg.baseline.cache), name, make_network(cfg.model, data, seed), train, write)


def make_module(
    cfg: DictConfig,
    data: Any,
    network: nn.Module,
    teacher: nn.Module,
    objective: Objective | None,
    techniques: list[Technique],
) -> BaselineModule:
    """What trains `network`: on the labels, or under a teacher, whose logits the data then carry where they can."""
    optimization = run_config.without(cfg.trainer, "max_epochs")
    if objective is None:
        return BaselineModule(network, techniques, **optimization)
    if target := getattr(objective, "module", None):  # of an objective that needs a LightningModule of its own
        settings = optimization | {"input_shape": data.input_shape, "seed": cfg.seed}
        own: BaselineModule = find(target, "kd.module")(network, teacher, objective, techniques, **settings)
        return own
    carried = False
    if hasattr(data, "carry_logits") and not getattr(objective, "reads_features", False):
        with torch.no_grad():
            carried = data.carry_logits(teacher.eval())
    settings = optimization | {"logits_in_batch": carried, "input_shape": data.input_shape, "seed": cfg.seed}
    return DistillationModule(network, teacher, objective, techniques, **settings)


def teacher_paths(cfg: DictConfig) -> list[Path]:
    """The checkpoints that `kd.teacher` names: none, one, or a list of them."""
    named = OmegaConf.select(cfg, "kd.teacher")
    return [Path(path) for path in ([named] if isinstance(named, str) else named or [])]


def load_teacher(cfg: DictConfig, data: Any, objective: Objective | None) -> nn.Module | None:
    """The network of the checkpoint that `kd.teacher` names, several of them as one, or None."""
    try:
        networks = [load_checkpoint(path, make_network(cfg.model, data, cfg.seed)) for path in teacher_paths(cfg)]
    except UserError as error:
        raise UserError(f"kd.teacher: {error}") from error
    if len(networks) > 1:
        return Ensemble(networks, getattr(objective, "temperature", 1.0))
    return networks[0] if networks else None


def make_ensemble(
    cfg: DictConfig, data: Any, baseline: Baseline, objective: Objective | None
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
