"""Supervised training, carrying any techniques."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lcomp.errors import one_of
from lcomp.techniques.technique import Technique, finalize, total_steps


class BaselineModule(pl.LightningModule):
    """Trains `network` on cross-entropy with Adam; its techniques reach the Trainer as callbacks.

    Args:
        network: pixels (N, C, H, W) to logits (N, classes).
        techniques: callbacks that constrain the network while it learns.
        learning_rate: Adam's, above 0.
        schedule: of the learning rate, `constant` or `cosine` (falls to 0 over training; Loshchilov & Hutter 2017).

    Raises:
        UserError: another schedule.
    """

    def __init__(
        self,
        network: nn.Module,
        techniques: Sequence[Technique] = (),
        learning_rate: float = 1e-3,
        schedule: str = "constant",
    ):
        super().__init__()
        one_of("trainer.schedule", schedule, ("constant", "cosine"))
        self.network, self.learning_rate, self.schedule = network, learning_rate, schedule
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

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=self.learning_rate, fused=True)
        if self.schedule == "constant":
            return optimizer
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total_steps(self.trainer))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cosine, "interval": "step"}}

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)  # type: ignore[no-any-return]

    def loss(self, x: Tensor, labels: Tensor, *extra: Tensor) -> Tensor:
        """The training loss of one batch; `extra` is whatever else the DataModule gives per example."""
        return F.cross_entropy(self.network(x), labels)

    def training_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> Tensor:
        loss = self.loss(*batch)
        self._losses.append((loss.detach(), len(batch[1])))  # logging each step takes a tenth of a small network's
        return loss

    def on_train_epoch_end(self) -> None:
        losses, examples = zip(*self._losses, strict=True)
        weights = torch.tensor(examples, device=losses[0].device) / sum(examples)
        self.log("train_loss", torch.stack(losses) @ weights)
        self._losses.clear()

    def validation_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> None:
        accuracy = (self.network(batch[0]).argmax(1) == batch[1]).float().mean()
        self.log("val_accuracy", accuracy, prog_bar=True, batch_size=len(batch[1]))
