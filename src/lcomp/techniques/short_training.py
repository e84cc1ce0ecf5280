"""What a technique needs in a training as short as that of `lcomp.testing.TechniqueContract`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lcomp.record.plain import PlainValue


@dataclass(frozen=True)
class ShortTraining:
    """The class attribute `short` of a technique, or of an objective of distillation.

    Args:
        settings: keys of its YAML with the values that let it act within 40 optimizer steps on `SmallCNN`, such as
            `{"interval": 5}`; what a YAML of the class does not have is left out of it.
        least: accuracy, 0 to 1, that the network must exceed after them; -1 where they are too few to learn anything.
    """

    settings: Mapping[str, PlainValue] = field(default_factory=dict)
    least: float = 0.3


def short_training(technique: object) -> ShortTraining:
    """What `technique`, or its class, asks for."""
    asked = getattr(technique, "short", None)
    return asked if isinstance(asked, ShortTraining) else ShortTraining()
