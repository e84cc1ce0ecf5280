"""Layers as operations on floats of 32 bits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lcomp.c.functions import expression
from lcomp.c.integer import kind_of, products_joined
from lcomp.c.layers import Averaging, Elementwise, Given, Layer, Maximum, Padding, Product, Regrid, Sum
from lcomp.c.network import Addition, Average, Bounds, CNetwork, Filter, Function, MaxPool, Operation, Pad, Value
from lcomp.errors import UserError


def float_network(layers: Sequence[Layer]) -> CNetwork:
    """The operations of layers that round nothing.

    Raises:
        UserError: one rounds activations, or needs a library's function.
    """
    values: list[Value] = []
    operations: list[Operation] = []
    places: dict[int, int] = {}
    joined = products_joined(layers)
    taken = {id(one) for one in joined.values()}
    for layer in layers:
        if id(layer) in taken:
            continue
        values.append(Value(layer.shape))
        places[id(layer)] = len(values) - 1
        if not isinstance(layer, Given):
            number = f"{len(operations) + 1}"
            operations.append(operation(layer, joined.get(id(layer)), number, places))
    return CNetwork(values, operations, 1.0)


def operation(layer: Layer, joined: Product | None, number: str, places: dict[int, int]) -> Operation:
    bounds, target = Bounds(layer.low, layer.high), places[id(layer)]
    sources = tuple(places[id(source)] for source in layer.sources if source is not joined)
    if isinstance(layer, Product):
        return filter_of(layer, f"{kind_of(layer)}{number}", sources, target, None)
    if isinstance(layer, Sum):
        if joined is None:
            return Addition(name=f"sum{number}", sources=sources, target=target, sign=layer.sign, bounds=bounds)
        read = (places[id(joined.sources[0])], *sources)
        name = f"{kind_of(joined)}{number}"
        addition = Addition(name=name, sources=read, target=target, sign=layer.sign, bounds=bounds)
        return filter_of(joined, name, read, target, addition)
    if isinstance(layer, Maximum):
        return MaxPool(name=f"max_pool{number}", sources=sources, target=target, window=layer.window)
    if isinstance(layer, Averaging):
        return Average(name=f"average{number}", sources=sources, target=target, window=layer.window, bounds=bounds)
    if isinstance(layer, Padding):
        return Pad(name=f"pad{number}", sources=sources, target=target, before=layer.before)
    if isinstance(layer, Regrid):
        raise UserError("activations that are rounded, as floats")
    assert isinstance(layer, Elementwise)
    text = expression(layer)
    return Function(name=f"function{number}", sources=sources, target=target, expression=text)


def filter_of(layer: Product, name: str, sources: tuple[int, ...], target: int, addition: Addition | None) -> Filter:
    scale = 1.0 if layer.scale is None else layer.scale.reshape(-1, 1, 1, 1)
    return Filter(
        name=name,
        sources=sources,
        target=target,
        weights=(layer.weights * scale).astype(np.float32),
        bias=layer.bias.astype(np.float32),
        window=layer.window,
        groups=layer.groups,
        pool=layer.pool,
        bounds=Bounds(layer.low, layer.high),
        addition=addition,
    )
