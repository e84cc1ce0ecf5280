"""Supervised training, carrying any techniques."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lcomp.techniques.technique import Technique


class BaselineModule(pl.LightningModule):
    """Trains `network` on cross-entropy with Adam; its techniques reach the Trainer as callbacks.

    Args:
        network: pixels (N, C, H, W) to logits (N, classes).
        techniques: callbacks that constrain the network while it learns.
        learning_rate: Adam's.
    """

    def __init__(self, network: nn.Module, techniques: Sequence[Technique] = (), learning_rate: float = 1e-3):
        super().__init__()
        self.network, self.learning_rate = network, learning_rate
        self.techniques = sorted(techniques, key=lambda technique: technique.stage)

    def configure_callbacks(self) -> list[pl.Callback]:
        return list(self.techniques)

    def finalize(self, calibration: Iterable[Tensor] = ()) -> nn.Module:
        """The network as it is deployed: masks baked, weights integers.

        Args:
            calibration: batches of training pixels, for the techniques that observe ranges after training.
        """
        for technique in self.techniques:
            self.network = technique.finalize(self.network, calibration)
        return self.network.eval()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.learning_rate)

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)  # type: ignore[no-any-return]

    def loss(self, x: Tensor, labels: Tensor, *extra: Tensor) -> Tensor:
        """The training loss of one batch; `extra` is whatever else the DataModule gives per example."""
        return F.cross_entropy(self.network(x), labels)

    def training_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> Tensor:
        loss = self.loss(*batch)
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(batch[1]))
        return loss

    def validation_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> None:
        accuracy = (self.network(batch[0]).argmax(1) == batch[1]).float().mean()
        self.log("val_accuracy", accuracy, prog_bar=True, batch_size=len(batch[1]))
