"""What a network is asked with: its inputs by name or in their order, or the tensor of its only one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import torch
from torch import Tensor

Arguments: TypeAlias = tuple[Tensor, ...]  # each (N, ...), in the order in which a network takes them
Example: TypeAlias = Tensor | Arguments | Mapping[str, Tensor]


def arguments(example: Example) -> Arguments:
    """What the network is called with."""
    if isinstance(example, Tensor):
        return (example,)
    return tuple(example.values()) if isinstance(example, Mapping) else example


def first(example: Example, count: int) -> Arguments:
    """The first `count` of a batch, on the processor."""
    return tuple(tensor[:count].detach().cpu() for tensor in arguments(example))


def in_precision(given: Arguments, dtype: torch.dtype) -> Arguments:
    """`given`, numbers that are not whole in another precision."""
    return changed_numbers(given, lambda tensor: tensor.to(dtype))


def changed_numbers(given: Arguments, change: Callable[[Tensor], Tensor]) -> Arguments:
    """`given`, less what is no floating-point number, changed; indices and masks stay as they are."""
    return tuple(change(tensor) if tensor.is_floating_point() else tensor for tensor in given)
