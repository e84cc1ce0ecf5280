"""Real factors as whole numbers: the one place where the integer profile of docs/c.md rounds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lcomp.c.network import Scaling
from lcomp.errors import UserError

LEFT_SHIFT = 20  # of what is added, as in TensorFlow Lite and CMSIS-NN
MOST_SHIFT = 62
MOST_PRODUCT = 2.0**30


def scaling(factors: NDArray[np.float64] | float, most: NDArray[np.float64] | float) -> Scaling:
    """The multiplier (2^30 to 2^31, or 0) and the shift (1 to 62) that stand for each factor.

    Args:
        most: of what is multiplied, in magnitude.

    Raises:
        UserError: a factor is negative or not finite, or a product beyond 32 bits.
    """
    factors = np.atleast_1d(np.asarray(factors, np.float64))
    if not np.isfinite(factors).all() or (factors < 0).any() or (factors * most >= MOST_PRODUCT).any():
        raise UserError(f"a layer's outputs are {factors.max():.3g} times as coarse as its sums: beyond 32 bits")
    fractions, exponents = np.frexp(factors)
    multipliers = np.rint(fractions * 2.0**31).astype(np.int64)
    carried = multipliers == 2**31
    multipliers, exponents = np.where(carried, 2**30, multipliers), exponents + carried
    shifts = 31 - exponents.astype(np.int64)
    nothing = (shifts > MOST_SHIFT) | (factors == 0)  # of sums below 2^31 nothing is left
    return Scaling(np.where(nothing, 0, multipliers).astype(np.int32), np.where(nothing, 1, shifts).astype(np.uint8))


def scaled(sums: NDArray[np.int64], by: Scaling) -> NDArray[np.int64]:
    """Sums (..., outputs) below 2^31 in magnitude times their factors, rounded to the nearest whole number, half up."""
    multiplier, shift = by.multiplier.astype(np.int64), by.shift.astype(np.int64)
    return (sums * multiplier + (np.int64(1) << (shift - 1))) >> shift
