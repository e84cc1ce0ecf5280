"""What `robustness=mnist_c` measures: an artifact under the corruptions of MNIST-C, beside the run's own baseline."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lcomp.config.instantiation import build
from lcomp.config.settings import Settings
from lcomp.data.corrupted_images import Bytes, HashedImages, corrupted, hashed_images, published
from lcomp.data.mnist_c import CORRUPTIONS, PUBLISHED, corrupt
from lcomp.data.mnist_c_files import load_corruption
from lcomp.data.protocol import Data
from lcomp.errors import UserError
from lcomp.evaluation import attributions, measurement, robustness
from lcomp.runtimes import Session
from lcomp.tasks.image_classification import ImageClassification, accuracy_and_loss
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
class MNISTC:
    """Fifteen corruptions of the test split at the severity of the published files, and of the validation split.

    Args:
        severities: these as well, of 1 to 5, and mCE over them; with none, mCE is over the published one.
        attributions: test images, evenly spaced, whose integrated gradients are compared; 0 for none.
        files: the folder of the published MNIST-C, `data.mnist_c_root`, whose images are then the corrupted test split.

    Raises:
        UserError: a severity or a number that cannot be; severities that the files do not have.
    """

    severities: Sequence[int] = ()
    attributions: int = 100
    files: Path | None = None

    def __post_init__(self) -> None:
        allowed = all(type(severity) is int and severity in range(1, 6) for severity in self.severities)
        if not allowed or len(set(self.severities)) < len(self.severities):
            raise UserError(f"robustness.severities={self.severities}: must be some of [1,2,3,4,5], each once")
        if self.attributions < 0:
            raise UserError(f"robustness.attributions={self.attributions}: must be a number of test images, 0 or more")
        if self.files and self.severities:
            raise UserError(
                f"robustness.severities={self.severities}: the files in data.mnist_c_root have one severity each; "
                "leave out either"
            )

    def check(self, input_shape: Sequence[int]) -> None:
        """Raises UserError for images of a shape that a corruption cannot be drawn on, or files that cannot be read."""
        for name in CORRUPTIONS:
            try:
                corrupt(torch.zeros(1, *input_shape), name, PUBLISHED[name], 0)
            except (RuntimeError, ValueError, IndexError) as error:
                raise UserError(
                    f"robustness=mnist_c: {name} cannot be drawn on images of shape {tuple(input_shape)} (it takes "
                    "channels, height and width, and a few pixels of each); choose robustness=none"
                ) from error
        _ = self.content

    @cached_property
    def content(self) -> str | None:
        """The SHA-256 of the published files' images and labels; None where the corruptions are computed."""
        if self.files is None:
            return None
        found = hashlib.sha256()
        for name in CORRUPTIONS:
            for array in load_corruption(self.files, name):
                found.update(array.numpy().tobytes())
        return found.hexdigest()

    @property
    def setting(self) -> dict[str, Any]:
        """What an artifact's figures depend on beside itself and the clean data."""
        return {"severities": sorted(self.severities), "attributions": self.attributions, "files": self.content}

    def accuracies(self, artifact: Session, splits: Splits) -> dict[str, float]:
        """Of the test split as `accuracy/mnist_c/<corruption>`, with `:<severity>` where severities were asked for; of
        the validation split, under the computed corruptions, as `val_accuracy/mnist_c/<corruption>`."""
        test, validation = hashed_images(splits.test.pixels), hashed_images(splits.validation.pixels)
        found = {}
        for name in CORRUPTIONS:
            images, labels = self.test_split(test, splits.test.labels, name)
            found[f"accuracy/mnist_c/{name}"] = accuracy(artifact, images, labels)
            for severity in self.severities:
                changed = images if severity == PUBLISHED[name] else corrupted(test, name, severity)
                found[f"accuracy/mnist_c/{name}:{severity}"] = accuracy(artifact, changed, labels)
            held_out = published(validation, name), splits.validation.labels
            found[f"val_accuracy/mnist_c/{name}"] = accuracy(artifact, *held_out)
        return found

    def test_split(self, test: HashedImages, labels: Labels, name: str) -> tuple[Bytes, Labels]:
        """The published files of a corruption, or what is computed in their place from the clean images."""
        if self.files is None:
            return published(test, name), labels
        found = load_corruption(self.files, name)
        return found[0].numpy(), found[1].numpy()

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
        validation, val_reference = (errors_of(one.figures, "val_accuracy", [""]) for one in (own, base))
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
        """What mCE is over: the error of each corruption at each severity asked for, or at the published one."""
        return errors_of(figures, "accuracy", [f":{severity}" for severity in self.severities] or [""])


def errors_of(figures: Mapping[str, float], kind: str, marks: Sequence[str]) -> dict[str, list[float]]:
    """The errors behind accuracies of that kind: of each corruption, one for each mark after its name."""
    return {name: [1 - figures[f"{kind}/mnist_c/{name}{mark}"] for mark in marks] for name in CORRUPTIONS}


def accuracy(artifact: Session, images: Bytes, labels: Labels) -> float:
    """Share of right answers (0 to 1) on images given as bytes."""
    pixels = {"pixels": np.divide(images, 255, dtype=np.float32)}
    return accuracy_and_loss(measurement.artifact_outputs(artifact, pixels), labels)[0]


def make_robustness(settings: Settings, data: Data) -> MNISTC | None:
    """What the artifact is measured on beside clean images, if that was asked for.

    Raises:
        UserError: it cannot be measured on this data.
    """
    if not settings:
        return None
    if not isinstance(data.task, ImageClassification):
        raise UserError(f"robustness=mnist_c: corrupts images of classes; {type(data.task).__name__} has others")
    made: MNISTC = build(settings, "robustness", files=data.mnist_c_root)
    made.check(data.task.input_shape)
    return made
