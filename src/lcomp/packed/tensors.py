"""Arrays of whole numbers and of float32s, each in the form that takes least; they come back bit for bit."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from lcomp.errors import UserError
from lcomp.packed.coder import FOUR, Coder, Counts, Integers, Reader, Writer, adaptive_bits, number_bits

Floats = NDArray[np.float32]
MOST_LEVELS = 1 << 14  # from the lowest number of an array to its highest
SAME, RAW, FIXED, PATTERN = range(4)  # the forms of floats
HIGHEST = (1 << 31) - 1  # and lowest, of a whole number
MAGNITUDE = 31  # bits of a float32 without its sign, the lowest 23 of them the mantissa
SHIFTS = range(16, 27)  # how much of a magnitude is not worth a table
EXPONENTS = range(-149, 105)  # of a unit, so that no multiple of it is too small or too large for a float32


def write_integers(io: Writer, values: Integers) -> None:
    """Whole numbers, one or more: the lowest, how many levels from it up, which of them occur, and the sequence.

    Raises:
        UserError: they are too far apart.
    """
    lowest, counts = levels_of(values)
    occurs = counts > 0
    io.signed(lowest)
    io.number(len(counts) - 1)
    if len(counts) > 2 and io.flag(marking_bits(counts) < adaptive_bits(counts)):
        io.sequence(2, occurs[1:-1].astype(np.int64))
        io.sequence(int(occurs.sum()), (occurs.cumsum() - 1)[values - lowest])
    else:
        io.sequence(len(counts), values - lowest)


def read_integers(io: Reader, count: int) -> Integers:
    """`count` of them.

    Raises:
        UserError: they are more than the reader may read, or too far apart.
    """
    lowest, levels = io.signed(), io.number(most=MOST_LEVELS - 1) + 1
    if not -HIGHEST <= lowest <= HIGHEST - levels:
        raise UserError(f"whole numbers from {lowest:,} on: {HIGHEST:,} is the largest")
    io.claim(count)
    io.claim(levels)
    values: Integers
    if levels > 2 and io.flag():
        occurs = np.concatenate([[1], io.sequence(2, nothing(levels - 2)), [1]])
        values = np.flatnonzero(occurs).astype(np.int32)[io.sequence(int(occurs.sum()), nothing(count))]
    else:
        values = io.sequence(levels, nothing(count))
    values += lowest
    return values


def nothing(count: int, kind: type[np.int32] | type[np.uint32] = np.int32) -> Integers:
    """What a reader gives where a writer gives `count` numbers: one that takes no memory."""
    return np.broadcast_to(kind(0), count)


def kernels(io: Coder, values: Integers, most: int, steepest: int = 0) -> Integers:
    """Whole numbers from -`most` to `most` that lie in small planes, as the weights of a convolution do.

    Neighbours mostly have one sign. All numbers at one place of their planes are coded at once, place by place,
    relative to the sign of what their neighbours lean to, and under counts of their own for each steepness of it.

    Args:
        values: (planes, rows, columns); a reader gives zeros.
        steepest: how many leans above 0 have counts of their own; 0: all of them share one, as in version 1.
    """
    decoded = np.zeros_like(values)
    every = [Counts(2 * most + 1) for _ in range(max(steepest, 1) + 1)]
    for row, column in np.ndindex(values.shape[1:]):
        lean = leans(decoded, row, column, steepest)
        for steepness, counts in enumerate(every):
            chosen = np.minimum(np.abs(lean), len(every) - 1) == steepness
            side = np.where(lean < 0, -1, 1)[chosen]
            symbols = io.adaptive(counts, values[chosen, row, column] * side + most)
            decoded[chosen, row, column] = (symbols - most) * side
    return decoded


def leans(planes: Integers, row: int, column: int, steepest: int) -> Integers:
    """What each plane's neighbours to the left of a place and above it say of it: their sum; with `steepest` twice
    that, less the one between them, as a surface goes on that bends half as much."""
    none = np.zeros_like(planes[:, 0, 0])
    left, above = planes[:, row, column - 1] if column else none, planes[:, row - 1, column] if row else none
    corner = planes[:, row - 1, column - 1] if row and column else none
    return 2 * (left + above) - corner if steepest else left + above


def kernel_bits(values: Integers, most: int, steepest: int) -> float:
    """Roughly what `kernels` takes."""
    highest, levels = max(steepest, 1), 2 * most + 1
    counts = np.zeros((highest + 1) * levels, np.int64)
    for row, column in np.ndindex(values.shape[1:]):
        lean = leans(values, row, column, steepest)
        symbols = values[:, row, column] * np.where(lean < 0, -1, 1) + most
        counts += np.bincount(np.minimum(np.abs(lean), highest) * levels + symbols, minlength=len(counts))
    return sum(adaptive_bits(one) for one in counts.reshape(-1, levels))


def levels_of(values: Integers) -> tuple[int, Integers]:
    """The lowest of `values`, and how often each level from it to the highest occurs."""
    lowest, highest = int(values.min()), int(values.max())
    if highest - lowest >= MOST_LEVELS:
        raise UserError(
            f"whole numbers from {lowest:,} to {highest:,} are too far apart: {MOST_LEVELS:,} levels at most"
        )
    return lowest, np.bincount(values - lowest)


def marking_bits(counts: Integers) -> float:
    """What a sequence costs with a mark for each level that occurs."""
    inner = counts[1:-1] > 0
    return adaptive_bits([inner.sum(), (~inner).sum()]) + adaptive_bits(counts[counts > 0])


def integer_bits(values: Integers) -> float:
    """Roughly what `write_integers` takes; infinite for what it refuses."""
    try:
        lowest, counts = levels_of(values)
    except UserError:
        return math.inf
    return number_bits(2 * abs(lowest)) + number_bits(len(counts)) + min(adaptive_bits(counts), marking_bits(counts))


def write_floats(io: Writer, values: Floats) -> None:
    """float32s, one or more, in the form that takes least:

    SAME, one pattern of 32 bits for all; RAW, one for each; FIXED, whole numbers of a power of two; PATTERN, the upper
    bits of the magnitudes as whole numbers, and as they are the bits below, less zeros that end all of them.
    """
    patterns = values.astype("<f4").view("<u4").astype(np.int64)
    magnitudes, n = patterns & (1 << MAGNITUDE) - 1, len(values)
    unit, cut = unit_of(values), trailing_zeros(magnitudes)
    options = [(32.0, SAME, 0)] if (patterns == patterns[0]).all() else [(32.0 * n, RAW, 0)]
    if unit is not None:
        options.append((number_bits(2 * abs(unit)) + integer_bits(multiples(values, unit)), FIXED, unit))
    shifts = {cut, *(shift for shift in SHIFTS if shift > cut)}
    options += [(pattern_bits(patterns, cut, shift), PATTERN, shift) for shift in shifts]
    _, form, argument = min(options)
    io.symbol(FOUR, form)
    if form == FIXED:
        io.signed(argument)
        write_integers(io, multiples(values, argument))
    elif form == PATTERN:
        io.number(cut)
        io.number(argument - cut)
        upper = magnitudes >> argument
        write_integers(io, upper)
        shown, signs = upper > 0, patterns >> MAGNITUDE
        if io.flag(bool(signs.any())):
            io.bits(1, signs[shown])
        io.bits(argument - cut, (magnitudes >> cut & (1 << argument - cut) - 1)[shown])
    else:
        io.bits(32, patterns[: 1 if form == SAME else n])


def read_floats(io: Reader, count: int) -> Floats:
    """`count` of them.

    Raises:
        UserError: they are more than the reader may read, or no float32s.
    """
    form = io.symbol(FOUR)
    if form == FIXED:
        unit = io.signed()
        if unit not in EXPONENTS:
            raise UserError(f"floats are multiples of two to the power of {unit}")
        whole = read_integers(io, count)
        largest = max(int(whole.max()), -int(whole.min()))
        if largest >= MOST_LEVELS:
            raise UserError(f"floats are as large multiples as {largest:,}")
        values: Floats = np.ldexp(whole.astype(np.float32), np.int32(unit))
        return values
    patterns: Integers
    if form == PATTERN:
        cut, tail = io.number(most=MAGNITUDE), io.number(most=MAGNITUDE)
        upper = read_integers(io, count)
        if cut + tail > MAGNITUDE or upper.min() < 0 or int(upper.max()) << cut + tail >= 1 << MAGNITUDE:
            raise UserError("a float has more bits than 32")
        shown, patterns = upper > 0, upper.view(np.uint32)
        patterns <<= cut + tail
        more = nothing(int(shown.sum()), np.uint32)
        if io.flag():
            patterns[shown] |= io.bits(1, more) << MAGNITUDE
        patterns[shown] |= io.bits(tail, more) << cut
    else:
        io.claim(count)
        patterns = io.bits(32, nothing(1 if form == SAME else count, np.uint32)).repeat(count if form == SAME else 1)
    return patterns.view(np.float32)


def unit_of(values: Floats) -> int | None:
    """The exponent of the largest power of two that all values are whole multiples of; None where the smallest form of
    whole multiples could not hold them."""
    if not np.isfinite(values).all() or np.signbit(values[values == 0]).any() or not values.any():
        return None
    fractions, exponents = np.frexp(values[values != 0].astype(np.float64))
    whole = (fractions * 2**24).astype(np.int64)
    unit = int((exponents - 24 + np.frexp((whole & -whole).astype(np.float64))[1] - 1).min())
    return unit if unit in EXPONENTS and np.abs(values).max() < math.ldexp(MOST_LEVELS, unit) else None


def multiples(values: Floats, unit: int) -> Integers:
    return np.ldexp(values.astype(np.float64), -unit).astype(np.int64)


def trailing_zeros(magnitudes: Integers) -> int:
    """How many bits at the end are zero in all."""
    used_bits = int(np.bitwise_or.reduce(magnitudes))
    return (used_bits & -used_bits).bit_length() - 1 if used_bits else 0


def pattern_bits(patterns: Integers, cut: int, shift: int) -> float:
    """Roughly what PATTERN takes; infinite where it would lose a bit, of values too near zero to have an upper bit."""
    magnitudes = patterns & (1 << MAGNITUDE) - 1
    upper = magnitudes >> shift
    hidden = upper == 0
    if patterns[hidden].any():
        return math.inf
    signed = bool((patterns >> MAGNITUDE).any())
    tails = float((~hidden).sum()) * (shift - cut + signed)
    return number_bits(cut) + number_bits(shift - cut) + integer_bits(upper) + tails
