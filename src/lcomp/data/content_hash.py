"""What a user's data are: a hash of the examples of a split, the same from run to run for the same data."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, IterableDataset, Subset, TensorDataset

from lcomp.data import content_hash
from lcomp.data.datamodule import Examples, ImageDataModule
from lcomp.data.loaders import is_own
from lcomp.data.protocol import Data
from lcomp.errors import UserError
from lcomp.record.result import DatasetRecord
from lcomp.tasks import Loader

CACHE_ATTRIBUTE = "_identity_of_dataset"  # where a DataModule keeps what its examples were hashed to

READ_AT_ONCE = 256  # images that do not lie in memory
PROBED = 16  # examples that are read twice, to see whether they stay the same


def split_hash(loader: Loader, split: str) -> tuple[str, int]:
    """SHA-256 and number of the examples behind a loader; batches, shuffling and random draws do not enter.

    What can be indexed is read in its own order, whatever the loader draws; tensors in memory are taken whole, and
    of torchvision's data sets what lies beneath the transforms. What a dataset draws at random (augmentation) repeats
    under one seed, set for this alone. What can only be iterated is hashed example by example, in any order.

    Args:
        split: its name, for messages.

    Raises:
        UserError: examples differ from one reading to the next, or hold what cannot be hashed.
    """
    dataset: Any = getattr(loader, "dataset", loader)
    indexed = not isinstance(dataset, IterableDataset) and hasattr(dataset, "__getitem__")
    readable = isinstance(dataset, Examples) or (indexed and getattr(loader, "batch_sampler", ...) is not None)
    if readable:
        first, second = (ordered_hash(probe_examples(dataset), split) for _ in range(2))
    else:  # by whole batches, where a sampler draws these
        first, second = (unordered_hash(loader if indexed else dataset, split) for _ in range(2))
    if first != second:
        raise UserError(
            f"data: the {split} examples differ from one reading to the next, each with the same seeds: nothing shows "
            "when they change; give the DataModule an attribute sha256, a text that you change with them"
        )
    sha256, count = ordered_hash(dataset_parts(dataset), split) if readable else first
    return sha256, len(dataset) if indexed else count


def dataset_parts(dataset: Any) -> Iterator[Any]:
    """What an indexed dataset consists of."""
    torchvisions = any(c.__module__.startswith("torchvision.datasets") for c in type(dataset).__mro__)
    if isinstance(dataset, TensorDataset):
        yield from dataset.tensors
    elif isinstance(dataset, Examples):
        images = dataset.images
        if isinstance(images, Tensor):
            yield images
        else:  # read from somewhere, some at a time
            yield from (images[rows] for rows in torch.arange(len(images)).split(READ_AT_ONCE))
        yield dataset.labels
    elif isinstance(dataset, Subset):
        yield np.asarray(dataset.indices)
        yield from dataset_parts(dataset.dataset)
    elif isinstance(dataset, ConcatDataset):
        for part in dataset.datasets:
            yield from dataset_parts(part)
    elif torchvisions and hasattr(dataset, "samples"):  # of folders: the files as they are, quicker than their pixels
        yield from ((Path(path).read_bytes(), label) for path, label in dataset.samples)
    elif torchvisions and hasattr(dataset, "data"):
        yield from (dataset.data, getattr(dataset, "targets", getattr(dataset, "labels", None)))
    else:
        yield from (dataset[index] for index in range(len(dataset)))


def probe_examples(dataset: Any) -> Iterator[Any]:
    """A few examples from all over a dataset; none of one whose random draws are left out anyway."""
    if not isinstance(dataset, TensorDataset | Examples) and len(dataset):
        yield from (dataset[int(index)] for index in np.linspace(0, len(dataset) - 1, PROBED))


def ordered_hash(values: Iterable[Any], split: str) -> tuple[str, int]:
    """SHA-256 of values in their order, and their number."""
    hasher, count = hashlib.sha256(), 0
    with fixed_seed():
        for value in values:
            update_hash(hasher, value, split)
            count += 1
    return hasher.hexdigest(), count


def unordered_hash(values: Iterable[Any], split: str) -> tuple[str, int]:
    """The sum of the hashes of values that come in any order, and their number."""
    total, count = 0, 0
    with fixed_seed():
        for value in values:
            hasher = hashlib.sha256()
            update_hash(hasher, value, split)
            total += int.from_bytes(hasher.digest())
            count += 1
    return f"{total % 2**256:064x}", count


def update_hash(hasher: hashlib._Hash, value: Any, split: str) -> None:
    """Gives a value to a hash: its type, its shape and its bytes.

    Raises:
        UserError: something that has no bytes of its own.
    """
    if isinstance(value, Tensor):
        whole = value.detach().cpu().contiguous()
        hasher.update(f"{whole.dtype}{tuple(whole.shape)}".encode())
        hasher.update(whole.flatten().view(torch.uint8).numpy().data)
    elif isinstance(value, np.ndarray | np.generic) and value.dtype != object:
        hasher.update(f"{value.dtype}{value.shape}".encode() + value.tobytes())
    elif value is None or isinstance(value, bool | int | float | complex | str | bytes):
        hasher.update(f"{type(value).__name__} {value!r};".encode())
    elif isinstance(value, Mapping):
        update_hash(hasher, sorted((str(key), inside) for key, inside in value.items()), split)
    elif isinstance(value, Sequence):
        hasher.update(f"{len(value)} of ".encode())
        for inside in value:
            update_hash(hasher, inside, split)
    elif hasattr(value, "__array_interface__"):  # a picture of PIL
        update_hash(hasher, np.asarray(value), split)
    else:
        raise UserError(
            f"data: a {split} example holds a {type(value).__name__}, which shows nothing of itself to hash; return "
            "tensors, or give the DataModule an attribute sha256, a text that you change with the data"
        )


@contextmanager
def fixed_seed() -> Iterator[None]:
    """The same random state for each reading, and afterwards the one from before."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        random.seed(0)
        np.random.seed(0)
        torch.manual_seed(0)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


def dataset_record(data: Data) -> DatasetRecord:
    """The record's `dataset`: name, SHA-256 and the sizes of the splits.

    A user's DataModule may state `name` and `sha256`, a text that changes with its examples; otherwise its class names
    it, and the examples of all three splits are hashed, once for each object. One that inherits lcomp's, whose
    `sha256` says what was read and not what became of it, has both.

    Raises:
        UserError: the examples cannot be hashed.
    """
    record: DatasetRecord | None = vars(data).get(CACHE_ATTRIBUTE)
    if record is None:
        loaders = {"train": data.train_dataloader(), "val": data.val_dataloader(), "test": data.test_dataloader()}
        declared = getattr(data, "sha256", None)
        if declared is None or (isinstance(data, ImageDataModule) and not is_own(data)):
            hashes = {part: content_hash.split_hash(loader, part) for part, loader in loaders.items()}
            sha256 = hashlib.sha256(json.dumps([declared, *(one for one, _ in hashes.values())]).encode()).hexdigest()
            sizes = {part: count for part, (_, count) in hashes.items()}
        else:
            sha256, sizes = declared, {part: len(loader.dataset) for part, loader in loaders.items()}
        name = getattr(data, "name", None) or type(data).__name__
        record = {"name": name, "sha256": sha256, "train": sizes["train"], "val": sizes["val"], "test": sizes["test"]}
        data.__dict__[CACHE_ATTRIBUTE] = record
    return record.copy()
