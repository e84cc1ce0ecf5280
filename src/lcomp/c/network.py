"""A network as C computes it: values (rows, columns, channels), and the operations that make one of others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np
from numpy.typing import NDArray

Shape = tuple[int, int, int]  # rows, columns, channels, in which order a value lies in memory
Pair = tuple[int, int]
Array = NDArray[np.generic]


@dataclass(frozen=True)
class Grid:
    """What the integers of a value stand for: (integer - zero) * scale, integers from 0 to `highest`, 255 at most."""

    scale: float
    zero: int = 0
    highest: int = 255


@dataclass(frozen=True)
class Value:
    """A value, of bytes on a grid; of floats, or of the outputs' whole numbers of 32 bits, where it has no grid."""

    shape: Shape
    grid: Grid | None = None

    @property
    def bytes(self) -> int:
        return prod(self.shape) * (4 if self.grid is None else 1)


@dataclass(frozen=True)
class Scaling:
    """Multiplication by real factors above 0: by `multiplier`, then a division by 2^`shift`, rounded half up; see
    docs/c.md."""

    multiplier: NDArray[np.int32]
    shift: NDArray[np.uint8]


@dataclass(frozen=True)
class Window:
    """Where a convolution or a pooling looks: rows first, then columns."""

    kernel: Pair = (1, 1)
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)


PLAIN_WINDOW = Window()


@dataclass(frozen=True)
class Bounds:
    """What outputs are held between: integers of the output's grid, or floats."""

    lowest: float
    highest: float


@dataclass(frozen=True, kw_only=True)
class Operation:
    """What makes the value `target` of the values `sources`; its name is that of its constants in C."""

    name: str
    sources: tuple[int, ...]
    target: int
    in_place: bool = field(default=False)  # whether its output may lie where a source of the same size lay


@dataclass(frozen=True, kw_only=True)
class Addition(Operation):
    """The sum of two values of one shape, or their difference.

    Args:
        zeros: of both sources, and of what it makes.
        inputs: of each source less its zero, times 2^20, to the scale that both share; None of floats.
        output: from there to the grid of what it makes.
        sign: -1 where the second is subtracted.
    """

    zeros: tuple[int, int, int] = (0, 0, 0)
    inputs: Scaling | None = None
    output: Scaling | None = None
    sign: int = 1
    bounds: Bounds
    in_place: bool = True


@dataclass(frozen=True, kw_only=True)
class Filter(Operation):
    """A convolution; a linear layer is one of a single place.

    Args:
        weights: (outputs, rows, columns, channels of a group), int8 or float32.
        bias: of each output, int32 in units of the products, or float32.
        zeros: of the source, and of what it makes.
        scaling: of the sums, for each output; None of floats.
        pool: the largest of the sums in each such window is kept, before they are scaled.
        addition: what is added to each output, the second source then; it may lie in the place of that.
    """

    weights: Array
    bias: Array
    zeros: Pair = (0, 0)
    scaling: Scaling | None = None
    window: Window = PLAIN_WINDOW
    groups: int = 1
    pool: Window | None = None
    bounds: Bounds
    addition: Addition | None = None


@dataclass(frozen=True, kw_only=True)
class MaxPool(Operation):
    """The largest value in each window; what is beyond the edge does not count."""

    window: Window


@dataclass(frozen=True, kw_only=True)
class Average(Operation):
    """The mean of each window less the zero, places beyond the edge counted as zeros.

    Args:
        zeros: of the source, and of what it makes.
        scaling: of the sums; None of floats, and of sums that are outputs themselves.
    """

    window: Window
    zeros: Pair = (0, 0)
    scaling: Scaling | None = None
    bounds: Bounds


@dataclass(frozen=True, kw_only=True)
class Table(Operation):
    """Every byte replaced by the table's at its place."""

    table: NDArray[np.uint8]
    in_place: bool = True


@dataclass(frozen=True, kw_only=True)
class Function(Operation):
    """A function of every float: the C expression of x."""

    expression: str
    in_place: bool = True


@dataclass(frozen=True, kw_only=True)
class Pad(Operation):
    """Zeros around a value.

    Args:
        before: how many rows, columns and channels of them stand before it.
        zero: the byte that stands for zero.
    """

    before: Shape
    zero: int = 0


@dataclass(frozen=True, kw_only=True)
class Widen(Operation):
    """Bytes less their zero, as outputs."""

    zero: int


@dataclass(frozen=True)
class CNetwork:
    """Operations one after another, from the input, value 0, to the output, the last value.

    Attributes:
        output_scale: what one unit of an output stands for; 1 of floats.
    """

    values: Sequence[Value]
    operations: Sequence[Operation]
    output_scale: float

    @property
    def is_integer(self) -> bool:
        return self.values[0].grid is not None

    @property
    def filters(self) -> list[Filter]:
        return [operation for operation in self.operations if isinstance(operation, Filter)]

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one example, those with padding too."""
        return sum(self.places(one) * prod(one.weights.shape) for one in self.filters)

    def source_shape(self, one: Filter) -> Shape:
        """What a filter takes its input for: a linear layer for one place."""
        shape, depth = self.values[one.sources[0]].shape, one.groups * one.weights.shape[3]
        return shape if shape[2] == depth else (1, 1, depth)

    def places(self, one: Filter) -> int:
        """How often a filter is laid on its input."""
        rows, columns, _ = self.values[one.target].shape
        return rows * columns * (prod(one.pool.kernel) if one.pool else 1)
