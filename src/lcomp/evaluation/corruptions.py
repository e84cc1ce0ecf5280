"""What `robustness` measures: an artifact under a set of corruptions, beside the run's own baseline."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from lcomp.config.instantiation import build
from lcomp.config.settings import Settings
from lcomp.data.protocol import Data
from lcomp.errors import UserError
from lcomp.evaluation import measurement, robustness
from lcomp.record.plain import PlainValue
from lcomp.runtimes import Session
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
class Corruptions(ABC):
    """A set of corruptions of the test split at their usual severity, and of the validation split.

    Args:
        severities: these as well, of 1 to 5, and mCE over them; with none, mCE is over the usual one.

    Raises:
        UserError: a severity that cannot be.
    """

    severities: Sequence[int] = ()

    def __post_init__(self) -> None:
        allowed = all(type(severity) is int and severity in range(1, 6) for severity in self.severities)
        if not allowed or len(set(self.severities)) < len(self.severities):
            raise UserError(f"robustness.severities={self.severities}: must be some of [1,2,3,4,5], each once")

    @property
    @abstractmethod
    def name(self) -> str:
        """Of the set, in the record's keys."""

    @property
    @abstractmethod
    def names(self) -> Collection[str]:
        """Of the corruptions."""

    @abstractmethod
    def check_data(self, data: Data) -> None:
        """Raises UserError for data whose examples cannot be corrupted so."""

    @property
    def content(self) -> str | None:
        """A hash of the corrupted examples where they are read; None where they are computed."""
        return None

    @property
    @abstractmethod
    def setting(self) -> dict[str, PlainValue]:
        """What an artifact's figures depend on beside itself and the clean data."""

    @abstractmethod
    def accuracies(self, artifact: Session, splits: Splits, data: Data | None = None) -> dict[str, float]:
        """Of the test split as `accuracy/<set>/<corruption>`, with `:<severity>` where severities were asked for; of
        the validation split, under the computed corruptions, as `val_accuracy/<set>/<corruption>`."""

    def measured(self, figures: Mapping[str, float], artifact: Session, network: nn.Module, test: Split) -> Measured:
        """An artifact and the network that it was exported from, ready to be compared."""
        return Measured(figures, measurement.artifact_outputs(artifact, test.inputs), None)

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
        return found

    def errors(self, figures: Mapping[str, float]) -> dict[str, list[float]]:
        """What mCE is over: the error of each corruption at each severity asked for, or at the usual one."""
        return self.errors_of(figures, "accuracy", [f":{severity}" for severity in self.severities] or [""])

    def errors_of(self, figures: Mapping[str, float], kind: str, marks: Sequence[str]) -> dict[str, list[float]]:
        """The errors behind accuracies of that kind: of each corruption, one for each mark after its name."""
        names = self.names
        return {name: [1 - figures[f"{kind}/{self.name}/{name}{mark}"] for mark in marks] for name in names}


def make_robustness(settings: Settings, data: Data) -> Corruptions | None:
    """What the artifact is measured on beside clean examples, if that was asked for.

    Raises:
        UserError: it cannot be measured on this data.
    """
    if not settings:
        return None
    made: Corruptions = build(settings, "robustness", files=data.mnist_c_root)
    made.check_data(data)
    return made
