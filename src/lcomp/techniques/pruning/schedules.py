"""How the sparsity grows: functions of (progress within the window, initial, final), all 0 to 1, to a sparsity."""

from __future__ import annotations

from collections.abc import Callable

SMOOTH = 2  # updates that a schedule without steps needs: it then acts within its window, not at the end alone


def updates(schedule: Callable[[float, float, float], float], initial: float, final: float) -> int:
    """How many updates within its window the schedule needs: one for each of its steps, `SMOOTH` where it has none."""
    coarse, fine = (len({schedule(part / parts, initial, final) for part in range(parts)}) for parts in (500, 1000))
    return coarse if coarse == fine else SMOOTH


def constant(progress: float, initial: float, final: float) -> float:
    """The final sparsity from the first step."""
    return final


def linear(progress: float, initial: float, final: float) -> float:
    """A straight line from `initial` to `final`."""
    return initial + (final - initial) * progress


def cubic(progress: float, initial: float, final: float) -> float:
    """s(p) = sf + (si - sf)(1 - p)^3: fast while many weights are redundant (Zhu & Gupta 2017, eq. 1)."""
    return final + (initial - final) * (1 - progress) ** 3


def exponential(progress: float, initial: float, final: float) -> float:
    """The density falls by the same factor in equal times: 1 - s(p) = (1 - si) ((1 - sf) / (1 - si))^p."""
    density: float = (1 - initial) * ((1 - final) / (1 - initial)) ** progress
    return 1 - density


def one_shot(progress: float, initial: float, final: float) -> float:
    """Everything at the window's end."""
    return final if progress >= 1 else initial


def iterative(progress: float, initial: float, final: float, rounds: int = 5) -> float:
    """In `rounds` equal parts of the window, each of which takes the same share of the weights that are left (Han et
    al. 2015, section 3.4; Frankle & Carbin 2019); the first round at the window's beginning."""
    return exponential(min(rounds, int(progress * rounds) + 1) / rounds, initial, final)
