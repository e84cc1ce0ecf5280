"""Which of many examples of one mechanism `make test` tries; `make test-all` tries them all; and what they are for."""

from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from lcomp.config.composition import compose
from lcomp.testing import TechniqueContract


def first_quickly(examples: Iterable[Any], quick: int = 1) -> Sequence[Any]:
    """`examples` for `parametrize`, of which the first `quick` are no slow tests; several arguments are tuples."""
    kept = list(examples)
    later = [pytest.param(*(one if isinstance(one, tuple) else (one,)), marks=pytest.mark.slow) for one in kept[quick:]]
    return [*kept[:quick], *later]


def teaches_encoders(choice: str) -> bool:
    """Whether what `choice` chooses, such as `kd=minilm`, is for networks that read sentences alone."""
    return any(getattr(made, "reads_tokens", False) for made in TechniqueContract.classes(compose([choice])).values())
