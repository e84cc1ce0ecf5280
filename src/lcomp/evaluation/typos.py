"""`robustness=typos`: sentences with slips of the hand, tokenized as their tokenizer does."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import Protocol, runtime_checkable

from lcomp.data.protocol import Data
from lcomp.data.text import Change
from lcomp.data.typos import TYPOS, USUAL, with_typos
from lcomp.errors import UserError
from lcomp.evaluation import measurement
from lcomp.evaluation.corruptions import Corruptions
from lcomp.record.plain import PlainValue
from lcomp.runtimes import Session
from lcomp.tasks import Loader
from lcomp.tasks.split import Splits


@runtime_checkable
class Rewritable(Protocol):
    """Data whose sentences can be read with other words."""

    def changed(self, split: str, change: Change) -> Loader:
        """The test or the validation split, each sentence as `change` has it, given its number."""
        ...


class Typos(Corruptions):
    """Wrong keys, swapped, missing and capital letters in three of ten words, of the test and the validation split.

    Args:
        severities: as `Corruptions` has them: tenths of the words.
    """

    name = "typos"

    @property
    def names(self) -> Collection[str]:
        return TYPOS

    @property
    def setting(self) -> dict[str, PlainValue]:
        return {"set": self.name, "severities": [*sorted(self.severities)]}

    def check_data(self, data: Data) -> None:
        if not isinstance(data, Rewritable):
            raise UserError(
                f"robustness=typos: changes the letters of sentences; {type(data).__name__} has none (a subclass of "
                "lcomp.data.TextDataModule has): choose robustness=none"
            )

    def accuracies(self, artifact: Session, splits: Splits, data: Data | None = None) -> dict[str, float]:
        assert data is not None and isinstance(data, Rewritable)
        found = {}

        def accuracy(split: str, kind: str, severity: int) -> float:
            changed = measurement.split_of(data.changed(split, partial(typed, kind, severity)), data.task)
            outputs = measurement.artifact_outputs(artifact, changed.inputs)
            return data.task.figures(outputs, changed.labels, "test")["test_accuracy"]

        for kind in TYPOS:
            found[f"accuracy/{self.name}/{kind}"] = accuracy("test", kind, USUAL)
            for severity in self.severities:
                found[f"accuracy/{self.name}/{kind}:{severity}"] = accuracy("test", kind, severity)
            found[f"val_accuracy/{self.name}/{kind}"] = accuracy("validation", kind, USUAL)
        return found


def typed(kind: str, severity: int, text: str, number: int) -> str:
    return with_typos(text, kind, severity, number)
