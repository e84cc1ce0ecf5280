"""One label for each example, of whatever kind its inputs are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from lcomp.errors import UserError
from lcomp.record.metric import ACCURACY, Metric
from lcomp.tasks.split import Labels
from lcomp.tasks.task import Task


class Classification(Task):
    """Logits (N, classes), learned by cross-entropy. A subclass says what the inputs are.

    Labels are (N,) int64, or shares of classes (N, classes) in training, where examples are mixed.

    Args:
        num_classes: of the data, 2 or more.
        label_smoothing: share of a label that goes to all classes alike, 0 to below 1 (Szegedy et al. 2016).

    Raises:
        UserError: a share outside its range.
    """

    metric: ClassVar[Metric] = ACCURACY
    output = "logits"

    def __init__(self, num_classes: int, label_smoothing: float = 0.0):
        if not 0 <= label_smoothing < 1:
            raise UserError(f"task.label_smoothing={label_smoothing}: a share, from 0 to below 1; 0.1 is usual")
        self.num_classes, self.label_smoothing = num_classes, label_smoothing

    @property
    def output_size(self) -> int:
        return self.num_classes

    def advice(self, seen: int) -> str:
        give = f"(N, {self.num_classes})"
        if seen == 1:
            return f"one logit; lcomp learns by cross-entropy: give one for each class, {give}"
        return f"the data have {self.num_classes} classes: give {give}"

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(outputs, labels, label_smoothing=self.label_smoothing)

    def metrics(self, outputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        most = labels.argmax(1) if labels.dim() == 2 else labels
        return {"accuracy": (outputs.argmax(1) == most).float().mean()}

    def fidelity(self, outputs: NDArray[np.float32], expected: NDArray[np.float32]) -> dict[str, float]:
        return {
            "agreement": float((outputs.argmax(1) == expected.argmax(1)).mean()),
            "logit_difference": float(np.abs(outputs - expected).max()),
        }

    def metadata(self) -> Mapping[str, str]:
        return {"classes": json.dumps(self.num_classes)}

    def figures(self, outputs: NDArray[np.float32], labels: Labels, prefix: str) -> dict[str, float]:
        accuracy, loss = accuracy_and_loss(outputs, labels)
        return {f"{prefix}_accuracy": accuracy, f"{prefix}_loss": loss}


def accuracy_and_loss(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> tuple[float, float]:
    """Fraction of right answers (0 to 1) and mean cross-entropy (nats, in float64)."""
    wide = logits.astype(np.float64)
    shifted = wide - wide.max(1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    loss = -log_probabilities[np.arange(len(labels)), labels].mean()
    return float((logits.argmax(1) == labels).mean()), float(loss)
