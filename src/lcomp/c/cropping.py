"""Rows and columns at far edges of a value that strides and windows leave over: what nothing reads is not computed."""

from __future__ import annotations

from dataclasses import replace

from lcomp.c.network import CNetwork, Filter, Window


def cropped(network: CNetwork) -> CNetwork:
    """The network without the rows and columns that no output depends on; outputs stay bit for bit."""
    values = list(network.values)
    made = network
    for one in reversed(network.operations):
        if isinstance(one, Filter) and one.addition is None and one.target != len(values) - 1:
            channels, read = values[one.target].shape[2], extent(made, one.target)
            values[one.target] = replace(values[one.target], shape=(read[0], read[1], channels))
            made = replace(network, values=values)
    return made


def extent(network: CNetwork, value: int) -> tuple[int, int]:
    """Rows and columns of a value that something reads."""
    shape = network.values[value].shape
    most = [0, 0]
    for one in network.operations:
        if value not in one.sources:
            continue
        if not isinstance(one, Filter) or value in one.sources[1:] or network.source_shape(one) != shape:
            return shape[:2]
        pool, window, made = one.pool or Window(), one.window, network.values[one.target].shape
        for axis in (0, 1):
            last = ((made[axis] - 1) * pool.stride[axis] + pool.kernel[axis] - 1) * window.stride[axis]
            last += (window.kernel[axis] - 1) * window.dilation[axis] - window.padding[axis]
            most[axis] = max(most[axis], min(last + 1, shape[axis]))
    return max(most[0], 1), max(most[1], 1)
