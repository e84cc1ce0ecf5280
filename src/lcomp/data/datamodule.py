"""What data sets of images share: uint8 images in memory, a batch is one indexing operation."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from lcomp.data import augmentation, perturbations
from lcomp.data.augmentation import Augmentation, Settings
from lcomp.errors import UserError
from lcomp.tasks import ImageClassification, Task

EVALUATION_BATCH = 1_000
Labelled = tuple["NDArray[np.uint8] | Tensor | Images", NDArray[np.integer] | Tensor]


class Images(Protocol):
    """Images (N, C, H, W) uint8 that come by numbers: a tensor, or what reads them from somewhere."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: Tensor, /) -> Tensor: ...


class Examples(Dataset[tuple[Tensor, ...]]):
    """Images (N, C, H, W) uint8, labels (N,) and any further tensor per example, indexed by a whole batch at a time.

    `changes` act on every batch one after another; what they draw depends on `seed` and on which examples meet in the
    batch, so that a resumed run sees the same images and another epoch sees others. An example that is alone in its
    batch meets none: there the epoch of `order` counts too.
    """

    def __init__(
        self,
        images: Tensor | Images,
        labels: Tensor,
        changes: Sequence[Augmentation] = (),
        seed: int = 0,
        classes: int = 0,
    ):
        self.images, self.labels, self.changes, self.seed, self.classes = images, labels, changes, seed, classes
        self.extra: tuple[Tensor, ...] = ()
        self.order: ShuffledBatches | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Tensor) -> tuple[Tensor, ...]:
        """The batch at `index` (B,): float32 images in [0, 1], labels, the further tensors. Labels are int64 (B,), or
        shares of classes (B, classes) where a change mixes them."""
        images, labels = self.images[index].float().div_(255), self.labels[index]
        if self.changes:
            alone = [self.order.epoch] if self.order and len(index) == 1 else []
            generator = perturbations.seeded_generator(self.seed, zlib.crc32(index.numpy().tobytes()), *alone)
            images, labels = augmentation.change_batch(images, labels, self.changes, self.classes, generator)
        return (images, labels, *(tensor[index] for tensor in self.extra))


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


class ImageDataModule(pl.LightningDataModule):
    """Images of classes in memory: what a data set's own class reads, and hands to this constructor.

    A subclass may say `num_classes` (else as many as the training labels show), `mean` and `std` (of each channel's
    training pixels in [0, 1]: what a network that takes them normalizes by), `name`, and `sha256`, a text that changes
    with the examples.

    Args:
        train, validation, test: images (N, C, H, W) uint8 and labels (N,) from 0, as arrays or tensors.
        batch_size: training examples per optimizer step.
        epoch_examples: training examples per epoch, each drawn as often as that takes; None: each once.
        seed: decides the order of the batches and what is drawn; a subclass that splits does so by it.
        perturb: what changes the training images, name to settings: {"rotation": {"severity": 3}, "augmix": {}}.
        eval_perturbations: what the artifact is tested on besides: `rotation` (severity 3), `rotation:5`, or several at
            once, `rotation:1+scale:1`.

    Raises:
        UserError: images or labels that are not these, an unknown perturbation or setting of it.
    """

    num_classes: int
    input_shape: tuple[int, ...]
    mnist_c_root: Path | None = None

    def __init__(
        self,
        train: Labelled,
        validation: Labelled,
        test: Labelled,
        batch_size: int = 256,
        epoch_examples: int | None = None,
        seed: int = 0,
        perturb: Mapping[str, Settings | Augmentation] | None = None,
        eval_perturbations: Sequence[str] = (),
    ):
        super().__init__()
        check_counts(batch_size, epoch_examples)
        changes = augmentation.make_augmentations(perturb or {})
        self.eval_perturbations = {text: parse(text) for text in eval_perturbations}
        images, labels = read(train, "train")
        if not hasattr(self, "num_classes"):
            self.num_classes = int(labels.max()) + 1
        self.train = Examples(images, labels, changes, seed, self.num_classes)
        self.validation = Examples(*read(validation, "validation"))
        self.test = Examples(*read(test, "test"))
        self.batch_size, self.seed = batch_size, seed
        self.epoch_examples = len(self.train) if epoch_examples is None else epoch_examples
        self.input_shape = tuple(self.train.images.shape[1:])
        statistics = {key: getattr(self, key) for key in ("mean", "std") if hasattr(self, key)}
        self.task: Task = ImageClassification(self.num_classes, self.input_shape, **statistics)

    def further_dataloaders(self) -> Mapping[str, DataLoader[tuple[Tensor, ...]]]:
        return {}

    def carry_outputs(self, teacher: Callable[..., Tensor]) -> bool:
        """Makes every training batch carry `teacher`'s outputs as a third tensor, computed once. False, and
        nothing done, where the images are perturbed: the teacher must then see what the student sees."""
        if self.train.changes:
            return False
        rows = torch.arange(len(self.train)).split(EVALUATION_BATCH)
        self.train.extra = (torch.cat([teacher(self.train.images[some].float().div_(255)) for some in rows]),)
        return True

    def carry_indices(self) -> Tensor:
        """Makes every training batch carry the numbers of its examples as a third tensor; returns all labels."""
        self.train.extra = (torch.arange(len(self.train)),)
        return self.train.labels

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        batches = ShuffledBatches(len(self.train), self.batch_size, self.seed, self.epoch_examples)
        self.train.order = batches
        return DataLoader(self.train, sampler=batches, batch_size=None)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return in_order(self.validation)

    def test_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return in_order(self.test)


def read(part: Labelled, split: str) -> tuple[Tensor | Images, Tensor]:
    """A split's images (N, C, H, W) uint8 and labels (N,) int64, as tensors where they are arrays.

    Raises:
        UserError: they are of another type or shape, none, or not equally many.
    """
    images, labels = (
        torch.from_numpy(np.require(values, requirements="W")) if isinstance(values, np.ndarray) else values
        for values in part
    )
    labels = torch.as_tensor(labels)
    if isinstance(images, Tensor) and (images.dtype != torch.uint8 or images.dim() != 4):
        kind = str(images.dtype).removeprefix("torch.")
        raise UserError(f"data: {split} images are {kind} {tuple(images.shape)}; give uint8 (N, C, H, W), 0 to 255")
    if labels.shape != (len(images),) or labels.is_floating_point() or not len(labels):
        raise UserError(
            f"data: {split} labels are {tuple(labels.shape)}; give a whole number for each image, 1 or more"
        )
    return images, labels.long()


def split_by_seed(count: int, held_out: int, seed: int) -> tuple[Tensor, Tensor]:
    """Which of `count` examples are trained on, and which `held_out` are not, drawn by `seed`."""
    order = torch.from_numpy(np.random.default_rng(seed).permutation(count))
    return order[: count - held_out], order[count - held_out :]


def check_counts(batch_size: int, epoch_examples: int | None) -> None:
    """Raises UserError for counts below 1."""
    if batch_size < 1:
        raise UserError(f"data.batch_size={batch_size}: examples per optimizer step, 1 or more")
    if epoch_examples is not None and epoch_examples < 1:
        raise UserError(f"data.epoch_examples={epoch_examples}: training examples per epoch, 1 or more")


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
