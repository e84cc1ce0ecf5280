"""One label for each image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lcomp.record import predictions
from lcomp.record.plain import PlainValue
from lcomp.record.predictions import Predictions
from lcomp.tasks.classification import Classification
from lcomp.tasks.image_batches import Form
from lcomp.tasks.split import Split
from lcomp.tasks.task import Batch, Inputs


class ImageClassification(Classification):
    """Pixels (N, C, H, W) in [0, 1] to logits (N, classes), learned by cross-entropy.

    Batches are (pixels, labels, ...); whatever follows is teachers' outputs that the data carry.

    Args:
        num_classes, label_smoothing: as in `Classification`.
        input_shape: (C, H, W) of an image.
        mean, std: of each channel's training pixels, for networks that take them; None: they keep their own.
    """

    def __init__(
        self,
        num_classes: int = 10,
        input_shape: Sequence[int] = (1, 28, 28),
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        label_smoothing: float = 0.0,
    ):
        super().__init__(num_classes, label_smoothing)
        self.input_shape = tuple(input_shape)
        self.statistics: dict[str, PlainValue] = {
            key: list(values) for key, values in (("mean", mean), ("std", std)) if values is not None
        }

    @property
    def arguments(self) -> dict[str, PlainValue]:
        return {"num_classes": self.num_classes, "input_shape": list(self.input_shape), **self.statistics}

    def inputs(self, batch: Batch) -> Inputs:
        return {"pixels": batch[0]}

    def labels(self, batch: Batch) -> Tensor:
        return batch[1]

    def example_inputs(self, n: int) -> Inputs:
        return {"pixels": torch.zeros(n, *self.input_shape)}

    def reader(self, where: str) -> Callable[[Any], Batch]:
        return Form(where, self.input_shape, self.num_classes, mixed=where.endswith("train_dataloader")).read

    def predictions(
        self, outputs: NDArray[np.float32], split: Split, baseline: Predictions | None
    ) -> Predictions | None:
        return predictions.predictions_of(outputs, split.labels, split.pixels, baseline)
