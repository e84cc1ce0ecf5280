"""One DataModule for every technique: uint8 images in memory, a batch is one indexing operation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from lcomp.data import sources

TRAIN_EXAMPLES = 54_000  # an epoch is as many examples on every data set, so that optimizer steps agree
EVALUATION_BATCH = 1_000


class Examples(Dataset[tuple[Tensor, ...]]):
    """Images (N, C, H, W) uint8, labels (N,) and any further tensor per example, indexed by a whole batch at a time."""

    def __init__(self, images: Tensor, labels: Tensor):
        self.images, self.labels, self.extra = images, labels, ()
        self.extra: tuple[Tensor, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Tensor) -> tuple[Tensor, ...]:
        """The batch at `index` (B,): float32 images in [0, 1], int64 labels, the further tensors."""
        return (self.images[index].float().div_(255), self.labels[index], *(t[index] for t in self.extra))


class ShuffledBatches(Sampler[Tensor]):
    """Index batches of one epoch, a function of (seed, epoch) alone: permutations, repeated up to `length` examples."""

    def __init__(self, examples: int, batch_size: int, seed: int, length: int):
        self.examples, self.batch_size, self.seed, self.length, self.epoch = examples, batch_size, seed, length, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch, so that a resumed run sees the same order."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.length // self.batch_size)

    def __iter__(self) -> Iterator[Tensor]:
        random = np.random.default_rng([self.seed, self.epoch])
        rounds = -(-self.length // self.examples)
        order = np.concatenate([random.permutation(self.examples) for _ in range(rounds)])[: self.length]
        return iter(torch.from_numpy(order).split(self.batch_size))


class MNISTDataModule(pl.LightningDataModule):
    """MNIST split 54,000 / 6,000 / 10,000 by seed, or mnist5k split 3,500 / 500 / 1,000.

    Args:
        dataset: `mnist` (falls back to mnist5k where it cannot be had, and says so) or `mnist5k`.
        root: folder that holds `MNIST/raw`.
        download: let torchvision fetch MNIST when `root` has none.
        batch_size: training examples per optimizer step.
        seed: decides the split and the order of the batches.
    """

    num_classes = 10
    input_shape = (1, 28, 28)

    def __init__(
        self,
        dataset: str = "mnist",
        root: str | Path = "data",
        download: bool = True,
        batch_size: int = 256,
        seed: int = 0,
    ):
        super().__init__()
        self.batch_size, self.seed = batch_size, seed
        digits = sources.load(dataset, Path(root), download)
        self.name, self.sha256 = digits.name, digits.sha256
        images, labels = torch.from_numpy(np.array(digits.images)), torch.from_numpy(digits.labels.astype(np.int64))
        order = torch.from_numpy(np.random.default_rng(seed).permutation(len(labels)))
        if digits.test_images is not None and digits.test_labels is not None:
            test = torch.from_numpy(np.array(digits.test_images)), torch.from_numpy(digits.test_labels.astype(np.int64))
            train, validation = order[:54_000], order[54_000:]
        else:
            train, validation, held_out = order[:3_500], order[3_500:4_000], order[4_000:]
            test = images[held_out], labels[held_out]
        self.train = Examples(images[train], labels[train])
        self.validation = Examples(images[validation], labels[validation])
        self.test = Examples(*test)

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        batches = ShuffledBatches(len(self.train), self.batch_size, self.seed, TRAIN_EXAMPLES)
        return DataLoader(self.train, sampler=batches, batch_size=None)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return in_order(self.validation)

    def test_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return in_order(self.test)


def in_order(examples: Examples) -> DataLoader[tuple[Tensor, ...]]:
    """Large batches of `examples`, in their order."""
    return DataLoader(examples, sampler=list(torch.arange(len(examples)).split(EVALUATION_BATCH)), batch_size=None)
