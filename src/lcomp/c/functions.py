"""Functions of single numbers: what tables of bytes are made of, and how C computes them of floats."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lcomp.c.layers import Elementwise

Floats = NDArray[np.float64]
erf = np.vectorize(math.erf, otypes=[np.float64])

FUNCTIONS: dict[str, Callable[[Floats, float], Floats]] = {
    "bounds": lambda x, _: x,
    "hard_swish": lambda x, _: x * np.clip(x + 3, 0, 6) / 6,
    "hard_sigmoid": lambda x, _: np.clip(x + 3, 0, 6) / 6,
    "sigmoid": lambda x, _: 1 / (1 + np.exp(-x)),
    "tanh": lambda x, _: np.tanh(x),
    "leaky_relu": lambda x, slope: np.where(x < 0, slope * x, x),
    "elu": lambda x, alpha: np.where(x < 0, alpha * np.expm1(np.minimum(x, 0)), x),
    "gelu": lambda x, _: x * (1 + erf(x / math.sqrt(2))) / 2,
    "gelu_tanh": lambda x, _: x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2,
}


def apply(layer: Elementwise, x: NDArray[np.floating]) -> NDArray[np.floating]:
    return FUNCTIONS[layer.function](x.astype(np.float64), layer.argument).clip(layer.low, layer.high)
