"""What a checkpoint holds: Lightning's part, and what lcomp keeps beside it."""

from __future__ import annotations

from typing import Final, NotRequired, TypedDict

from torch import Tensor

from lcomp.modules.baseline import EpochState
from lcomp.training.random_states import States

KEY: Final = "lcomp"  # of a checkpoint: what Lightning does not keep
Row = dict[str, float]  # what was logged of one epoch, by name


class CurvesState(TypedDict):
    """What was logged and told of the epochs so far, and the seconds that they took; of networks that learned at once
    how many they were."""

    rows: list[Row]
    reported: list[tuple[int, float]]
    seconds: float
    networks: NotRequired[int]


class BestState(TypedDict):
    """The best epoch so far: its number, metric and weights."""

    epoch: int | None
    metric: float
    weights: dict[str, Tensor]


class FitState(TypedDict, total=False):
    """Of a fit: its curves, its best epoch, and its random states; within an epoch also that epoch's own beginning, how
    many batches it has read, and a digest of the last one's labels; at the end of training its steps alone, and what is
    said of a loss that was not finite, where one was."""

    epochs: CurvesState
    best: BestState | None
    random: States
    epoch_random: States
    batches: int
    labels: int
    module: EpochState
    steps: int
    not_finite: str


class Content(TypedDict, total=False):
    """The parts of a checkpoint that lcomp reads."""

    epoch: int
    state_dict: dict[str, Tensor]
    lcomp: FitState
