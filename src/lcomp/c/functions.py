"""Functions of single numbers: what tables of bytes are made of, and how C computes them of floats."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lcomp.c.layers import Elementwise
from lcomp.errors import UserError

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


def expression(layer: Elementwise) -> str:
    """The function of x in C, of floats.

    Raises:
        UserError: it needs a function of a library.
    """
    bounded = f"bounded(%s, {float_text(layer.low)}, {float_text(layer.high)})"
    sixth = float_text(1 / 6)
    texts = {
        "bounds": "x",
        "hard_swish": f"x * bounded(x + 3.0f, 0.0f, 6.0f) * {sixth}",
        "hard_sigmoid": f"bounded(x + 3.0f, 0.0f, 6.0f) * {sixth}",
        "leaky_relu": f"(x < 0.0f ? {float_text(layer.argument)} * x : x)",
    }
    if layer.function not in texts:
        raise UserError(f"the operator {layer.function} of floats, which needs a mathematical library")
    text = texts[layer.function]
    return text if math.isinf(layer.low) and math.isinf(layer.high) else bounded % text


def float_text(value: float) -> str:
    """A float of 32 bits in C, as exactly as it is."""
    if math.isinf(value):
        return "FLT_MAX" if value > 0 else "-FLT_MAX"
    return f"{np.float32(value):.9g}".replace("e+", "e") + (
        "f" if any(c in f"{np.float32(value):.9g}" for c in ".e") else ".0f"
    )
