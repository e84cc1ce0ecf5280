"""Corruptions of images, and where networks look."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from lcomp.data.corrupted_images import Bytes, CorruptionSet, HashedImages, corrupted, hashed_images, published
from lcomp.data.protocol import Data
from lcomp.errors import UserError, check_installed
from lcomp.evaluation import attributions, measurement
from lcomp.evaluation.corruptions import Corruptions, Labels, Measured
from lcomp.record.plain import PlainValue
from lcomp.runtimes import Session
from lcomp.tasks.classification import accuracy_and_loss
from lcomp.tasks.image_classification import ImageClassification
from lcomp.tasks.split import Split, Splits


@dataclass(frozen=True)
class ImageCorruptions(Corruptions):
    """A set of corruptions of the test images at their usual severity, and of the validation images.

    Args:
        severities: as `Corruptions` has them.
        attributions: test images, evenly spaced, whose integrated gradients are compared; 0 for none.

    Raises:
        UserError: a severity or a number that cannot be; captum, which attributions need, is not installed.
    """

    attributions: int = 100
    corruptions: ClassVar[CorruptionSet]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.attributions < 0:
            raise UserError(f"robustness.attributions={self.attributions}: must be a number of test images, 0 or more")
        if self.attributions:
            asked = f"robustness.attributions={self.attributions}"
            check_installed("robustness", asked, "captum", instead="robustness.attributions=0 compares none")

    @property
    def name(self) -> str:
        return self.corruptions.name

    @property
    def names(self) -> Collection[str]:
        return self.corruptions.functions

    def check_data(self, data: Data) -> None:
        if not isinstance(data.task, ImageClassification):
            raise UserError(
                f"robustness={self.name}: corrupts images of classes; {type(data.task).__name__} has others"
            )
        self.check(data.task.input_shape)

    def check(self, input_shape: Sequence[int]) -> None:
        """Raises UserError for images of a shape that a corruption cannot be drawn on."""
        for name in self.corruptions.functions:
            try:
                self.corruptions.corrupt(torch.zeros(1, *input_shape), name, self.corruptions.usual[name], 0)
            except (RuntimeError, ValueError, IndexError, TypeError) as error:
                raise UserError(
                    f"robustness={self.name}: {name} cannot be drawn on images of shape {tuple(input_shape)} (it takes "
                    "channels, height and width, and a few pixels of each); choose robustness=none"
                ) from error

    @property
    def setting(self) -> dict[str, PlainValue]:
        return {"set": self.name, "severities": [*sorted(self.severities)], "attributions": self.attributions}

    def accuracies(self, artifact: Session, splits: Splits, data: Data | None = None) -> dict[str, float]:
        test, validation = hashed_images(splits.test.pixels), hashed_images(splits.validation.pixels)
        found, among = {}, self.corruptions
        for name in among.functions:
            images, labels = self.test_split(test, splits.test.labels, name)
            found[f"accuracy/{self.name}/{name}"] = accuracy(artifact, images, labels)
            for severity in self.severities:
                changed = images if severity == among.usual[name] else corrupted(test, name, severity, among)
                found[f"accuracy/{self.name}/{name}:{severity}"] = accuracy(artifact, changed, labels)
            held_out = published(validation, name, among), splits.validation.labels
            found[f"val_accuracy/{self.name}/{name}"] = accuracy(artifact, *held_out)
        return found

    def test_split(self, test: HashedImages, labels: Labels, name: str) -> tuple[Bytes, Labels]:
        """The test images under a corruption at its usual severity."""
        return published(test, name, self.corruptions), labels

    def measured(self, figures: Mapping[str, float], artifact: Session, network: nn.Module, test: Split) -> Measured:
        found, (images, labels) = super().measured(figures, artifact, network, test), self.looked_at(test)
        looks = attributions.integrated_gradients(network, images, labels) if self.attributions else None
        return replace(found, attributions=looks)

    def looked_at(self, test: Split) -> tuple[Tensor, Tensor]:
        """The images and labels whose integrated gradients are compared."""
        some = np.linspace(0, len(test.labels) - 1, min(self.attributions, len(test.labels))).round().astype(int)
        return torch.from_numpy(test.pixels[some]), torch.from_numpy(test.labels[some])

    def compared_to_baseline(self, own: Measured, base: Measured, test: Split) -> dict[str, float]:
        found = super().compared_to_baseline(own, base, test)
        if own.attributions is not None and base.attributions is not None:
            images, _ = self.looked_at(test)
            found["attribution_correlation"] = attributions.correlation(own.attributions, base.attributions, images)
        return found


def accuracy(artifact: Session, images: Bytes, labels: Labels) -> float:
    """Share of right answers (0 to 1) on images given as bytes."""
    pixels = {"pixels": np.divide(images, 255, dtype=np.float32)}
    return accuracy_and_loss(measurement.artifact_outputs(artifact, pixels), labels)[0]
