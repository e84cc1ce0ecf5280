"""A user's DataModule, its loaders read as lcomp reads its own."""

from __future__ import annotations

import functools
import logging
import operator
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, SupportsIndex

import torch
from pytorch_lightning.utilities.seed import isolate_rng
from torch import Tensor

from lcomp.data.protocol import Data
from lcomp.errors import UserError
from lcomp.record.causes import as_user_error
from lcomp.tasks import Batch, Loader, Task
from lcomp.tasks.batch_parts import children
from lcomp.tasks.task import Inputs

log = logging.getLogger(__name__)
SPLITS = ("train", "val", "test")
HOOKS = ("on_before_batch_transfer", "on_after_batch_transfer")
ABSENT: dict[str, Any] = {  # what data need not have
    "eval_perturbations": {},
    "mnist_c_root": None,
    "carry_outputs": lambda _: False,
    "carry_indices": lambda: None,
    "further_dataloaders": dict,
}
MOST = 10_000_000  # images that are read to count those of a loader without a length
FEW = 8  # images that a network is tried on


class DataModule(Protocol):
    """What Lightning asks of data before they can be read."""

    def prepare_data(self) -> None: ...

    def setup(self, stage: str) -> None: ...


def is_own(data: DataModule | Data) -> bool:
    """Whether `data` is lcomp's own DataModule, not even a subclass of it."""
    return type(data).__module__.partition(".")[0] == "lcomp"


def begin(data: DataModule, name: str) -> None:
    """Calls what a DataModule of Lightning's does before it can be read.

    Args:
        name: of it in messages, such as `data._target_=mine.Data`.
    """
    with as_user_error(f"{name}: setting it up"):
        data.prepare_data()
        data.setup("fit")
        data.setup("test")


def set_up(data: Any, name: str, task: Task) -> Data:
    """`data`, ready to be read. The loaders of a user's own give batches as the task has them from here on.

    Raises:
        UserError: it fails, or its loaders or their first batches are not what can be read.
    """
    data.task = task
    ready: Data = data
    if is_own(data):
        return data  # type: ignore[no-any-return]
    for attribute, absent in ABSENT.items():
        if not hasattr(data, attribute):
            setattr(data, attribute, absent)
    if data.eval_perturbations and "pixels" not in (named := task.example_inputs(1)):
        raise UserError(f"{name}: its eval_perturbations change images; the task's inputs are {', '.join(named)}")
    for hook in HOOKS:
        if defines(data, hook):
            raise UserError(f"{name}: lcomp does not call its {hook}; do that in the data set, for each image")
    for part in SPLITS:
        method = f"{part}_dataloader"
        where = f"{name}: {method}"
        if not defines(data, method):
            raise UserError(f"{where} is missing; lcomp trains, chooses and measures on three splits: define it")
        setattr(data, method, functools.partial(batches, getattr(data, method), where, task, {}))
    with isolate_rng():
        data._first_batch = first(data.train_dataloader())
        for loader in (data.val_dataloader(), data.test_dataloader()):
            if not alike(first(loader), first(loader), task):
                raise UserError(
                    f"{loader.where} gives other examples each time it is read; what is measured twice must be the "
                    "same: no shuffle=True, nothing drawn at random there"
                )
            deque(loader, maxlen=0)  # each batch is checked as it is read
    return ready


def first_inputs(data: Data) -> Inputs:
    """Some inputs of the first training batch, as many as it has or `FEW`."""
    return {name: values[:FEW].clone() for name, values in data.task.inputs(first_batch(data)).items()}


def first_batch(data: Data) -> Batch:
    """The first training batch; of a user's data the same one each time."""
    found: Batch | None = getattr(data, "_first_batch", None)
    if found is None:
        with isolate_rng():
            found = next(iter(data.train_dataloader()))
    return found


def alike(batch: Batch, again: Batch, task: Task) -> bool:
    """Whether two batches have the same inputs and labels."""
    one, other = ([*task.inputs(of).values(), task.labels(of)] for of in (batch, again))
    return all(map(torch.equal, one, other))


def last_batch(loader: Loader) -> int | None:
    """How many images the last batch of an epoch has, where a DataLoader says so."""
    size = getattr(loader, "batch_size", None)
    sampler = getattr(loader, "sampler", None)
    if not isinstance(size, int) or sampler is None or not hasattr(sampler, "__len__"):
        return None
    return size if getattr(loader, "drop_last", False) else len(sampler) % size or size


def first(loader: Batches) -> Batch:
    """Its first batch."""
    with as_user_error(f"{loader.where}: reading a batch"):
        batch = next(iter(loader), None)
    if batch is None:
        raise UserError(f"{loader.where} is empty; give it examples")
    return batch


def input_shape(given: Iterable[SupportsIndex], name: str) -> tuple[int, ...]:
    try:
        shape = tuple(operator.index(size) for size in given)
    except TypeError:
        shape = ()
    if not shape or min(shape) < 1:
        raise UserError(f"{name}: input_shape={given}; say (channels, height, width), such as (1, 28, 28)")
    return shape


def statistics(given: Mapping[str, Any], shape: Sequence[int], name: str) -> dict[str, list[float]]:
    """Those of `given`, `mean` and `std`, that the data have: a number for each channel of their images."""
    found = {}
    for key, values in given.items():
        if values is None:
            continue
        try:
            numbers = [float(value) for value in values]
        except (TypeError, ValueError):
            numbers = []
        if len(numbers) != shape[0] or (key == "std" and min(numbers) <= 0):
            above = ", above 0" if key == "std" else ""
            raise UserError(f"{name}: {key}={values}; say a number for each of the {shape[0]} channels{above}")
        found[key] = numbers
    return found


def count_of(given: SupportsIndex, key: str, name: str) -> int:
    try:
        count = operator.index(given)
    except TypeError:
        count = 0
    if count < 1:
        raise UserError(f"{name}: {key}={given}; a whole number, 1 or more")
    return count


def number_of_classes(given: SupportsIndex, name: str) -> int:
    try:
        classes = operator.index(given)
    except TypeError:
        classes = 0
    if classes < 2:
        raise UserError(f"{name}: num_classes={given}; a whole number, 2 or more (two classes have two logits here)")
    return classes


def defines(data: DataModule | Data, method: str) -> bool:
    """Whether `data` has a method that is not the empty one of Lightning's DataModule."""
    found = getattr(data, method, None)
    return found is not None and not str(getattr(found, "__module__", "")).startswith(
        ("pytorch_lightning.", "lightning.")
    )


def batches(make: Callable[[], Iterable[Any]], where: str, task: Task, counts: dict[str, int]) -> Batches:
    """What the user's `make` returns, as `Batches`.

    Raises:
        UserError: it fails, or returns no loader, several of them, or one that can be read only once.
    """
    with as_user_error(where):
        loaders = several(make())
    if len(loaders) != 1:
        raise UserError(f"{where} gives {len(loaders)} loaders; give one (torch.utils.data.ConcatDataset joins sets)")
    loader = loaders[0].loader if isinstance(loaders[0], Batches) else loaders[0]
    if not isinstance(loader, Iterable) or isinstance(loader, Iterator | Tensor):
        kind = type(loader).__name__
        raise UserError(f"{where} gives a {kind}; give a DataLoader, or a list of batches, that can be read again")
    return Batches(loader, where, task, counts)


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
    """A loader, read as the task reads it; as long as it says, or as its batches are when counted once."""

    def __init__(self, loader: Any, where: str, task: Task, counts: dict[str, int]):
        self.loader, self.where, self.task, self.counts = loader, where, task, counts

    def __iter__(self) -> Iterator[Batch]:
        return map(self.task.reader(self.where), self.loader)

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
            log.info("%s has no length: its batches are counted once (a __len__ would spare that)", self.where)
            batches = images = 0
            with isolate_rng():
                for batch in self:
                    batches, images = batches + 1, images + len(self.task.labels(batch))
                    if images > MOST:
                        raise UserError(f"{self.where}: no end after {images:,} images; give its data set a __len__")
            self.counts.update(batches=batches, images=images)
        return self.counts[what]

    def __getattr__(self, name: str) -> Any:
        if name == "loader":  # of a copy that is being made
            raise AttributeError(name)
        return getattr(self.loader, name)
