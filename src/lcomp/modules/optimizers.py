"""What moves the weights: optimizers that torch does not have so, and which weights decay."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim.optimizer import ParamsT


class OptimizerFactory(Protocol):
    """Parameters, or groups of them, and a learning rate to an optimizer: `torch.optim.SGD`, or a partial of it."""

    def __call__(self, params: ParamsT, *, lr: float) -> torch.optim.Optimizer: ...


ADAM: OptimizerFactory = partial(torch.optim.Adam, fused=True)


def is_vector(parameter: Tensor) -> bool:
    """Whether it is one row of numbers at most: a bias, the scale of a norm, the step sizes of a quantizer."""
    return sum(size > 1 for size in parameter.shape) < 2


def spare_vectors(optimizer: torch.optim.Optimizer) -> None:
    """Lets vectors decay no more, in groups of their own, where the optimizer's `weight_decay` is not 0 (Goyal et al.
    2017; He et al. 2019): decay of a norm's scale changes no function of the network but its learning rate."""
    for group in [group for group in optimizer.param_groups if group.get("weight_decay")]:
        vectors = [parameter for parameter in group["params"] if is_vector(parameter)]
        if len(vectors) == len(group["params"]):
            group["weight_decay"] = 0.0
        elif vectors:
            group["params"] = [parameter for parameter in group["params"] if not is_vector(parameter)]
            optimizer.add_param_group(group | {"params": vectors, "weight_decay": 0.0})


class Muon(torch.optim.Optimizer):
    """Moves each matrix along its momentum made orthogonal (Jordan et al. 2024), scaled so that AdamW's rates fit (Liu
    et al. 2025), and whatever is a vector as AdamW does. A convolution's filters are the rows of its matrix.

    Args:
        params: parameters, or groups of them.
        lr: of both kinds, above 0; AdamW's are usual.
        weight_decay: share of a weight that goes at each step, times the learning rate.
        momentum: of matrices, 0 to below 1; Nesterov's.
        betas, eps: of vectors, as in AdamW.

    Raises:
        ValueError: a value outside its range.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        weight_decay: float = 0.01,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ):
        for name, value in (("momentum", momentum), ("betas[0]", betas[0]), ("betas[1]", betas[1])):
            if not 0 <= value < 1:
                raise ValueError(f"{name}={value}: from 0 to below 1")
        if lr < 0 or weight_decay < 0:
            raise ValueError(f"lr={lr}, weight_decay={weight_decay}: 0 or more")
        defaults = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "betas": betas, "eps": eps}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    along = self.adam if is_vector(parameter) else self.orthogonal
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.sub_(group["lr"] * along(parameter, parameter.grad, group))
        return loss

    def orthogonal(self, parameter: nn.Parameter, gradient: Tensor, group: dict[str, Any]) -> Tensor:
        """Where a matrix goes."""
        state = self.state[parameter]
        momentum = state.setdefault("momentum_buffer", torch.zeros_like(gradient))
        momentum.lerp_(gradient, 1 - group["momentum"])
        ahead = gradient.lerp(momentum, group["momentum"]).flatten(1)
        scale = 0.2 * math.sqrt(max(ahead.shape))  # the root mean square of AdamW's steps
        return scale * orthogonalized(ahead).view(gradient.shape)

    def adam(self, parameter: nn.Parameter, gradient: Tensor, group: dict[str, Any]) -> Tensor:
        """Where a vector goes."""
        state, (beta1, beta2) = self.state[parameter], group["betas"]
        if not state:
            state.update(step=0, exp_avg=torch.zeros_like(gradient), exp_avg_sq=torch.zeros_like(gradient))
        state["step"] += 1
        state["exp_avg"].lerp_(gradient, 1 - beta1)
        state["exp_avg_sq"].lerp_(gradient.square(), 1 - beta2)
        mean, square = (
            state["exp_avg"] / (1 - beta1 ** state["step"]),
            state["exp_avg_sq"] / (1 - beta2 ** state["step"]),
        )
        step: Tensor = mean / (square.sqrt() + group["eps"])
        return step


def orthogonalized(matrix: Tensor, steps: int = 5) -> Tensor:
    """About the nearest matrix whose singular values are 1: they end between 0.7 and 1.2 (Newton-Schulz iteration with
    the coefficients of Jordan et al. 2024)."""
    tall = matrix.shape[0] > matrix.shape[1]
    x: Tensor = matrix.T if tall else matrix
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.T if tall else x
