"""The metric that a task is judged by, as a record names it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict


class MetricRecord(TypedDict, total=False):
    """A record's `metric`; empty in those of before they named one."""

    name: str
    higher_is_better: bool
    percent: bool


@dataclass(frozen=True)
class Metric:
    """What chooses, on validation examples, and what is reported, on test examples.

    Attributes:
        name: in records, behind `val_` and `test_`.
        percent: whether it is a fraction, which tables show in percent.
    """

    name: str = "accuracy"
    higher_is_better: bool = True
    percent: bool = True

    @property
    def record(self) -> MetricRecord:
        return {"name": self.name, "higher_is_better": self.higher_is_better, "percent": self.percent}

    @property
    def validation(self) -> str:
        """The figure that chooses: checkpoints, hyper-parameters, trials of a search."""
        return f"val_{self.name}"

    @property
    def test(self) -> str:
        return f"test_{self.name}"

    @property
    def words(self) -> str:
        """For a line or a heading: `angle error` of `angle_error`."""
        return self.name.replace("_", " ")

    @property
    def heading(self) -> str:
        """Of a narrow column: `acc %`, or its name."""
        return f"{'acc' if self.name == 'accuracy' else self.words} {self.unit}".strip()

    @property
    def scale(self) -> int:
        """What a figure is multiplied with to be shown."""
        return 100 if self.percent else 1

    @property
    def unit(self) -> str:
        return "%" if self.percent else ""

    def shown(self, value: float) -> str:
        return f"{value:.2%}" if self.percent else f"{value:.4g}"

    def better(self, one: float, other: float) -> bool:
        """Whether `one` is the better figure."""
        return one > other if self.higher_is_better else one < other


ACCURACY = Metric()


def metric_of(kept: MetricRecord) -> Metric:
    """That of a record's `metric`; accuracy in records of before they named one."""
    if "name" not in kept:
        return ACCURACY
    return Metric(kept["name"], kept.get("higher_is_better", True), kept.get("percent", True))
