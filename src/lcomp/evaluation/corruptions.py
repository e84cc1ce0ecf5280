"""What `robustness` measures: an artifact under a set of corruptions, beside the run's own baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lcomp.config.instantiation import build
from lcomp.config.settings import Settings
from lcomp.data.corrupted_images import Bytes, CorruptionSet, HashedImages, corrupted, hashed_images, published
from lcomp.data.protocol import Data
from lcomp.errors import UserError
from lcomp.evaluation import attributions, measurement, robustness
from lcomp.runtimes import Session
from lcomp.tasks.classification import accuracy_and_loss
from lcomp.tasks.image_classification import ImageClassification
from lcomp.tasks.split import Split, Splits

Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Measured:
    """An artifact as it was measured: its figures, its logits (N, classes) on the clean test split, the integrated
    gradients of its network on some of that."""

    figures: Mapping[str, float]
    logits: NDArray[np.float32]
    attributions: Tensor | None


@dataclass(frozen=True)
class Corruptions:
    """A set of corruptions of the test split at their usual severity, and of the validation split.

    Args:
        severities: these as well, of 1 to 5, and mCE over them; with none, mCE is over the usual one.
        attributions: test images, evenly spaced, whose integrated gradients are compared; 0 for none.

    Raises:
        UserError: a severity or a number that cannot be.
    """

    severities: Sequence[int] = ()
    attributions: int = 100
    corruptions: ClassVar[CorruptionSet]

    def __post_init__(self) -> None:
        allowed = all(type(severity) is int and severity in range(1, 6) for severity in self.severities)
        if not allowed or len(set(self.severities)) < len(self.severities):
            raise UserError(f"robustness.severities={self.severities}: must be some of [1,2,3,4,5], each once")
        if self.attributions < 0:
            raise UserError(f"robustness.attributions={self.attributions}: must be a number of test images, 0 or more")

    @property
    def name(self) -> str:
        """Of the set, in the record's keys."""
        return self.corruptions.name

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
    def content(self) -> str | None:
        """A hash of the corrupted images where they are read; None where they are computed."""
        return None

    @property
    def setting(self) -> dict[str, Any]:
        """What an artifact's figures depend on beside itself and the clean data."""
        return {"set": self.name, "severities": sorted(self.severities), "attributions": self.attributions}

    def accuracies(self, artifact: Session, splits: Splits) -> dict[str, float]:
        """Of the test split as `accuracy/<set>/<corruption>`, with `:<severity>` where severities were asked for; of
        the validation split, under the computed corruptions, as `val_accuracy/<set>/<corruption>`."""
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
        """An artifact and the network that it was exported from, ready to be compared."""
        logits = measurement.artifact_outputs(artifact, test.inputs)
        images, labels = self.looked_at(test)
        looks = attributions.integrated_gradients(network, images, labels) if self.attributions else None
        return Measured(figures, logits, looks)

    def looked_at(self, test: Split) -> tuple[Tensor, Tensor]:
        """The images and labels whose integrated gradients are compared."""
        some = np.linspace(0, len(test.labels) - 1, min(self.attributions, len(test.labels))).round().astype(int)
        return torch.from_numpy(test.pixels[some]), torch.from_numpy(test.labels[some])

    def compared_to_baseline(self, own: Measured, base: Measured, test: Split) -> dict[str, float]:
        """The figures of `own` that are over or beside the baseline's; see docs/record.md."""
        predicted, expected = own.logits.argmax(1), base.logits.argmax(1)
        errors, reference = (self.errors(one.figures) for one in (own, base))
        clean, reference_clean = (1 - one.figures["test_accuracy"] for one in (own, base))
        validation, val_reference = (self.errors_of(one.figures, "val_accuracy", [""]) for one in (own, base))
        found = {
            "mce": robustness.mean_corruption_error(errors, reference),
            "relative_mce": robustness.relative_mean_corruption_error(errors, clean, reference, reference_clean),
            "val_mce": robustness.mean_corruption_error(validation, val_reference),
            "ece": robustness.calibration_error(own.logits, test.labels),
            "differing": robustness.differing(predicted, expected),
            "pies": robustness.exemplar_fraction(predicted, expected, test.labels),
        }
        drops = robustness.class_drops(predicted, expected, test.labels)
        found |= {f"class_drop/{label}": drop for label, drop in drops.items()}
        if own.attributions is not None and base.attributions is not None:
            images, _ = self.looked_at(test)
            found["attribution_correlation"] = attributions.correlation(own.attributions, base.attributions, images)
        return found

    def errors(self, figures: Mapping[str, float]) -> dict[str, list[float]]:
        """What mCE is over: the error of each corruption at each severity asked for, or at the usual one."""
        return self.errors_of(figures, "accuracy", [f":{severity}" for severity in self.severities] or [""])

    def errors_of(self, figures: Mapping[str, float], kind: str, marks: Sequence[str]) -> dict[str, list[float]]:
        """The errors behind accuracies of that kind: of each corruption, one for each mark after its name."""
        names = self.corruptions.functions
        return {name: [1 - figures[f"{kind}/{self.name}/{name}{mark}"] for mark in marks] for name in names}


def accuracy(artifact: Session, images: Bytes, labels: Labels) -> float:
    """Share of right answers (0 to 1) on images given as bytes."""
    pixels = {"pixels": np.divide(images, 255, dtype=np.float32)}
    return accuracy_and_loss(measurement.artifact_outputs(artifact, pixels), labels)[0]


def make_robustness(settings: Settings, data: Data) -> Corruptions | None:
    """What the artifact is measured on beside clean images, if that was asked for.

    Raises:
        UserError: it cannot be measured on this data.
    """
    if not settings:
        return None
    made: Corruptions = build(settings, "robustness", files=data.mnist_c_root)
    if not isinstance(data.task, ImageClassification):
        raise UserError(f"robustness={made.name}: corrupts images of classes; {type(data.task).__name__} has others")
    made.check(data.task.input_shape)
    return made
