"""Means over seeds, and differences between rows that saw the same test examples."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 20_000


def mean_and_std(values: Sequence[float], digits: int) -> str:
    """`mean ± standard deviation` over seeds; the mean alone where there is one, nothing where there is none."""
    if not values:
        return ""
    mean = f"{statistics.fmean(values):.{digits}f}"
    return mean if len(values) < 2 else f"{mean} ± {statistics.stdev(values):.{digits}f}"


@dataclass(frozen=True)
class Difference:
    """How much better one row is than another: mean difference of accuracy, its 95 % interval over test examples."""

    mean: float
    low: float
    high: float

    @property
    def decided(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0

    @property
    def cells(self) -> list[str]:
        """Points, their interval, and in a word what it says."""
        verdict = ("better" if self.mean > 0 else "worse") if self.decided else "undecided"
        return [f"{100 * self.mean:+.2f}", f"{100 * self.low:+.2f} to {100 * self.high:+.2f}", verdict]


def difference(first: Sequence[NDArray[np.bool_]], second: Sequence[NDArray[np.bool_]]) -> Difference:
    """The paired difference between two rows: a bootstrap over test examples (Efron 1979), percentile interval.

    Examples with the same outcome are alike, so a resample is a draw of how many there are of each outcome.

    Args:
        first, second: for each seed, whether each test example (N,) was classified rightly; the same seeds and
            examples.
    """
    paired = np.mean([a.astype(float) - b for a, b in zip(first, second, strict=True)], axis=0)
    outcomes, counts = np.unique(paired, return_counts=True)
    drawn = np.random.default_rng(0).multinomial(len(paired), counts / len(paired), size=RESAMPLES)
    low, high = np.percentile(drawn @ outcomes / len(paired), [2.5, 97.5])
    return Difference(float(paired.mean()), float(low), float(high))
