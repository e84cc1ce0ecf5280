"""What names of an encoder's graph stand for that are no values of steps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor


class Heads(NamedTuple):
    """A value (N, L, W) that is split into heads; `order` of its axes as they are now."""

    value: str
    heads: int
    order: tuple[int, ...] = (0, 1, 2, 3)


@dataclass(frozen=True)
class Scores:
    """Products of queries and keys."""

    query: Heads
    key: Heads
    scale: float = 1.0
    masked: bool = False


@dataclass
class Known:
    """What names of an encoder's graph stand for that are no values of steps.

    Attributes:
        mask: what is computed of the mask, as `mask`, `mask - 1`, `bias`, `sum` or `count`.
        rows: rows of a constant that are looked up, with what looks up.
        renumbered: rows of their own that token ids have, by the name of the ids.
        heads: values that are split into heads.
        scores: products of heads.
        attended: what attention gives, before its heads are one value again.
        masked: values times the mask; their sums too.
    """

    mask: dict[str, str] = field(default_factory=dict)
    rows: dict[str, tuple[str, str]] = field(default_factory=dict)
    renumbered: dict[str, Tensor] = field(default_factory=dict)
    heads: dict[str, Heads] = field(default_factory=dict)
    scores: dict[str, Scores] = field(default_factory=dict)
    attended: set[str] = field(default_factory=set)
    masked: dict[str, str] = field(default_factory=dict)
