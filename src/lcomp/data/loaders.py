"""A user's DataModule, its loaders read as lcomp reads its own."""

from __future__ import annotations

import functools
import logging
import operator
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from pytorch_lightning.utilities.seed import isolate_rng
from torch import Tensor

from lcomp.data.batches import Form, children
from lcomp.errors import UserError
from lcomp.record.causes import as_user_error

log = logging.getLogger(__name__)
SPLITS = ("train", "val", "test")
HOOKS = ("on_before_batch_transfer", "on_after_batch_transfer")
MOST = 10_000_000  # images that are read to count those of a loader without a length
FEW = 8  # images that a network is tried on


def is_own(data: Any) -> bool:
    """Whether `data` is lcomp's own DataModule, not even a subclass of it."""
    return type(data).__module__.partition(".")[0] == "lcomp"


def set_up(data: Any, name: str) -> Any:
    """`data`, ready to be read. The loaders of a user's own give (pixels, labels) batches from here on, each checked.

    Args:
        name: of it in messages, such as `data._target_=mine.Data`.

    Raises:
        UserError: it fails, says no classes or shape, or its loaders or their first batches are not what can be read.
    """
    with as_user_error(f"{name}: setting it up"):
        data.prepare_data()
        data.setup("fit")
        data.setup("test")
    for attribute, example in (("num_classes", "10"), ("input_shape", "(1, 28, 28)")):
        if not hasattr(data, attribute):
            raise UserError(f"{name}: give it an attribute {attribute}, such as {example}")
    if is_own(data):
        return data
    for hook in HOOKS:
        if defines(data, hook):
            raise UserError(f"{name}: lcomp does not call its {hook}; do that in the data set, for each image")
    shape, classes = image_shape(data.input_shape, name), number_of_classes(data.num_classes, name)
    if type(data.num_classes) is not int:  # such as NumPy's
        data.num_classes = classes
    for part in SPLITS:
        method = f"{part}_dataloader"
        form = Form(f"{name}: {method}", shape, classes)
        if not defines(data, method):
            raise UserError(f"{form.where} is missing; lcomp trains, chooses and measures on three splits: define it")
        setattr(data, method, functools.partial(batches, getattr(data, method), form, {}))
    with isolate_rng():
        data._first_images = first(data.train_dataloader())[0]
        for loader in (data.val_dataloader(), data.test_dataloader()):
            if not all(torch.equal(one, again) for one, again in zip(first(loader), first(loader), strict=True)):
                raise UserError(
                    f"{loader.form.where} gives other images each time it is read; what is measured twice must be the "
                    "same: no shuffle=True, nothing drawn at random there"
                )
            deque(loader, maxlen=0)  # each batch is checked as it is read
    return data


def first_images(data: Any) -> Tensor:
    """Some pixels (N, C, H, W) of the first training batch, as many as it has or `FEW`."""
    found: Tensor | None = getattr(data, "_first_images", None)
    if found is None:
        with isolate_rng():
            found = next(iter(data.train_dataloader()))[0]
    return found[:FEW].clone()


def last_batch(loader: Any) -> int | None:
    """How many images the last batch of an epoch has, where a DataLoader says so."""
    size: Any = getattr(loader, "batch_size", None)
    sampler: Any = getattr(loader, "sampler", None)
    if not isinstance(size, int) or sampler is None or not hasattr(sampler, "__len__"):
        return None
    return size if loader.drop_last else len(sampler) % size or size


def first(loader: Batches) -> tuple[Tensor, Tensor]:
    """Pixels and labels of its first batch."""
    with as_user_error(f"{loader.form.where}: reading a batch"):
        batch = next(iter(loader), None)
    if batch is None:
        raise UserError(f"{loader.form.where} is empty; give it images")
    return batch[0], batch[1]


def image_shape(given: Any, name: str) -> tuple[int, ...]:
    try:
        shape = tuple(operator.index(size) for size in given)
    except TypeError:
        shape = ()
    if not shape or min(shape) < 1:
        raise UserError(f"{name}: input_shape={given}; say (channels, height, width), such as (1, 28, 28)")
    return shape


def number_of_classes(given: Any, name: str) -> int:
    try:
        classes = operator.index(given)
    except TypeError:
        classes = 0
    if classes < 2:
        raise UserError(f"{name}: num_classes={given}; a whole number, 2 or more (two classes have two logits here)")
    return classes


def defines(data: Any, method: str) -> bool:
    """Whether `data` has a method that is not the empty one of Lightning's DataModule."""
    found = getattr(data, method, None)
    return found is not None and not str(getattr(found, "__module__", "")).startswith(
        ("pytorch_lightning.", "lightning.")
    )


def batches(make: Callable[[], Any], form: Form, counts: dict[str, int]) -> Batches:
    """What the user's `make` returns, as `Batches`.

    Raises:
        UserError: it fails, or returns no loader, several of them, or one that can be read only once.
    """
    with as_user_error(form.where):
        loaders = several(make())
    if len(loaders) != 1:
        raise UserError(
            f"{form.where} gives {len(loaders)} loaders; give one (torch.utils.data.ConcatDataset joins sets)"
        )
    loader = loaders[0].loader if isinstance(loaders[0], Batches) else loaders[0]
    if not isinstance(loader, Iterable) or isinstance(loader, Iterator | Tensor):
        kind = type(loader).__name__
        raise UserError(f"{form.where} gives a {kind}; give a DataLoader, or a list of batches, that can be read again")
    return Batches(loader, form, counts)


def several(loader: Any) -> list[Any]:
    """The loaders in a collection of them; a list of batches is one loader."""
    if hasattr(loader, "flattened"):  # Lightning's CombinedLoader
        return list(loader.flattened)
    if isinstance(loader, Mapping):
        return list(loader.values())
    if isinstance(loader, list | tuple) and any(is_loader(one) for one in loader):
        return list(loader)
    return [loader]


def is_loader(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, Tensor) and children(value) is None


class Batches:
    """A loader whose batches are read through a `Form`; as long as it says, or as its batches are when counted once."""

    def __init__(self, loader: Any, form: Form, counts: dict[str, int]):
        self.loader, self.form, self.counts = loader, form, counts

    def __iter__(self) -> Iterator[Sequence[Any]]:
        return map(self.form.read, self.loader)

    def __len__(self) -> int:
        try:
            return len(self.loader)
        except (TypeError, NotImplementedError):  # of an iterable data set
            return self.counted("batches")

    @property
    def dataset(self) -> Any:
        """Something whose length is that of the split."""
        found = getattr(self.loader, "dataset", None)
        return found if hasattr(found, "__len__") else range(self.counted("images"))

    def counted(self, what: str) -> int:
        if not self.counts:
            log.info("%s has no length: its batches are counted once (a __len__ would spare that)", self.form.where)
            batches = images = 0
            with isolate_rng():
                for batch in self:
                    batches, images = batches + 1, images + len(batch[1])
                    if images > MOST:
                        raise UserError(
                            f"{self.form.where}: no end after {images:,} images; give its data set a __len__"
                        )
            self.counts.update(batches=batches, images=images)
        return self.counts[what]

    def __getattr__(self, name: str) -> Any:
        if name == "loader":  # of a copy that is being made
            raise AttributeError(name)
        return getattr(self.loader, name)
