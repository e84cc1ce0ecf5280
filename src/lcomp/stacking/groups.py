"""Which points of a sweep may learn at once: those that differ in nothing but numbers. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lcomp.config import identity
from lcomp.record.plain import PlainValue

NUMBERS = (  # keys in which networks that learn at once may differ
    *("seed", "kd.temperature", "kd.alpha"),
    *("prune.sparsity", "prune.initial_sparsity", "prune.begin", "prune.end", "prune.interval"),
    *("quant.bits", "quant.activation_bits", "quant.begin", "quant.freeze"),
    *("trainer.learning_rate", "trainer.warmup", "trainer.gradient_clip_val"),
    *("optimizer.lr", "optimizer.weight_decay", "pack.bias_bits", "pack.scale_bits"),
)
FOLLOWING = ("data.seed",)  # what the configuration has of these numbers


@dataclass
class Report:
    """What came of points that were to learn at once.

    Attributes:
        trained: the numbers of the jobs whose training has ended: their runs go on from it.
        refused: those that must run alone, and why.
        size: how many networks learned at once.
        seconds: that it took.
    """

    trained: list[int] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)
    size: int = 0
    seconds: float = 0.0


def stacks_of(points: Sequence[Sequence[str]], most: int) -> list[list[int]]:
    """The numbers of the points that may learn at once, `most` or fewer together; none of a point that has no other.

    Args:
        points: each the overrides of one.
    """
    together: dict[tuple[str, ...], list[int]] = {}
    for number, point in enumerate(points):
        together.setdefault(tuple(sorted(without_number(override) for override in point)), []).append(number)
    parts = [one[begin : begin + most] for one in together.values() for begin in range(0, len(one), most)]
    return [part for part in parts if len(part) > 1]


def without_number(override: str) -> str:
    """An override less its value where points that learn at once may differ in it."""
    name, _, value = override.partition("=")
    return name if name.lstrip("+") in NUMBERS and value not in ("null", "") else override


def common_settings(config: Mapping[str, PlainValue]) -> str:
    """A digest of what the configurations of networks that learn at once have in common."""

    def kept(node: Mapping[str, PlainValue], prefix: str) -> dict[str, PlainValue]:
        return {
            key: kept(value, f"{prefix}{key}.") if isinstance(value, Mapping) else value
            for key, value in node.items()
            if f"{prefix}{key}" not in (*NUMBERS, *FOLLOWING, *identity.NOT_DEFINING) or value is None
        }

    return identity.digest(kept(config, ""))
