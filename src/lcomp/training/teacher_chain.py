"""Chains of teachers: assistants, and generations of a student, each cached, each taught by the one before."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from torch import nn

from lcomp.config import identity, run_config
from lcomp.data import content_hash
from lcomp.data.protocol import Data
from lcomp.export import export
from lcomp.record.result import Curves
from lcomp.techniques.distillation.objective import Objective
from lcomp.training import baseline_cache as baselines
from lcomp.training import components, devices
from lcomp.training.baseline_cache import Baseline
from lcomp.training.fit import Epochs, fit

log = logging.getLogger(__name__)


def make_teacher(
    cfg: DictConfig, data: Data, baseline: Baseline, loaded: nn.Module | None, objective: Objective | None
) -> tuple[nn.Module, list[Baseline]]:
    """What the student learns from, and the links before it.

    Args:
        loaded: the checkpoints that `kd.teacher` names; without them the baseline, or several, come first.
    """
    if loaded is not None:
        first, known = loaded, components.teacher_identity(cfg)
    else:
        first, known = components.make_ensemble(cfg, data, baseline, objective)
    chain = make_chain(cfg, data, first, known, objective) if objective is not None else []
    return chain[-1].network if chain else first, chain


def make_chain(cfg: DictConfig, data: Data, teacher: nn.Module, known: Any, objective: Objective) -> list[Baseline]:
    """The networks between `teacher` and the student, in their order (Mirzadeh et al. 2020; Furlanello et al. 2018).

    Each learns from the one before under the run's objective, with the run's trainer and without `prune` and `quant`,
    and is cached beside the baselines. Its weights are drawn from a seed of its own, so that a generation does not
    begin as the one before did.

    Args:
        teacher: the first one's.
        known: whatever the teacher's weights depend on, as JSON-like values.
    """
    links: list[Baseline] = []
    for place, model in enumerate(run_config.intermediate_models(cfg)):
        links.append(make_intermediate(cfg, data, model, first_seed(cfg) + place, teacher, known, objective))
        teacher, known = links[-1].network, links[-1].folder.name
    return links


def make_intermediate(
    cfg: DictConfig, data: Data, model: DictConfig, seed: int, teacher: nn.Module, known: Any, objective: Objective
) -> Baseline:
    """The cached network of `model` that learned from `teacher`, trained now if there is none."""
    defining = {
        "model": run_config.plain_dict(model),
        "teacher": known,
        "objective": run_config.without(cfg.kd, *run_config.KD_RUN_KEYS),
        "trainer": run_config.plain_dict(cfg.trainer),
        "optimizer": run_config.plain_dict(cfg.optimizer),
        "task": run_config.plain_dict(cfg.task),
        "data": run_config.training_data_settings(cfg),
        "dataset": content_hash.dataset_record(data),
        "seed": [cfg.seed, seed],
        "threads": cfg.threads,
        "code": identity.code_hash([model, cfg.data, cfg.task, cfg.kd, cfg.optimizer]),
    }
    if cfg.device != "cpu":
        defining["device"] = cfg.device
    name = identity.digest(defining)
    network = components.make_network(model, data, seed)

    def train(network: nn.Module) -> Curves:
        size = f"{sum(p.numel() for p in network.parameters()):,} parameters"
        log.info("training a teacher of the student once (%s, %d epochs); it is cached", size, cfg.trainer.max_epochs)
        module, epochs = components.make_module(cfg, data, network, teacher, objective, []), Epochs()
        fit(module, data, cfg.trainer.max_epochs, cfg.seed, cfg.progress, epochs, devices.device(cfg))
        return epochs.curves.columns

    def write(network: nn.Module, path: Path) -> None:
        export(network, path, data.task, name)

    return baselines.cached(Path(cfg.baseline.cache), name, network, train, write)


def first_seed(cfg: DictConfig) -> int:
    """The seed of the first link's weights: the one after those of the baselines."""
    return int(cfg.seed) + int(cfg.kd.get("ensemble", 1))


def student_seed(cfg: DictConfig) -> int:
    """The seed of the student's weights: the run's, or, of another one of the baseline's own kind, that after the
    last link's."""
    again = cfg.kd.get("student") == "fresh" or cfg.kd.get("generations", 1) > 1
    return first_seed(cfg) + len(run_config.intermediate_models(cfg)) if again else int(cfg.seed)
