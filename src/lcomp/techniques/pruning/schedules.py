"""How the sparsity grows: functions of (progress within the window, initial, final), all 0 to 1, to a sparsity."""

from __future__ import annotations


def constant(progress: float, initial: float, final: float) -> float:
    """The final sparsity from the first step."""
    return final


def linear(progress: float, initial: float, final: float) -> float:
    """A straight line from `initial` to `final`."""
    return initial + (final - initial) * progress


def cubic(progress: float, initial: float, final: float) -> float:
    """s(p) = sf + (si - sf)(1 - p)^3: fast while many weights are redundant (Zhu & Gupta 2017, eq. 1)."""
    return final + (initial - final) * (1 - progress) ** 3
