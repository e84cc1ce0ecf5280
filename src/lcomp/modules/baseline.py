"""Supervised training, carrying any techniques."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lcomp.errors import UserError, validate_choice
from lcomp.techniques.schedule import Window, total_steps, warn_of_short
from lcomp.techniques.technique import Technique, finalize


class BaselineModule(pl.LightningModule):
    """Trains `network` on cross-entropy with Adam; its techniques reach the Trainer as callbacks.

    Args:
        network: pixels (N, C, H, W) to logits (N, classes).
        techniques: callbacks that constrain the network while it learns.
        learning_rate: Adam's, above 0.
        schedule: of the learning rate, `constant` or `cosine` (falls to 0 over training; Loshchilov & Hutter 2017).
        warmup: share of training, 0 to below 1, over which the rate first rises in a line (Goyal et al. 2017); a rate
            that is high from the first step silences ReLUs for good.

    Raises:
        UserError: another schedule, or a warm-up outside its range.
    """

    def __init__(
        self,
        network: nn.Module,
        techniques: Sequence[Technique] = (),
        learning_rate: float = 1e-3,
        schedule: str = "constant",
        warmup: float = 0.0,
    ):
        super().__init__()
        validate_choice("trainer.schedule", schedule, ("constant", "cosine"))
        if not 0 <= warmup < 1:
            raise UserError(f"trainer.warmup={warmup}: a share of training, from 0 to below 1")
        self.network, self.learning_rate, self.schedule, self.warmup = network, learning_rate, schedule, warmup
        self._losses: list[tuple[Tensor, int]] = []  # of this epoch's batches, with their lengths
        self.techniques = sorted(techniques, key=lambda technique: technique.stage)

    def configure_callbacks(self) -> list[pl.Callback]:
        return list(self.techniques)

    def finalize(self, calibration: Iterable[Tensor] = ()) -> nn.Module:
        """The network as it is deployed: masks baked, weights integers.

        Args:
            calibration: batches of training pixels, for the techniques that observe ranges after training.
        """
        self.network = finalize(self.network, self.techniques, calibration)
        return self.network

    def batches(self, data: Any) -> Iterable[Any]:
        """The batches of one epoch of training: those of the DataModule, unless a subclass makes its own."""
        return data.train_dataloader()  # type: ignore[no-any-return]

    def calibration(self, data: Any) -> Iterable[Tensor]:
        """Pixels of the training batches, for `finalize`."""
        return (self.pixels(batch) for batch in self.batches(data))

    def pixels(self, batch: Sequence[Tensor]) -> Tensor:
        """What the network sees of a training batch, (N, C, H, W)."""
        return batch[0]

    def parameter_groups(self) -> Any:
        """What Adam moves: parameters, or groups of them with learning rates of their own."""
        return self.parameters()

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameter_groups(), lr=self.learning_rate, fused=True)
        if self.schedule == "constant" and not self.warmup:
            return optimizer
        total = total_steps(self.trainer)
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: self.share_of_rate(step / total, 1 / total)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_train_start(self) -> None:
        warn_of_short(self.windows(), self.trainer)

    def windows(self) -> list[Window]:
        """In which parts of training something acts that is no technique; a part between two restarts has its own."""
        ends = sorted({0.0, 1.0, *(share for technique in self.techniques for share in technique.restarts)})
        shortest = min(end - begin for begin, end in pairwise(ends))
        otherwise = "the learning rate does not rise step by step"
        rise = Window(f"trainer.warmup={self.warmup:.3g}", 0.0, self.warmup * shortest, 2, otherwise)
        return [rise] if self.warmup else []

    def share_of_rate(self, progress: float, step: float) -> float:
        """The learning rate as a share of its highest, 0 to 1, after `progress` of training; a step is `step` of it.

        Where techniques ask for restarts, each part of training between them has the whole schedule.
        """
        restarts = [share for technique in self.techniques for share in technique.restarts]
        begin = max((share for share in restarts if share <= progress), default=0.0)
        end = min((share for share in restarts if share > progress), default=1.0)
        progress, step = (progress - begin) / (end - begin), step / (end - begin)
        rise = min(1.0, (progress + step) / self.warmup) if self.warmup else 1.0
        return rise * (0.5 * (1 + math.cos(math.pi * progress)) if self.schedule == "cosine" else 1.0)

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)  # type: ignore[no-any-return]

    def loss(self, x: Tensor, labels: Tensor, *extra: Tensor) -> Tensor:
        """The training loss of one batch; `extra` is whatever else the DataModule gives per example."""
        return F.cross_entropy(self.network(x), labels)

    def training_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> Tensor:
        loss = self.loss(*batch)
        self._losses.append((loss.detach(), len(batch[1])))  # logging each step takes a tenth of a small network's
        return loss

    def on_train_epoch_start(self) -> None:
        self._losses.clear()

    def on_train_epoch_end(self) -> None:
        if not self._losses:  # a subclass with a step of its own
            return
        losses, examples = zip(*self._losses, strict=True)
        weights = torch.tensor(examples, device=losses[0].device) / sum(examples)
        self.log("train_loss", torch.stack(losses) @ weights)

    def validation_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> None:
        accuracy = (self.network(batch[0]).argmax(1) == batch[1]).float().mean()
        self.log("val_accuracy", accuracy, prog_bar=True, batch_size=len(batch[1]))
