"""Chains of teachers: assistants, and generations of a student, each cached, each taught by the one before."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from torch import nn

from lcomp.config import identity
from lcomp.config.run_spec import RunSpec
from lcomp.config.settings import Settings
from lcomp.data.protocol import Data
from lcomp.export import export
from lcomp.record.result import Curves
from lcomp.techniques.distillation.objective import Objective
from lcomp.training import baseline_cache as baselines
from lcomp.training import components, devices
from lcomp.training.baseline_cache import Baseline
from lcomp.training.epochs import Epochs
from lcomp.training.fit import fit
from lcomp.training.optimization import fit_settings

log = logging.getLogger(__name__)


def make_teacher(
    spec: RunSpec, data: Data, baseline: Baseline, loaded: nn.Module | None, objective: Objective | None
) -> tuple[nn.Module, list[Baseline]]:
    """What the student learns from, and the links before it.

    Args:
        loaded: the checkpoints that `kd.teacher` names; without them the baseline, or several, come first.
    """
    if loaded is not None:
        first, known = loaded, components.teacher_identity(spec.distillation.checkpoints)
    else:
        first, known = components.make_ensemble(spec, data, baseline, objective)
    chain = make_chain(spec, data, first, known, objective) if objective is not None else []
    return chain[-1].network if chain else first, chain


def make_chain(spec: RunSpec, data: Data, teacher: nn.Module, known: Any, objective: Objective) -> list[Baseline]:
    """The networks between `teacher` and the student, in their order (Mirzadeh et al. 2020; Furlanello et al. 2018).

    Each learns from the one before under the run's objective, with the run's trainer and without `prune` and `quant`,
    and is cached beside the baselines. Its weights are drawn from a seed of its own, so that a generation does not
    begin as the one before did.

    Args:
        teacher: the first one's.
        known: whatever the teacher's weights depend on, as JSON-like values.
    """
    links: list[Baseline] = []
    for seed, model in enumerate(spec.distillation.chain, spec.distillation.chain_seed):
        links.append(make_intermediate(spec, data, model, seed, teacher, known, objective))
        teacher, known = links[-1].network, links[-1].folder.name
    return links


def make_intermediate(
    spec: RunSpec, data: Data, model: Settings, seed: int, teacher: nn.Module, known: Any, objective: Objective
) -> Baseline:
    """The cached network of `model` that learned from `teacher`, trained now if there is none."""
    learns_from = spec.distillation.objective
    defining = components.training_identity(spec, data, spec) | {
        "model": model,
        "teacher": known,
        "objective": learns_from,
        "seed": [spec.seed, seed],
        "code": identity.code_hash(
            [model, spec.data, spec.task, learns_from, spec.optimizer, spec.scheduler, spec.callbacks]
        ),
    }
    name = identity.digest(defining)
    network = components.make_network(model, data, seed)

    def train(network: nn.Module) -> Curves:
        size = f"{sum(p.numel() for p in network.parameters()):,} parameters"
        log.info("training a teacher of the student once (%s, %d epochs); it is cached", size, spec.trainer.max_epochs)
        module, epochs = components.make_module(spec, data, network, teacher, objective, []), Epochs()
        device = devices.device(spec.device)
        checkpoints = components.cached_checkpoints(spec, name, spec.trainer.checkpoint_minutes)
        settings = fit_settings(spec, data.task.metric)
        asked = spec.trainer.max_epochs, spec.seed, spec.progress
        fit(module, data, *asked, epochs, device, checkpoints=checkpoints, **settings)
        return epochs.curves.columns

    def write(network: nn.Module, path: Path) -> None:
        export(network, path, data.task, name)

    return baselines.cached(spec.baseline.cache, name, network, train, write)
