"""A packed network becomes layers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable

import numpy as np
from torch import nn

from lcomp.c.layers import (
    Averaging,
    Cell,
    Elementwise,
    Floats,
    Given,
    Layer,
    Maximum,
    Padding,
    Product,
    Regrid,
    Sum,
    View,
)
from lcomp.c.network import Grid, Shape, Window
from lcomp.c.parameters import factors, product
from lcomp.errors import UserError
from lcomp.packed.layer_codec import as_pair
from lcomp.packed.network import Clip, Constant, Join, Mean, Network, Zeros, output_shape
from lcomp.techniques.quantization.integer_layers import DynamicInput, Input, QuantizedConv2d, QuantizedLinear

PASSING = (nn.Identity, nn.Flatten, DynamicInput)  # steps that give a value on as it lies in memory
ROUNDED_AWAY = 1e-4  # of a step: as near to 1/255 a scale is that of bytes as a sensor gives them

FUNCTIONS: dict[type[nn.Module], Callable[[nn.Module], tuple[str, float]]] = {
    nn.Hardswish: lambda step: ("hard_swish", 0.0),
    nn.Hardsigmoid: lambda step: ("hard_sigmoid", 0.0),
    nn.Sigmoid: lambda step: ("sigmoid", 0.0),
    nn.Tanh: lambda step: ("tanh", 0.0),
    nn.LeakyReLU: lambda step: ("leaky_relu", float(step.negative_slope)),  # type: ignore[arg-type]
    nn.ELU: lambda step: ("elu", float(step.alpha)),  # type: ignore[arg-type]
    nn.GELU: lambda step: ("gelu_tanh" if step.approximate == "tanh" else "gelu", 0.0),
}


class Lowering:
    """A packed network on its way to layers.

    Attributes:
        layers: in the order in which they are carried out.
        views: of the input and of each step's output.
    """

    def __init__(self, network: Network):
        channels, rows, columns = network.input_shape
        given = Given(shape=(rows, columns, channels), value=0, cell=Cell(Grid(1 / 255)))
        self.layers: list[Layer] = [given]
        self.views = [View(given)]
        self.shapes: list[tuple[int, ...]] = [network.input_shape]
        self.readers = readers_of(network)
        for number, (step, sources) in enumerate(zip(network.steps, network.sources, strict=True)):
            self.shapes.append(output_shape(step, [self.shapes[source] for source in sources]))
            self.last_shape, self.number = self.shapes[-1], number + 1
            read = [self.views[source] for source in sources]
            for source, view in zip(sources, read, strict=True):
                view.layer.is_shared |= self.readers[source] > 1
            self.alone = not any(view.layer.is_shared for view in read)
            self.views.append(self.lowered(step, read))
        view = self.views[-1]
        if view.order is not None and (view.order != np.arange(len(view.order))).any():
            raise UserError("a network whose outputs are a flattened value of rows and columns")
        needed = {id(view.layer)}
        for layer in reversed(self.layers):
            needed |= {id(source) for source in layer.sources} if id(layer) in needed else set()
        self.layers = [layer for layer in self.layers if id(layer) in needed or layer is given]
        if self.layers[-1] is given:
            raise UserError("a network that computes nothing")

    def lowered(self, step: nn.Module, read: list[View]) -> View:
        """What a step's output is.

        Raises:
            UserError: there is no C for it.
        """
        first, order = read[0].layer, read[0].order
        if isinstance(step, nn.Identity | DynamicInput):
            return read[0]
        if isinstance(step, nn.Flatten):
            rows, columns, channels = read[0].shape
            torch_order = np.arange(rows * columns * channels).reshape(channels, rows, columns).transpose(1, 2, 0)
            return read[0] if order is not None else View(first, torch_order.reshape(-1))
        if isinstance(step, nn.ReLU):
            return View(self.bounded(first, 0.0, math.inf), order)
        if isinstance(step, Clip):
            return View(self.bounded(first, step.low, step.high), order)
        if isinstance(step, Input):
            return View(self.on_grid(first, grid_of(step)), order)
        if isinstance(step, nn.Conv2d | QuantizedConv2d | nn.Linear | QuantizedLinear):
            return View(self.add(product(step, read[0], self.shape, self.number)))
        if isinstance(step, Constant | nn.BatchNorm1d | nn.BatchNorm2d):
            return View(self.affine(first, *factors(step, read[0])), order)
        if isinstance(step, nn.MaxPool2d):
            window = Window(as_pair(step.kernel_size), as_pair(step.stride), as_pair(step.padding))
            return View(self.pooled(first, window, bool(step.ceil_mode)))
        if isinstance(step, nn.AvgPool2d):
            window = Window(as_pair(step.kernel_size), as_pair(step.stride), as_pair(step.padding))
            if step.ceil_mode or (any(window.padding) and not step.count_include_pad):
                raise UserError("an average-pooling whose windows have different sizes (ceil_mode, count_include_pad)")
            return View(self.add(Averaging(sources=[first], shape=self.shape, value=self.number, window=window)))
        if isinstance(step, Mean):
            window = Window(first.shape[:2], first.shape[:2])
            return View(self.add(Averaging(sources=[first], shape=self.shape, value=self.number, window=window)))
        if isinstance(step, Join):
            return self.joined(step.operator, read)
        if isinstance(step, Zeros):
            before = (step.amounts[2], step.amounts[4], step.amounts[0])
            made = Padding(sources=[first], shape=self.shape, value=self.number, cell=first.cell, before=before)
            return View(self.add(made))
        for kind, describe in FUNCTIONS.items():
            if isinstance(step, kind):
                function, argument = describe(step)
                made_of = Elementwise(
                    sources=[first], shape=first.shape, value=self.number, function=function, argument=argument
                )
                return View(self.add(made_of), order)
        raise UserError(f"the operator {type(step).__name__}")

    @property
    def shape(self) -> Shape:
        """Of the step's output."""
        return hwc(self.last_shape)

    def add(self, layer: Layer) -> Layer:
        self.layers.append(layer)
        return layer

    def bounded(self, layer: Layer, low: float, high: float) -> Layer:
        """Bounds taken into what makes the value, where nothing else reads it."""
        target = layer
        while self.alone and isinstance(target, Maximum | Padding) and low <= 0 <= high:
            if target.sources[0].is_shared:
                break
            target = target.sources[0]
        if self.alone and isinstance(target, Product | Sum | Averaging):
            target.low, target.high = max(target.low, low), min(target.high, high)
            layer.value = self.number
            return layer
        made = Elementwise(sources=[layer], shape=layer.shape, value=self.number, function="bounds", low=low, high=high)
        return self.add(made)

    def on_grid(self, layer: Layer, grid: Grid) -> Layer:
        """The value on a grid: its own, where it has none yet or the same."""
        if layer.cell.grid is None:
            layer.cell.grid = grid
        if same(layer.cell.grid, grid):
            layer.value = self.number if self.alone else layer.value
            return layer
        return self.add(Regrid(sources=[layer], shape=layer.shape, value=self.number, cell=Cell(grid)))

    def pooled(self, layer: Layer, window: Window, ceil: bool) -> Layer:
        """A pooling taken into a convolution where its windows do not overlap."""
        apart = window.stride[0] >= window.kernel[0] and window.stride[1] >= window.kernel[1]
        plain = apart and not any(window.padding) and not ceil
        if plain and self.alone and isinstance(layer, Product) and layer.pool is None:
            layer.pool, layer.shape, layer.value = window, self.shape, self.number
            return layer
        made = Maximum(sources=[layer], shape=self.shape, value=self.number, cell=layer.cell, window=window)
        return self.add(made)

    def affine(self, layer: Layer, factor: Floats, offset: Floats) -> Layer:
        """Each channel times a factor, plus an offset; taken into such a layer, or a convolution, before it."""
        plain = isinstance(layer, Product) and layer.pool is None and (layer.low, layer.high) == (-math.inf, math.inf)
        if plain and self.alone and layer.cell.grid is None:
            assert isinstance(layer, Product)
            signs = np.where(factor < 0, -1.0, 1.0) if layer.scale is not None else factor
            layer.weights = layer.weights * signs.reshape(-1, 1, 1, 1)
            layer.scale = None if layer.scale is None else layer.scale * np.abs(factor)
            layer.bias, layer.value = layer.bias * factor + offset, self.number
            return layer
        channels = layer.shape[2]
        if len(factor) != channels:  # a value that is flattened later
            raise UserError("an operation on each feature of a flattened value")
        weights = factor.reshape(-1, 1, 1, 1)
        return self.add(
            Product(
                sources=[layer], shape=layer.shape, value=self.number,
                weights=weights, scale=None, bias=offset, groups=channels,
            )
        )  # fmt: skip

    def joined(self, operator: str, read: list[View]) -> View:
        if operator not in ("add", "sub"):
            raise UserError(f"the operator {operator} of two values")
        if read[0].shape != read[1].shape or not np.array_equal(read[0].channels, read[1].channels):
            raise UserError(f"the operator {operator} of values of different shapes")
        layers, sign = [view.layer for view in read], 1 if operator == "add" else -1
        return View(self.add(Sum(sources=layers, shape=layers[0].shape, value=self.number, sign=sign)), read[0].order)


def readers_of(network: Network) -> Counter[int]:
    """How many steps read each value, those that only give it another place in the list left out."""
    root = {0: 0}
    for number, (step, sources) in enumerate(zip(network.steps, network.sources, strict=True)):
        root[number + 1] = root[sources[0]] if isinstance(step, PASSING) else number + 1
    counts: Counter[int] = Counter(
        root[source]
        for step, sources in zip(network.steps, network.sources, strict=True)
        if not isinstance(step, PASSING)
        for source in sources
    )
    return Counter({value: counts[origin] for value, origin in root.items()})


def hwc(shape: tuple[int, ...]) -> Shape:
    """A shape of torch's, without the batch, as C has it."""
    return (shape[1], shape[2], shape[0]) if len(shape) == 3 else (1, 1, shape[0])


def grid_of(step: Input) -> Grid:
    return Grid(float(step.scale), int(step.zero_point), step.levels)


def same(first: Grid, second: Grid) -> bool:
    near = abs(first.scale / second.scale - 1) < ROUNDED_AWAY
    return near and (first.zero, first.highest) == (second.zero, second.highest)
