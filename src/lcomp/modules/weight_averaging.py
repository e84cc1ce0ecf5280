"""An average of the weights that training goes through, which is what is validated, kept and exported."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from lcomp.errors import UserError
from lcomp.techniques.schedule import first_step_after, total_steps
from lcomp.techniques.technique import Technique, network_of

RUNNING = ("running_mean", "running_var")  # of a norm: they belong to the weights before it
LIVE = "weights_in_training"  # key of a checkpoint, whose `state_dict` has the average


class WeightAveraging(pl.Callback):
    """Averages what the optimizer moves in the network, step by step, and the running statistics of its norms.

    Masks, ranges and counters are none of it: they act on the average as they stand, so that sparsity and widths are
    those of the schedule. Validation sees the average, a checkpoint's `state_dict` is it, and training leaves it in the
    network in the end. Where techniques begin training anew (the lottery ticket), the average begins anew too.

    Args:
        decay: 0 to below 1: the average moves by 1 - decay to the weights of a step, faster in the first steps,
            whose number over 10 more is the highest decay (Polyak & Juditsky 1992; EMA). None: every step weighs
            alike (Izmailov et al. 2018; SWA).
        begin: the share of training, 0 to below 1, after which it begins.

    Raises:
        UserError: a value outside its range.
    """

    def __init__(self, decay: float | None = 0.999, begin: float = 0.0):
        if decay is not None and not 0 <= decay < 1:
            raise UserError(f"callbacks: decay={decay}: from 0 to below 1, 0.999 is usual; null: all steps weigh alike")
        if not 0 <= begin < 1:
            raise UserError(f"callbacks: begin={begin}: a share of training, from 0 to below 1")
        self.decay, self.begin = decay, begin
        self.average: dict[str, Tensor] = {}  # while it is in the network, the weights in training
        self.count = self.steps = self.restarts = 0  # averaged, seen, and begun anew
        self.exchanged = False

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
        if trainer.global_step == self.steps:  # several batches make a step
            return
        self.steps, total = trainer.global_step, total_steps(trainer)
        restarts = [first_step_after(share, total) for share in shares_of_restarts(trainer)]
        done = sum(step < self.steps for step in restarts)
        if done != self.restarts:
            self.restarts, self.count = done, 0
        if self.steps > first_step_after(self.begin, total):
            self.add(network_of(pl_module))

    @torch.no_grad()
    def add(self, network: nn.Module) -> None:
        """Takes the network's weights into the average."""
        current = dict(moving(network))
        if not self.count or current.keys() != self.average.keys():
            self.average, self.count = {name: value.detach().clone() for name, value in current.items()}, 1
            return
        weight = 1 / (self.count + 1)
        if self.decay is not None:
            weight = 1 - min(self.decay, (1 + self.count) / (10 + self.count))
        torch._foreach_lerp_(list(self.average.values()), list(current.values()), weight)
        self.count += 1

    @torch.no_grad()
    def exchange(self, pl_module: pl.LightningModule) -> None:
        """Puts the average into the network, and the weights in training in its place, or back."""
        for name, value in moving(network_of(pl_module)):
            if name in self.average:
                kept = value.clone()
                value.copy_(self.average[name])
                self.average[name].copy_(kept)
        self.exchanged = not self.exchanged

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.exchange(pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.exchange(pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.exchange(pl_module)
        self.average, self.count, self.exchanged = {}, 0, False

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count, "steps": self.steps, "restarts": self.restarts}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.count, self.steps, self.restarts = (state_dict[key] for key in ("count", "steps", "restarts"))

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        state, others = checkpoint["state_dict"], {prefix(pl_module) + n: v for n, v in self.average.items()}
        if self.average:
            checkpoint[LIVE] = others if self.exchanged else {name: state[name] for name in others}
            state.update({} if self.exchanged else others)

    @torch.no_grad()
    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """The module has the checkpoint's `state_dict`, the average, already."""
        if LIVE in checkpoint:
            for name, value in moving(network_of(pl_module)):
                self.average[name] = value.detach().clone()
                value.copy_(checkpoint[LIVE][prefix(pl_module) + name])


def moving(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """What is averaged, by name: parameters that learn, and running statistics."""
    yield from ((name, value) for name, value in network.named_parameters() if value.requires_grad)
    yield from ((n, v) for n, v in network.named_buffers() if n.rpartition(".")[2] in RUNNING)


def prefix(pl_module: pl.LightningModule) -> str:
    """Of a network's names in the module's state."""
    return "" if network_of(pl_module) is pl_module else "network."


def shares_of_restarts(trainer: pl.Trainer) -> set[float]:
    """Shares of training at which a technique begins it anew."""
    callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return {share for one in callbacks if isinstance(one, Technique) for share in one.restarts}
