"""Layers that C has functions for: what only bounds, pools or rounds their outputs is taken into them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lcomp.c.network import PLAIN_WINDOW, Grid, Shape, Window

Floats = NDArray[np.float64]


@dataclass
class Cell:
    """The grid that several values share, where one is known; `given` by the network itself, not found by examples."""

    grid: Grid | None = None


@dataclass(eq=False, kw_only=True)
class Layer:
    """What makes one value.

    Attributes:
        sources: layers whose values it reads.
        shape: of its value.
        value: the last step of the packed network that was taken into it: its output is this layer's.
        low, high: what its outputs are held between.
        cell: the grid of its value.
    """

    sources: list[Layer] = field(default_factory=list)
    shape: Shape
    value: int
    low: float = -math.inf
    high: float = math.inf
    cell: Cell = field(default_factory=Cell)
    is_shared: bool = False  # read by several steps, or by one before the last that was taken into it


@dataclass(eq=False, kw_only=True)
class Given(Layer):
    """The network's input."""


@dataclass(eq=False, kw_only=True)
class Product(Layer):
    """A convolution; a linear layer, and what treats each channel by itself, are others.

    Attributes:
        weights: (outputs, rows, columns, channels of a group), whole numbers where `scale` is given, of each output.
        pool: see `lcomp.c.network.Filter`.
    """

    weights: Floats
    scale: Floats | None
    bias: Floats
    window: Window = PLAIN_WINDOW
    groups: int = 1
    pool: Window | None = None


@dataclass(eq=False, kw_only=True)
class Sum(Layer):
    sign: int


@dataclass(eq=False, kw_only=True)
class Maximum(Layer):
    window: Window


@dataclass(eq=False, kw_only=True)
class Averaging(Layer):
    window: Window


@dataclass(eq=False, kw_only=True)
class Elementwise(Layer):
    """A function of each number, known by a name."""

    function: str
    argument: float = 0.0


@dataclass(eq=False, kw_only=True)
class Padding(Layer):
    before: Shape


@dataclass(eq=False, kw_only=True)
class Regrid(Layer):
    """The same values on another grid."""


@dataclass(frozen=True)
class View:
    """A value as a step reads it: of a flattened one, which of torch's features lies at each place."""

    layer: Layer
    order: NDArray[np.int64] | None = None

    @property
    def shape(self) -> Shape:
        return self.layer.shape if self.order is None else (1, 1, len(self.order))

    @property
    def channels(self) -> NDArray[np.int64]:
        """Which of torch's channels, or features, lies at each place of the last dimension."""
        return np.arange(self.shape[2]) if self.order is None else self.order
