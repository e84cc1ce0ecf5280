"""One DataModule for every technique: uint8 images in memory, a batch is one indexing operation."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from lcomp.data import augmentation, mnist_c_files, perturbations, sources
from lcomp.data.augmentation import Augmentation, Settings
from lcomp.errors import UserError
from lcomp.tasks import ImageClassification, Task

EPOCH = 54_000  # an epoch is as many examples on every data set, so that optimizer steps agree
EVALUATION_BATCH = 1_000


class Examples(Dataset[tuple[Tensor, ...]]):
    """Images (N, C, H, W) uint8, labels (N,) and any further tensor per example, indexed by a whole batch at a time.

    `changes` perturb every batch one after another; what they draw depends on `seed` and on which examples meet in the
    batch, so that a resumed run sees the same images and another epoch sees others.
    """

    def __init__(self, images: Tensor, labels: Tensor, changes: Sequence[Augmentation] = (), seed: int = 0):
        self.images, self.labels, self.changes, self.seed = images, labels, changes, seed
        self.extra: tuple[Tensor, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Tensor) -> tuple[Tensor, ...]:
        """The batch at `index` (B,): float32 images in [0, 1], int64 labels, the further tensors."""
        images = self.images[index].float().div_(255)
        generator = perturbations.seeded_generator(self.seed, zlib.crc32(index.numpy().tobytes()))
        for change in self.changes:
            images = change(images, generator)
        return (images, self.labels[index], *(tensor[index] for tensor in self.extra))


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
        # A generator: a resumed Trainer makes the iterator before it sets the epoch, and the order is drawn after that.
        random = np.random.default_rng([self.seed, self.epoch])
        rounds = -(-self.length // self.examples)
        order = np.concatenate([random.permutation(self.examples) for _ in range(rounds)])[: self.length]
        yield from torch.from_numpy(order).split(self.batch_size)


class MNISTDataModule(pl.LightningDataModule):
    """MNIST split 54,000 / 6,000 / 10,000 by seed, or mnist5k split 3,500 / 500 / 1,000.

    Args:
        dataset: `mnist` (falls back to mnist5k where it cannot be had, and says so) or `mnist5k`.
        root: folder that holds `MNIST/raw`.
        download: let torchvision fetch MNIST when `root` has none.
        batch_size: training examples per optimizer step.
        epoch_examples: training examples per epoch, each drawn as often as that takes.
        seed: decides the split and the order of the batches.
        perturb: what changes the training images, name to settings: {"rotation": {"severity": 3}, "augmix": {}}.
        eval_perturbations: what the artifact is tested on besides: `rotation` (severity 3), `rotation:5`, or several at
            once, `rotation:1+scale:1`.
        mnist_c_root: folder of the published MNIST-C, a folder for each corruption; None draws the corruptions anew.

    Raises:
        UserError: a damaged file, an unknown data set, perturbation or setting of it, MNIST-C files that do not fit.
    """

    num_classes = 10
    input_shape = (1, 28, 28)

    def __init__(
        self,
        dataset: str = "mnist",
        root: str | Path = "data",
        download: bool = True,
        batch_size: int = 256,
        epoch_examples: int = EPOCH,
        seed: int = 0,
        perturb: Mapping[str, Settings | Augmentation] | None = None,
        eval_perturbations: Sequence[str] = (),
        mnist_c_root: str | Path | None = None,
    ):
        super().__init__()
        if batch_size < 1:
            raise UserError(f"data.batch_size={batch_size}: examples per optimizer step, 1 or more")
        if epoch_examples < 1:
            raise UserError(f"data.epoch_examples={epoch_examples}: training examples per epoch, 1 or more")
        self.batch_size, self.epoch_examples, self.seed = batch_size, epoch_examples, seed
        self.task: Task = ImageClassification(self.num_classes, self.input_shape)
        changes = augmentation.make_augmentations(perturb or {})
        self.eval_perturbations = {text: parse(text) for text in eval_perturbations}
        digits = sources.load_digits(dataset, Path(root), download)
        self.name, self.sha256 = digits.name, digits.sha256
        images, labels = torch.from_numpy(np.array(digits.images)), torch.from_numpy(digits.labels.astype(np.int64))
        order = torch.from_numpy(np.random.default_rng(seed).permutation(len(labels)))
        if digits.test_images is not None and digits.test_labels is not None:
            test = torch.from_numpy(np.array(digits.test_images)), torch.from_numpy(digits.test_labels.astype(np.int64))
            train, validation = order[:54_000], order[54_000:]
        else:
            train, validation, held_out = order[:3_500], order[3_500:4_000], order[4_000:]
            test = images[held_out], labels[held_out]
        self.train = Examples(images[train], labels[train], changes, seed)
        self.validation = Examples(images[validation], labels[validation])
        self.test = Examples(*test)
        self.mnist_c_root = None if mnist_c_root is None else Path(mnist_c_root)
        if self.mnist_c_root is not None:
            mnist_c_files.check_files(self.mnist_c_root, self.test.labels)

    def carry_outputs(self, teacher: Callable[[Tensor], Tensor]) -> bool:
        """Makes every training batch carry `teacher`'s outputs as a third tensor, computed once. False, and
        nothing done, where the images are perturbed: the teacher must then see what the student sees."""
        if self.train.changes:
            return False
        batches = self.train.images.split(EVALUATION_BATCH)
        self.train.extra = (torch.cat([teacher(images.float().div_(255)) for images in batches]),)
        return True

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        batches = ShuffledBatches(len(self.train), self.batch_size, self.seed, self.epoch_examples)
        return DataLoader(self.train, sampler=batches, batch_size=None)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return in_order(self.validation)

    def test_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return in_order(self.test)


def parse(text: str) -> dict[str, int]:
    """`rotation:5+scale` as {"rotation": 5, "scale": 3}: names and severities, 3 where there is no number."""
    found = {}
    for part in text.split("+"):
        name, _, number = part.partition(":")
        if number and number not in tuple("12345"):
            raise UserError(f"data.eval_perturbations={text}: severity {number}; allowed are 1 to 5")
        if name in found:
            raise UserError(f"data.eval_perturbations={text}: {name} twice; name it once")
        found[name] = int(number or 3)
        perturbations.find_perturbation(name, found[name], f"data.eval_perturbations={text}")
    return found


def in_order(examples: Examples) -> DataLoader[tuple[Tensor, ...]]:
    """Large batches of `examples`, in their order."""
    return DataLoader(examples, sampler=list(torch.arange(len(examples)).split(EVALUATION_BATCH)), batch_size=None)
