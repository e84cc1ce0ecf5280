"""Layers as operations on integers: the profile of docs/c.md."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from lcomp.c.functions import apply
from lcomp.c.layers import Averaging, Elementwise, Floats, Given, Layer, Maximum, Padding, Product, Regrid, Sum
from lcomp.c.network import (
    Addition,
    Average,
    Bounds,
    CNetwork,
    Filter,
    Grid,
    MaxPool,
    Operation,
    Pad,
    Pair,
    Scaling,
    Table,
    Value,
    Widen,
    Window,
)
from lcomp.c.requantization import LEFT_SHIFT, scaling
from lcomp.errors import UserError

MOST_WEIGHT = 127
MOST_BIAS = 2.0**30  # half of what a sum can be: the products have the other half
FINE_BIAS = 2.0**20  # units of a bias beside weights that are all zero
OUTPUTS = Bounds(-(2**31), 2**31 - 1)


class FilterSettings(TypedDict):
    """What a `Filter` is made of but its place in a network."""

    weights: NDArray[np.int8]
    bias: NDArray[np.int32]
    zeros: Pair
    scaling: Scaling
    window: Window
    groups: int
    pool: Window | None
    bounds: Bounds


class Assembly:
    """A network of C on its way, of layers whose cells all have grids.

    Attributes:
        joined: convolutions that add as they go, by the sum's identity.
        places: which value each layer makes, by its identity.

    Raises:
        UserError: sums may be more than 32 bits hold.
    """

    def __init__(self, layers: Sequence[Layer]):
        self.values: list[Value] = []
        self.operations: list[Operation] = []
        self.places: dict[int, int] = {}
        self.joined = products_joined(layers)
        self.output_scale = 1.0
        taken = {id(one) for one in self.joined.values()}
        for layer in layers:
            if id(layer) not in taken:
                self.add(layer, layer is layers[-1])
        if self.values[-1].grid is not None:
            self.widen(layers[-1])

    def add(self, layer: Layer, is_last: bool) -> None:
        """Appends what makes the layer's value."""
        if isinstance(layer, Given):
            self.target(layer, grid_of(layer))
        elif isinstance(layer, Product):
            self.add_product(layer, is_last and layer.cell.grid is None)
        elif isinstance(layer, Averaging):
            self.add_average(layer, is_last and layer.cell.grid is None)
        elif isinstance(layer, Sum):
            self.add_sum(layer, self.joined.get(id(layer)))
        elif isinstance(layer, Maximum):
            sources, target = self.sources(layer), self.target(layer, grid_of(layer))
            self.operations.append(
                MaxPool(name=self.name("max_pool"), sources=sources, target=target, window=layer.window)
            )
        elif isinstance(layer, Padding):
            sources, target, zero = self.sources(layer), self.target(layer, grid_of(layer)), grid_of(layer).zero
            self.operations.append(
                Pad(name=self.name("pad"), sources=sources, target=target, before=layer.before, zero=zero)
            )
        else:
            assert isinstance(layer, Elementwise | Regrid)
            table = table_of(layer)
            sources, target = self.sources(layer), self.target(layer, grid_of(layer))
            self.operations.append(Table(name=self.name("table"), sources=sources, target=target, table=table))

    def add_product(self, layer: Product, is_output: bool) -> None:
        name, sources = self.name(kind_of(layer)), self.sources(layer)
        if is_output:
            settings, self.output_scale = output_filter(layer)
        else:
            settings = filter_settings(layer, grid_of(layer))
        target = self.target(layer, None if is_output else grid_of(layer))
        self.operations.append(Filter(name=name, sources=sources, target=target, **settings))

    def add_average(self, layer: Averaging, is_output: bool) -> None:
        source, count = grid_of(layer.sources[0]), math.prod(layer.window.kernel)
        name, sources = self.name("average"), self.sources(layer)
        if is_output:
            self.output_scale = source.scale / count
            grid, by, zero = None, None, 0
            bounds = output_bounds(layer, self.output_scale)
        else:
            grid = grid_of(layer)
            by = scaling(source.scale / count / grid.scale, 255.0 * count)
            zero, bounds = grid.zero, bounds_of(layer, grid)
        target = self.target(layer, grid)
        zeros = (source.zero, zero)
        self.operations.append(
            Average(
                name=name, sources=sources, target=target, window=layer.window,
                zeros=zeros, scaling=by, bounds=bounds,
            )
        )  # fmt: skip

    def add_sum(self, layer: Sum, joined: Product | None) -> None:
        name = self.name("sum" if joined is None else kind_of(joined))
        first, second = layer.sources
        if joined is second:
            first, second = second, first
        read = (self.places[id(joined.sources[0] if joined else first)], self.places[id(second)])
        target = self.target(layer, grid_of(layer))
        addition = Addition(
            name=name, sources=read, target=target, sign=layer.sign, bounds=bounds_of(layer, grid_of(layer)),
            **addition_settings(grid_of(first), grid_of(second), grid_of(layer)),
        )  # fmt: skip
        if joined is None:
            self.operations.append(addition)
            return
        settings = filter_settings(joined, grid_of(joined))
        self.operations.append(Filter(name=name, sources=read, target=target, addition=addition, **settings))

    def widen(self, last: Layer) -> None:
        """Makes outputs of bytes."""
        name, source, grid = self.name("outputs"), self.places[id(last)], grid_of(last)
        target, self.output_scale = self.target(last, None), grid.scale
        self.operations.append(Widen(name=name, sources=(source,), target=target, zero=grid.zero))

    def sources(self, layer: Layer) -> tuple[int, ...]:
        return tuple(self.places[id(source)] for source in layer.sources)

    def target(self, layer: Layer, grid: Grid | None) -> int:
        """A new value, the layer's."""
        self.values.append(Value(layer.shape, grid))
        self.places[id(layer)] = len(self.values) - 1
        return len(self.values) - 1

    def name(self, kind: str) -> str:
        return f"{kind}{len(self.operations) + 1}"

    def network(self) -> CNetwork:
        return CNetwork(self.values, self.operations, self.output_scale)


def products_joined(layers: Sequence[Layer]) -> dict[int, Product]:
    """Convolutions that add as they go, by the identity of the sum: what nothing but it reads, the later of two."""
    found, order = {}, {id(layer): number for number, layer in enumerate(layers)}
    for layer in layers:
        if isinstance(layer, Sum) and layer.sources[0] is not layer.sources[1]:
            may = [one for one in layer.sources if isinstance(one, Product) and not (one.is_shared or one.pool)]
            may = [one for one in may if layer.sign > 0 or one is layer.sources[0]]
            if may:
                found[id(layer)] = max(may, key=lambda one: order[id(one)])
    return found


def kind_of(layer: Product) -> str:
    return "linear" if layer.shape[:2] == layer.window.kernel == (1, 1) else "convolution"


def grid_of(layer: Layer) -> Grid:
    assert layer.cell.grid is not None
    return layer.cell.grid


def bounds_of(layer: Layer, grid: Grid) -> Bounds:
    """What the layer's bytes are held between."""

    def place(real: float, beyond: int) -> int:
        return beyond if math.isinf(real) else min(max(round(real / grid.scale) + grid.zero, 0), grid.highest)

    return Bounds(place(layer.low, 0), place(layer.high, grid.highest))


def output_bounds(layer: Layer, scale: float) -> Bounds:
    """What the layer's outputs are held between, as whole numbers of 32 bits."""
    low, high = (
        beyond if math.isinf(real) else min(max(round(real / scale), OUTPUTS.lowest), OUTPUTS.highest)
        for real, beyond in ((layer.low, OUTPUTS.lowest), (layer.high, OUTPUTS.highest))
    )
    return Bounds(low, high)


def whole_weights(layer: Product, source: Grid) -> tuple[NDArray[np.int8], NDArray[np.int32], Floats, Floats]:
    """Weights of 8 bits, the bias in units of the products, what each unit of an output's weights stands for, and the
    most that its sums can be. A channel whose bias would be beyond `MOST_BIAS` has coarser weights."""
    over = (1, 2, 3)
    if layer.scale is None:
        scale = np.abs(layer.weights).max(over) / MOST_WEIGHT
        weights = np.rint(layer.weights / np.where(scale > 0, scale, 1.0).reshape(-1, 1, 1, 1))
    else:
        scale, weights = layer.scale, layer.weights
    empty = (scale == 0) | ~weights.any(over)
    weights = np.where(empty.reshape(-1, 1, 1, 1), 0.0, weights)
    least = np.abs(layer.bias) / source.scale / np.where(empty, FINE_BIAS, MOST_BIAS)
    least = np.where(empty & (least == 0), 1.0, least)
    coarser = np.where(empty, least, np.maximum(scale, least))
    weights = np.rint(weights * np.where(empty, 0.0, scale / coarser).reshape(-1, 1, 1, 1))
    bias = np.rint(layer.bias / (source.scale * coarser))
    most = np.abs(weights).sum(over) * source.highest + np.abs(bias)
    if (most >= 2.0**31).any():
        raise UserError(f"a layer of {weights[0].size:,} weights for each output, whose sums are beyond 32 bits")
    return weights.astype(np.int8), bias.astype(np.int32), coarser, most


def filter_settings(layer: Product, grid: Grid) -> FilterSettings:
    source = grid_of(layer.sources[0])
    weights, bias, scale, most = whole_weights(layer, source)
    return FilterSettings(
        weights=weights, bias=bias, zeros=(source.zero, grid.zero),
        scaling=scaling(source.scale * scale / grid.scale, most), window=layer.window, groups=layer.groups,
        pool=layer.pool, bounds=bounds_of(layer, grid),
    )  # fmt: skip


def output_filter(layer: Product) -> tuple[FilterSettings, float]:
    """That of outputs: whole numbers on the coarsest of the scales that their sums have."""
    source = grid_of(layer.sources[0])
    weights, bias, scale, _ = whole_weights(layer, source)
    used = scale[weights.any((1, 2, 3))] if weights.any() else scale
    unit = float(used.max())
    by = scaling(np.minimum(scale / unit, 1.0), 0.0)
    settings = FilterSettings(
        weights=weights, bias=bias, zeros=(source.zero, 0), scaling=by, window=layer.window,
        groups=layer.groups, pool=layer.pool, bounds=output_bounds(layer, source.scale * unit),
    )  # fmt: skip
    return settings, source.scale * unit


class AdditionSettings(TypedDict):
    zeros: tuple[int, int, int]
    inputs: Scaling
    output: Scaling


def addition_settings(first: Grid, second: Grid, made: Grid) -> AdditionSettings:
    """As TensorFlow Lite adds: both to twice the coarser scale, 20 bits finer."""
    both = 2 * max(first.scale, second.scale)
    return AdditionSettings(
        zeros=(first.zero, second.zero, made.zero),
        inputs=scaling(np.array([first.scale, second.scale]) / both, 2.0 ** (LEFT_SHIFT + 8)),
        output=scaling(both / 2.0**LEFT_SHIFT / made.scale, 2.0 ** (LEFT_SHIFT + 8)),
    )


def table_of(layer: Elementwise | Regrid) -> NDArray[np.uint8]:
    """What each byte becomes: the function of what it stands for, rounded half up."""
    source, grid = grid_of(layer.sources[0]), grid_of(layer)
    real = (np.arange(256) - source.zero) * source.scale
    made = apply(layer, real) if isinstance(layer, Elementwise) else real
    table: NDArray[np.uint8] = (np.floor(made / grid.scale + 0.5) + grid.zero).clip(0, grid.highest).astype(np.uint8)
    return table
