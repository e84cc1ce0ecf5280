"""The tensors of a user's batch, whatever it is made of."""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

log = logging.getLogger(__name__)
Keys = tuple[Hashable, ...]  # that lead from a batch to one of its parts


@functools.cache
def say(text: str) -> None:
    """Warns once in a process."""
    log.warning("%s", text)


def children(value: Any) -> dict[Hashable, Any] | None:
    """The parts of a mapping, a sequence or a dataclass by name; None of whatever else, such as a list of numbers."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, list | tuple):
        if value and all(isinstance(item, int | float) for item in value):
            return None
        names: Sequence[Hashable] = getattr(value, "_fields", range(len(value)))
        return dict(zip(names, value, strict=True))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return None


def leaves(value: Any, path: Keys = ()) -> dict[Keys, Any]:
    """What `value` holds at the ends of its mappings, sequences and dataclasses."""
    parts = children(value)
    if parts is None:
        return {path: value}
    return {end: leaf for name, part in parts.items() for end, leaf in leaves(part, (*path, name)).items()}


def described(parts: Mapping[Keys, Any]) -> str:
    """`image (32, 1, 28, 28) float32, label (32,) int64`."""

    def one(path: Keys, part: Any) -> str:
        name = ".".join(map(str, path))
        kind = (
            f"{tuple(part.shape)} {part.dtype}".replace("torch.", "") if hasattr(part, "shape") else type(part).__name__
        )
        return f"{name} {kind}".strip()

    return ", ".join(one(path, part) for path, part in parts.items()) or "nothing"


def choose(found: Mapping[Keys, Tensor], names: Sequence[str]) -> Keys | None:
    """The one of `found` whose name is in `names`, or the only one there is."""
    named = [path for path in found if path and path[-1] in names]
    one = named if named else list(found)
    return one[0] if len(one) == 1 else None


def is_array(value: Any) -> bool:
    """Whether `value` holds numbers that a tensor can hold."""
    return isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.dtype.kind in "biuf")


def plain(found: Tensor) -> Tensor:
    """The same tensor where it is a plain one on the processor, else its values as one."""
    if type(found) is Tensor and not found.requires_grad and found.device.type == "cpu":
        return found
    return found.detach().as_subclass(Tensor).cpu()
