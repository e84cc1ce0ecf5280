"""What the core asks of a task, and never guesses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lcomp.record.metric import Metric as Metric
from lcomp.record.plain import PlainValue
from lcomp.record.predictions import Predictions
from lcomp.tasks.split import Arrays, Labels, Split, part

Inputs = dict[str, Tensor]  # by their names in the artifact, in the order of the network's arguments


class Batch(Protocol):
    """What a loader gives, a tuple, a list or a dictionary of tensors: its task knows which of them means what."""

    def __getitem__(self, place: Any, /) -> Tensor: ...


class Loader(Protocol):
    """The batches of an epoch, as often as they are asked for; as many examples as `dataset` is long."""

    @property
    def dataset(self) -> Any: ...

    def __iter__(self) -> Iterator[Batch]: ...

    def __len__(self) -> int: ...


class Task(ABC):
    """What a batch means. A subclass is one file; its YAML under conf/task/ names it.

    Its constructor may take what the data say: `num_classes`, `input_shape`, `vocab_size`, `max_length`; a network's
    takes `arguments`.
    """

    metric: ClassVar[Metric]
    output = "outputs"  # its name in the artifact; "logits" are of classes, before a softmax
    dimensions: ClassVar[tuple[str, ...]] = ("batch",)  # of an input, the first ones: free in the artifact

    @property
    @abstractmethod
    def output_size(self) -> int:
        """How many outputs there are of an example: a network gives (N, output_size)."""

    @property
    def arguments(self) -> dict[str, PlainValue]:
        """What a model's constructor is given, where it names it: `num_classes`, as outputs are called there, ..."""
        return {"num_classes": self.output_size}

    def advice(self, seen: int) -> str:
        """What to do with a network that has `seen` outputs, for a message."""
        return f"the task has {self.output_size} {self.output}: give (N, {self.output_size})"

    @abstractmethod
    def inputs(self, batch: Batch) -> Inputs:
        """What the network is given of a batch."""

    @abstractmethod
    def labels(self, batch: Batch) -> Tensor:
        """What the outputs should be, (N, ...)."""

    @abstractmethod
    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """What training minimizes: the mean over the batch."""

    @abstractmethod
    def metrics(self, outputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Scalars by name, `metric` among them: means over the examples."""

    @abstractmethod
    def example_inputs(self, n: int) -> Inputs:
        """`n` examples to export and to ask a network with; their `dimensions` are free in the artifact."""

    def timed_inputs(self, inputs: Arrays) -> dict[str, Arrays]:
        """The examples that latency is measured on, one at a time, made of those of a split: under an empty name, and
        under such as stand behind a figure's."""
        return {"": part(inputs, slice(1))}

    def fidelity(self, outputs: NDArray[np.float32], expected: NDArray[np.float32]) -> dict[str, float]:
        """How well an artifact's outputs match those of the network that it was exported from."""
        return {"output_difference": float(np.abs(outputs - expected).max())}

    def reader(self, where: str) -> Callable[[Any], Batch]:
        """What each batch of a user's loader passes through, to be checked or put in form.

        Args:
            where: whose batches, for messages.
        """
        return lambda batch: batch

    def predictions(
        self, outputs: NDArray[np.float32], split: Split, baseline: Predictions | None
    ) -> Predictions | None:
        """What is kept of each test example beside the record; None where there is no form for it."""
        return None

    def metadata(self) -> Mapping[str, str]:
        """What an artifact says of it."""
        return {}

    def figures(self, outputs: NDArray[np.float32], labels: Labels, prefix: str) -> dict[str, float]:
        """`metrics` over a whole split, and the loss, computed in float64."""
        wide, right = torch.from_numpy(outputs).double(), torch.from_numpy(labels)
        found = {name: float(value) for name, value in self.metrics(wide, right).items()}
        return {f"{prefix}_{name}": value for name, value in found.items()} | {
            f"{prefix}_loss": float(self.loss(wide, right))
        }
