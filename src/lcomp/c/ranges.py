"""Grids of values that a network leaves as floats: what examples take there."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray

from lcomp.c.layers import Averaging, Cell, Layer, Product
from lcomp.c.network import Grid
from lcomp.errors import UserError
from lcomp.packed.network import Network

BATCH = 100


def unknown_cells(layers: list[Layer]) -> dict[int, Cell]:
    """Cells without a grid, by the values of the packed network that lie on them, outputs apart that stay sums."""
    found = {layer.value: layer.cell for layer in layers if layer.cell.grid is None}
    if isinstance(layers[-1], Product | Averaging):
        found.pop(layers[-1].value, None)
    return found


def find_grids(network: Network, layers: list[Layer], examples: NDArray[np.float32] | None) -> None:
    """Gives each value a grid of 8 bits from the least to the most that the examples take there.

    Args:
        examples: (N, channels, rows, columns), in [0, 1]; None where there are none.

    Raises:
        UserError: there are none, and they are needed.
    """
    cells = unknown_cells(layers)
    if not cells:
        return
    if examples is None:
        raise UserError(
            "its activations are floats, and their ranges are not in the file: name examples to find them with, "
            "--data mnist or --examples FILE.npy; or quantize them (quant=static, quant=qat)"
        )
    ranges: dict[int, tuple[float, float]] = {}
    for value, low, high in extremes(network, examples, set(cells)):
        cell = id(cells[value])
        before = ranges.get(cell, (0.0, 0.0))
        ranges[cell] = min(before[0], low), max(before[1], high)
    for found in cells.values():
        found.grid = grid_between(*ranges[id(found)])


@torch.no_grad()
def extremes(network: Network, examples: NDArray[np.float32], wanted: set[int]) -> Iterable[tuple[int, float, float]]:
    """(value, least, most) of each batch of examples, for the wanted values of a packed network."""
    for start in range(0, len(examples), BATCH):
        values = {0: torch.from_numpy(examples[start : start + BATCH])}
        for number, (step, sources) in enumerate(zip(network.steps, network.sources, strict=True)):
            made = step(*(values[source] for source in sources))
            values[number + 1] = made
            if number + 1 in wanted:
                yield number + 1, float(made.min()), float(made.max())


def grid_between(low: float, high: float, highest: int = 255) -> Grid:
    """The grid of `highest` + 1 steps from `low` to `high`, zero on it and between them."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / highest or 1.0
    return Grid(scale, round(-low / scale), highest)
