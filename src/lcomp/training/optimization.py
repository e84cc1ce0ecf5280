"""What a fit is told of how a network learns: optimizer, scheduler, callbacks and the Trainer's settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint, StochasticWeightAveraging, WeightAveraging
from torch import nn
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from lcomp.config.instantiation import build, find, names_of
from lcomp.config.run_spec import TrainingSpec
from lcomp.config.settings import Settings
from lcomp.errors import UserError
from lcomp.modules import schedulers
from lcomp.modules.optimizers import OptimizerFactory
from lcomp.modules.schedulers import SchedulerFactory
from lcomp.modules.weight_averaging import WeightAveraging as AveragedWeights
from lcomp.record.metric import Metric

UNUSABLE = {  # Lightning's callbacks that a run has no place for, and what it has instead
    Checkpoint: "a run keeps its checkpoints itself; leave it out",
    StochasticWeightAveraging: "trains an epoch more, at rates of its own; callbacks=swa averages weights",
    WeightAveraging: "averages masks and ranges too; callbacks=ema averages what the optimizer moves",
}


def make_optimization(spec: TrainingSpec, prefix: str = "") -> dict[str, Any]:
    """What a LightningModule takes of how it learns. The optimizer's own `lr` goes before the trainer's.

    Args:
        prefix: of keys in messages, such as `baseline.`.

    Raises:
        UserError: the optimizer or the scheduler is none, its class refuses a value, or it cannot be used as is asked.
    """
    given = {name: value for name, value in spec.optimizer.items() if value is not None}
    trainer, rate = spec.trainer, given.pop("lr", spec.trainer.learning_rate)
    made = build(given | {"_partial_": True}, f"{prefix}optimizer")
    tried = tried_optimizer(made, rate, f"{prefix}optimizer", str(given["_target_"]))
    fused = getattr(tried, "_step_supports_amp_scaling", False)
    if trainer.gradient_clip_val and trainer.precision != "32-true" and fused:
        raise UserError(
            f"{prefix}trainer.gradient_clip_val={trainer.gradient_clip_val}: with {prefix}trainer.precision="
            f"{trainer.precision} a fused optimizer's gradients cannot be clipped; write {prefix}optimizer.fused=false"
        )
    optimization = {"learning_rate": rate, "schedule": trainer.schedule, "warmup": trainer.warmup, "optimizer": made}
    if not spec.scheduler:
        return optimization
    return optimization | {"scheduler": make_scheduler(spec.scheduler, tried, f"{prefix}scheduler")}


def tried_optimizer(made: OptimizerFactory, rate: Any, key: str, target: str) -> torch.optim.Optimizer:
    """The optimizer of one weight.

    Raises:
        UserError: it is none, or its class refuses a value.
    """
    try:
        tried = made([nn.Parameter(torch.zeros(2, 2)), nn.Parameter(torch.zeros(1))], lr=rate)
    except Exception as error:  # whatever a user's constructor raises
        raise UserError(f"{key}: {target} cannot be made ({type(error).__name__}: {error})") from error
    if not isinstance(tried, torch.optim.Optimizer) or "lr" not in tried.param_groups[0]:
        raise UserError(f"{key}._target_={target}: must be a torch.optim.Optimizer with a learning rate, `lr`")
    return tried


def make_scheduler(settings: Settings, optimizer: torch.optim.Optimizer, key: str) -> SchedulerFactory:
    """What makes the scheduler of an optimizer; tried on one.

    Args:
        key: in messages.

    Raises:
        UserError: it is no scheduler, steps otherwise than the optimizer does, or its class refuses a value.
    """
    if "_target_" not in settings:
        raise UserError(
            f"{key}.{next(iter(settings))}: set, but no scheduler is chosen; name one, such as {key}=cosine"
        )
    target = str(settings["_target_"])
    names = [name for name in names_of(find(target, f"{key}._target_")) if name not in settings]
    made = build({**settings, "_partial_": True}, key)

    def scheduler(optimizer: torch.optim.Optimizer, total_steps: int) -> LRScheduler:
        found: LRScheduler = made(optimizer, **schedulers.arguments(names, optimizer, total_steps))
        return found

    try:
        tried = scheduler(optimizer, 100)
    except UserError:
        raise
    except Exception as error:  # whatever a user's constructor raises
        raise UserError(f"{key}: {target} cannot be made ({type(error).__name__}: {error})") from error
    if not isinstance(tried, LRScheduler):
        raise UserError(f"{key}._target_={target}: must be a torch.optim.lr_scheduler.LRScheduler")
    if isinstance(tried, ReduceLROnPlateau):
        raise UserError(
            f"{key}._target_={target}: waits for a metric; schedulers step with the optimizer here: name one whose "
            "rate depends on the step alone"
        )
    return scheduler


def make_callbacks(settings: Settings, metric: Metric, key: str = "callbacks") -> list[pl.Callback]:
    """Fresh callbacks for one fit; those that take `monitor` and `mode` are told the task's metric on validation.

    Args:
        key: in messages.

    Raises:
        UserError: one is no callback of Lightning's, is of no use here, or its class refuses a value.
    """
    found: list[pl.Callback] = []
    judged = {"monitor": metric.validation, "mode": "max" if metric.higher_is_better else "min"}
    for name, node in settings.items():
        if not isinstance(node, Mapping):
            raise UserError(
                f"{key}.{name}={node}: a callback has a name of its own: {key}: {{mine: {{_target_: ...}}}}"
            )
        callback = build(node, f"{key}.{name}", **judged)
        if not isinstance(callback, pl.Callback):
            raise UserError(f"{key}.{name}._target_={node['_target_']}: must be a pytorch_lightning.Callback")
        for kind, advice in UNUSABLE.items():
            if isinstance(callback, kind):
                raise UserError(f"{key}.{name}._target_={node['_target_']}: {advice}")
        found.append(callback)
    averages = [name for name, one in zip(settings, found, strict=True) if isinstance(one, AveragedWeights)]
    if len(averages) > 1:
        raise UserError(f"{key}=[{','.join(averages)}]: a network has one average of its weights; leave one out")
    return found


def fit_settings(spec: TrainingSpec, metric: Metric, key: str = "callbacks") -> dict[str, Any]:
    """What `fit` takes beside the module: the Trainer's settings, and fresh callbacks."""
    trainer = spec.trainer
    return {
        "callbacks": make_callbacks(spec.callbacks, metric, key),
        "gradient_clip_val": trainer.gradient_clip_val,
        "accumulate_grad_batches": trainer.accumulate_grad_batches,
        "precision": trainer.precision,
        "memory_format": trainer.memory_format,
    }
