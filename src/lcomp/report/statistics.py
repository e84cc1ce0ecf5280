"""Means over seeds, and differences between rows that saw the same test images."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

RESAMPLES = 2_000


def spread(values: Sequence[float], digits: int) -> str:
    """`mean ± standard deviation` over seeds; the mean alone where there is one, nothing where there is none."""
    if not values:
        return ""
    mean = f"{statistics.fmean(values):.{digits}f}"
    return mean if len(values) < 2 else f"{mean} ± {statistics.stdev(values):.{digits}f}"


@dataclass(frozen=True)
class Difference:
    """How much better one row is than another: mean difference of accuracy, and its 95 % interval over test images."""

    mean: float
    low: float
    high: float

    @property
    def decided(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0


def difference(one: Sequence[NDArray[np.bool_]], other: Sequence[NDArray[np.bool_]]) -> Difference:
    """The paired difference between two rows: a bootstrap over test images (Efron 1979), percentile interval.

    Args:
        one, other: for each seed, whether each test image (N,) was classified rightly; the same seeds and images.
    """
    paired = np.mean([a.astype(float) - b for a, b in zip(one, other, strict=True)], axis=0)
    if not paired.any():
        return Difference(0.0, 0.0, 0.0)
    interval = stats.bootstrap(
        (paired,), np.mean, n_resamples=RESAMPLES, method="percentile", batch=100, rng=np.random.default_rng(0)
    ).confidence_interval
    return Difference(float(paired.mean()), float(interval.low), float(interval.high))
