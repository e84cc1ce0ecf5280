"""What the C must answer, bit for bit: the integer profile of docs/c.md in NumPy."""

from __future__ import annotations

from functools import singledispatch

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from lcomp.c.network import (
    Addition,
    Average,
    Bounds,
    CNetwork,
    Filter,
    MaxPool,
    Operation,
    Pad,
    Scaling,
    Shape,
    Table,
    Widen,
    Window,
)
from lcomp.c.requantization import LEFT_SHIFT, scaled

Integers = NDArray[np.int64]
NOTHING = -(1 << 40)  # less than whatever is compared with it


def answer(network: CNetwork, inputs: NDArray[np.uint8]) -> NDArray[np.int32]:
    """The outputs (N, outputs) of bytes (N, rows, columns, channels)."""
    values: dict[int, Integers] = {0: inputs.astype(np.int64)}
    last = {source: n for n, one in enumerate(network.operations) for source in one.sources}
    for number, one in enumerate(network.operations):
        read = [values[source] for source in one.sources]
        if isinstance(one, Filter):
            read[0] = read[0].reshape(-1, *network.source_shape(one))
        values[one.target] = carry_out(one, network.values[one.target].shape, read)
        for source in set(one.sources):
            if last[source] == number:
                del values[source]
    return values[len(network.values) - 1].reshape(len(inputs), -1).astype(np.int32)


@singledispatch
def carry_out(one: Operation, shape: Shape, read: list[Integers]) -> Integers:
    """What an operation makes of batches of integers, (N, *shape)."""
    raise NotImplementedError(type(one).__name__)


@carry_out.register
def _(one: Filter, shape: Shape, read: list[Integers]) -> Integers:
    outputs, rows, columns, depth = one.weights.shape
    places = windows(read[0] - one.zeros[0], one.window, 0)  # (N, rows, columns, channels, kernel rows, kernel columns)
    grouped = places.reshape(*places.shape[:3], one.groups, depth * rows * columns).astype(np.float64)
    weights = one.weights.transpose(0, 3, 1, 2).reshape(one.groups, outputs // one.groups, -1).astype(np.float64)
    sums = np.einsum("nyxgk,gok->nyxgo", grouped, weights, optimize=True)  # whole numbers, of which float64 loses none
    totals = sums.reshape(*places.shape[:3], outputs).astype(np.int64) + one.bias.astype(np.int64)
    assert np.abs(totals).max(initial=0) < 2**31
    if one.pool:
        totals = windows(totals, one.pool, NOTHING).max((-1, -2))
    if one.scaling is not None:
        totals = scaled(totals, one.scaling)
    made = bounded(totals + one.zeros[1], one.bounds).reshape(-1, *shape)
    return made if one.addition is None else carry_out(one.addition, shape, [made, read[1]])


@carry_out.register
def _(one: Addition, shape: Shape, read: list[Integers]) -> Integers:
    assert one.inputs is not None and one.output is not None
    first, second = (
        scaled((x - zero) << LEFT_SHIFT, Scaling(one.inputs.multiplier[n], one.inputs.shift[n]))
        for n, (x, zero) in enumerate(zip(read, one.zeros, strict=False))
    )
    total = scaled(first + one.sign * second, one.output)
    return bounded(total + one.zeros[2], one.bounds)


@carry_out.register
def _(one: MaxPool, shape: Shape, read: list[Integers]) -> Integers:
    largest: Integers = windows(read[0], one.window, NOTHING, shape).max((-1, -2))
    return largest


@carry_out.register
def _(one: Average, shape: Shape, read: list[Integers]) -> Integers:
    sums = windows(read[0] - one.zeros[0], one.window, 0).sum((-1, -2))
    return bounded((sums if one.scaling is None else scaled(sums, one.scaling)) + one.zeros[1], one.bounds)


@carry_out.register
def _(one: Table, shape: Shape, read: list[Integers]) -> Integers:
    return one.table.astype(np.int64)[read[0]]


@carry_out.register
def _(one: Pad, shape: Shape, read: list[Integers]) -> Integers:
    around = [(a, whole - a - b) for a, whole, b in zip(one.before, shape, read[0].shape[1:], strict=True)]
    return np.pad(read[0], [(0, 0), *around], constant_values=one.zero)


@carry_out.register
def _(one: Widen, shape: Shape, read: list[Integers]) -> Integers:
    return read[0] - one.zero


def bounded(values: Integers, bounds: Bounds) -> Integers:
    return values.clip(int(bounds.lowest), int(bounds.highest))


def windows(x: Integers, window: Window, beyond: int, shape: Shape | None = None) -> Integers:
    """What a window sees at each of its places: (N, rows, columns, channels, kernel rows, kernel columns).

    Args:
        beyond: what stands beyond the edge.
        shape: how many places there are, where windows may end beyond the padding.
    """
    (up, left), (sr, sc), (dr, dc) = window.padding, window.stride, window.dilation
    span = [d * (k - 1) + 1 for d, k in zip(window.dilation, window.kernel, strict=True)]
    further = [max(0, (shape[a] - 1) * window.stride[a] + span[a] - x.shape[1 + a]) if shape else 0 for a in (0, 1)]
    around = [(0, 0), (up, max(up, further[0])), (left, max(left, further[1])), (0, 0)]
    views = sliding_window_view(np.pad(x, around, constant_values=beyond), span, axis=(1, 2))
    found: Integers = views[:, ::sr, ::sc, :, ::dr, ::dc]
    return found[:, : shape[0], : shape[1]] if shape else found
