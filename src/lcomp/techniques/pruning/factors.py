"""Convolutions and linear layers taken apart into two of low rank, and which ranks they are given."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from lcomp.techniques.layer_kinds import Layer

FORMS = ("spatial", "channel")


class Factors(nn.Sequential):
    """What stands in the place of a layer: one that writes `rank` channels or features, and one that reads them."""

    @property
    def pair(self) -> tuple[Layer, Layer]:
        return cast(Layer, self[0]), cast(Layer, self[1])

    @property
    def rank(self) -> int:
        return len(self.pair[0].weight)


class Decomposition:
    """The singular value decomposition of a layer's weight, as a matrix in one of two forms.

    `channel`: (outputs) x (inputs, rows, columns), a convolution with the layer's kernel and one of 1 x 1 (Denton et
    al. 2014; Zhang et al. 2016); so of linear layers and of convolutions of 1 x 1 always. `spatial`: (inputs, rows) x
    (outputs, columns), a convolution of rows x 1 and one of 1 x columns (Jaderberg et al. 2014; Tai et al. 2016).

    Args:
        layer: not grouped.
        form: `channel` or `spatial`.

    Attributes:
        energies: (full rank,): the share of the weight's squares that the first r components keep; no other weight of
            rank r keeps more (Eckart & Young 1936).
    """

    def __init__(self, layer: Layer, form: str):
        self.layer, self.form = layer, form_of(layer, form)
        left, values, right = torch.linalg.svd(self.matrix(layer.weight.detach().double()), full_matrices=False)
        self.left, self.right = left * values.sqrt(), values.sqrt().unsqueeze(1) * right
        squares = values.square().cumsum(0)
        self.energies = squares / squares[-1] if squares[-1] > 0 else torch.ones_like(squares)

    def matrix(self, weight: Tensor) -> Tensor:
        """The weight as (what the second factor has per component, what the first has)."""
        if self.form == "channel":
            return weight.flatten(1)
        return weight.permute(0, 3, 1, 2).flatten(2).flatten(0, 1)  # (outputs, columns), (inputs, rows)

    def factors(self, rank: int) -> Factors:
        """The two layers of that rank."""
        made = empty_factors(self.layer, self.form, rank)
        first, second = (factor.weight for factor in made.pair)
        left = self.left[:, :rank]
        if self.form == "spatial":  # columns last
            left = left.unflatten(0, (len(second), -1)).transpose(1, 2)
        with torch.no_grad():
            first.copy_(self.right[:rank].reshape(first.shape))
            second.copy_(left.reshape(second.shape))
        return made


def form_of(layer: Layer, form: str) -> str:
    """The form in which the layer is taken apart."""
    return form if isinstance(layer, nn.Conv2d) and layer.kernel_size != (1, 1) else "channel"


def empty_factors(layer: Layer, form: str, rank: int) -> Factors:
    """Two layers of that rank with the layer's geometry and bias, whose weights are as torch draws them."""
    assert not isinstance(layer, nn.Embedding)
    biased = layer.bias is not None
    if isinstance(layer, nn.Linear):
        first: Layer = nn.Linear(layer.in_features, rank, bias=False)
        second: Layer = nn.Linear(rank, layer.out_features, biased)
    else:
        axes: tuple[tuple[int, ...], ...] = ((0,), (1,)) if form_of(layer, form) == "spatial" else ((0, 1), ())
        first = convolution_along(axes[0], layer, layer.in_channels, rank, False)
        second = convolution_along(axes[1], layer, rank, layer.out_channels, biased)
    made = Factors(first, second).to(layer.weight).train(layer.training)
    if layer.bias is not None:
        second.bias = nn.Parameter(layer.bias.detach().clone())
    return made


def convolution_along(axes: tuple[int, ...], like: nn.Conv2d, inputs: int, outputs: int, bias: bool) -> nn.Conv2d:
    """One with the geometry of another along some axes (0: rows, 1: columns), of size one along the others."""

    def pair(value: tuple[int, ...], alone: int) -> tuple[int, int]:
        return value[0] if 0 in axes else alone, value[1] if 1 in axes else alone

    padding = like.padding if isinstance(like.padding, str) else pair(like.padding, 0)  # a word holds along any axis
    kernel, stride, dilation = (pair(value, 1) for value in (like.kernel_size, like.stride, like.dilation))
    return nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, 1, bias, like.padding_mode)


class Option(NamedTuple):
    """What can become of a layer.

    Attributes:
        cost: of it.
        loss: -log of the share of the squares of its weight that are kept.
        rank: None: it stays as it is.
    """

    cost: int
    loss: float
    rank: int | None


def options(whole: int, one: int, energies: Tensor) -> list[Option]:
    """What can become of a layer, costs falling: itself, and each rank that is cheaper.

    Args:
        whole: what the layer costs.
        one: what one rank costs.
        energies: of each rank from 1 on.
    """
    ranked = [Option(rank * one, -math.log(energy), rank) for rank, energy in enumerate(energies.tolist(), 1)]
    return [Option(whole, 0.0, None), *(option for option in reversed(ranked) if option.cost < whole)]


def by_energy(rows: Sequence[Sequence[Option]], energy: float) -> list[Option]:
    """Of each row the cheapest option that keeps that share of the squares."""
    most = -math.log(energy) * (1 + 1e-9)
    return [[option for option in row if option.loss <= most][-1] for row in rows]


def by_budget(rows: Sequence[Sequence[Option]], budget: float) -> list[Option]:
    """One option of each row with costs that sum to the budget or less; the cheapest of all where none do.

    As in Zhang et al. 2016, section 3.2, the product of the shares that layers keep is to be the largest: step by step
    that layer gives way which loses the least of it for what it saves, along the convex hull of its options. What the
    last step leaves of the budget goes back to where it is worth most.
    """
    chosen = [row[0] for row in rows]
    steps = [(price(*step), index, step[1]) for index, row in enumerate(rows) for step in hull_steps(row)]
    for _, index, option in sorted(steps, key=lambda step: step[0]):
        if sum(one.cost for one in chosen) <= budget:
            break
        chosen[index] = min(option, chosen[index])
    while returns := [
        (chosen[index].loss - option.loss, index, option)
        for index, row in enumerate(rows)
        for option in row
        if option.cost > chosen[index].cost
        and sum(one.cost for one in chosen) + option.cost - chosen[index].cost <= budget
    ]:
        _, index, chosen[index] = max(returns, key=lambda one: one[0])
    return chosen


def price(one: Option, other: Option) -> float:
    """The loss of `other` beyond that of `one`, for each unit of cost that it saves."""
    return (other.loss - one.loss) / (one.cost - other.cost)


def hull_steps(row: Sequence[Option]) -> list[tuple[Option, Option]]:
    """From one corner of the lower convex hull of (cost, loss) to the next cheaper one: prices rise."""
    steps, corner = [], row[0]
    while cheaper := [option for option in row if option.cost < corner.cost]:
        following = min((price(corner, option), option.cost, option) for option in cheaper)[2]
        steps.append((corner, following))
        corner = following
    return steps
