"""What moves the weights: what an optimizer is made of, and which weights decay."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Protocol

import torch
from torch.optim.optimizer import ParamsT


class OptimizerFactory(Protocol):
    """Parameters, or groups of them, and a learning rate to an optimizer: `torch.optim.SGD`, or a partial of it."""

    def __call__(self, params: ParamsT, *, lr: float) -> torch.optim.Optimizer: ...


ADAM: OptimizerFactory = partial(torch.optim.Adam, fused=True)


def is_vector(shape: Sequence[int]) -> bool:
    """Whether it is one row of numbers at most: a bias, the scale of a norm, the step sizes of a quantizer."""
    return sum(size > 1 for size in shape) < 2


def spare_vectors(optimizer: torch.optim.Optimizer, stacked: bool = False) -> None:
    """Lets vectors decay no more, in groups of their own, where the optimizer's `weight_decay` is not 0 (Goyal et al.
    2017; He et al. 2019): decay of a norm's scale changes no function of the network but its learning rate.

    Args:
        stacked: whether the first dimension of the parameters counts networks.
    """
    for group in [group for group in optimizer.param_groups if group.get("weight_decay")]:
        vectors = [parameter for parameter in group["params"] if is_vector(parameter.shape[stacked:])]
        if len(vectors) == len(group["params"]):
            group["weight_decay"] = 0.0
        elif vectors:
            group["params"] = [one for one in group["params"] if not is_vector(one.shape[stacked:])]
            optimizer.add_param_group(group | {"params": vectors, "weight_decay": 0.0})
