"""Whole numbers to bytes and back, by asymmetric numeral systems (Duda 2013, in constriction).

A part of the file is described once, for both directions: a `Writer` keeps the numbers that it is given and returns
them, a `Reader` ignores what it is given and returns what was written. docs/format.md has the arithmetic.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Sequence

import constriction
import numpy as np
from numpy.typing import NDArray

from lcomp.errors import UserError
from lcomp.record import limits

Integers = NDArray[np.integer]
PRECISION = 24  # bits of a frequency, constriction's default
WORD = np.dtype("<u4")
CHUNK = 16  # bits that are coded at once where all values are equally likely
RENEWAL = 16  # a table is renewed when this share (1 / 16) of the symbols behind it is new
BLOCK = 1 << 10  # what a block of symbols counts for, beside its table and its numbers: as much time
NUMBERS = 1 << 14  # what each byte of a file may ask for, and FREE for nothing: a thousand zeros can cost a bit
FREE = 1 << 22
WHILE_READ, KEPT = 20, 4  # bytes that a number of an array takes
PLANES_READ = 64  # and one of planes
PIECE = 1 << 16  # numbers that are coded at once where nothing is learned of them


class FrequencyTable:
    """How likely each of the symbols 0, 1, ... is: whole numbers that sum to 2^24, none of them zero.

    Args:
        weights: of the symbols (two or more), whole numbers from 0 up.
    """

    def __init__(self, weights: Sequence[int] | Integers):
        weights = np.asarray(weights, np.int64)
        free = 2**PRECISION - len(weights)  # every symbol has one, the rest is shared out by weight
        starts = np.concatenate([[0], weights.cumsum()]) * free // weights.sum() + np.arange(len(weights) + 1)
        self.frequencies: Integers = np.diff(starts)
        # constriction gives each symbol one and shares out the rest by floats: whole ones that need no rounding
        self.model = constriction.stream.model.Categorical((self.frequencies - 1).astype(np.float64), perfect=False)


class Counts:
    """How often each of some symbols has occurred, twice that, and one: half a time before the first (Krichevsky &
    Trofimov 1981)."""

    def __init__(self, levels: int):
        self.weights, self.coded = np.ones(levels, np.int64), 0

    def add(self, symbols: Integers) -> None:
        self.weights += 2 * np.bincount(symbols, minlength=len(self.weights))
        self.coded += len(symbols)


NUMBER = FrequencyTable(
    [16, 16, 12, 10, 8, 8, 8, 8, 8, 4, 4, 2, 2, *[1] * 51]
)  # how many bits a whole number has, 0 to 63
YES_OR_NO, FOUR = FrequencyTable([1, 1]), FrequencyTable([1, 1, 1, 1])


class Coder(ABC):
    """What a writer and a reader share: numbers made of symbols.

    Args:
        version: of the file's format: what may stand in it.
    """

    def __init__(self, version: int = 1):
        self.version = version

    @abstractmethod
    def symbols(self, table: FrequencyTable, values: Integers) -> Integers:
        """Symbols under one table."""

    @abstractmethod
    def uniform(self, bits: int, values: Integers) -> Integers:
        """Numbers below 2^`bits` (16 bits at most), all equally likely."""

    def symbol(self, table: FrequencyTable, value: int = 0) -> int:
        """One symbol."""
        return int(self.symbols(table, np.array([value]))[0])

    def flag(self, value: bool = False) -> bool:
        return bool(self.symbol(YES_OR_NO, int(value)))

    def bits(self, width: int, values: Integers) -> Integers:
        """Numbers below 2^`width`, all equally likely: the lowest 16 bits of each, the next 16, ..."""
        result = np.zeros(len(values), values.dtype)
        for low in range(0, width, CHUNK):
            part = min(CHUNK, width - low)
            for start in range(0, len(values), PIECE):
                piece = slice(start, start + PIECE)
                result[piece] |= (self.uniform(part, values[piece] >> low & (1 << part) - 1) << low).astype(
                    values.dtype
                )
        return result

    def number(self, value: int = 0, most: int = (1 << 63) - 1) -> int:
        """A whole number from 0 up: how many bits it has, then those below the highest.

        Raises:
            UserError: it is more than `most`.
        """
        result = width = self.symbol(NUMBER, int(value).bit_length())
        if width > 1:
            highest = 1 << width - 1
            result = highest | int(self.bits(width - 1, np.array([value & highest - 1], np.int64))[0])
        if result > most:
            raise UserError(f"a number is {result:,}, where {most:,} is the most that can be")
        return result

    def signed(self, value: int = 0, most: int = 1 << 32) -> int:
        """A whole number from -`most` to `most`: 0, -1, 1, -2, 2 ... as 0, 1, 2, 3, 4 ..."""
        zigzag = self.number(value * 2 if value >= 0 else -value * 2 - 1, 2 * most)
        return -(zigzag + 1 >> 1) if zigzag & 1 else zigzag >> 1

    @abstractmethod
    def spend(self, work: int) -> None:
        """Told of every block of symbols before it is coded."""

    def adaptive(self, counts: Counts, values: Integers) -> Integers:
        """Symbols under how often each has occurred. The table is renewed after every sixteenth of what was coded."""
        self.spend(BLOCK)
        result, start = np.zeros(len(values), values.dtype), 0
        while len(counts.weights) > 1 and start < len(values):
            size = max(1, counts.coded // RENEWAL)
            self.spend(BLOCK + len(counts.weights))
            block = self.symbols(FrequencyTable(counts.weights), values[start : start + size])
            counts.add(block)
            result[start : start + len(block)] = block
            start += len(block)
        return result

    def sequence(self, levels: int, values: Integers) -> Integers:
        """Symbols below `levels`, which nothing is known of."""
        return self.adaptive(Counts(levels), values)


class Writer(Coder):
    """Keeps what it is given; `content` makes bytes of it.

    Args:
        version: as in `Coder`.

    Attributes:
        part: what is being written.
        spent: bits that each part has cost.
    """

    def __init__(self, version: int = 1):
        super().__init__(version)
        self.coded: list[tuple[NDArray[np.int32], constriction.stream.model.Model]] = []
        self.part = "structure"
        self.spent: dict[str, float] = defaultdict(float)

    def on(self, part: str) -> Writer:
        """Itself, with what follows counted as that part's."""
        self.part = part
        return self

    def spend(self, work: int) -> None:
        """A writer has no end of it."""

    def symbols(self, table: FrequencyTable, values: Integers) -> Integers:
        self.coded.append((values.astype(np.int32), table.model))
        self.spent[self.part] += float((PRECISION - np.log2(table.frequencies[values])).sum())
        return values

    def uniform(self, bits: int, values: Integers) -> Integers:
        self.coded.append((values.astype(np.int32), constriction.stream.model.Uniform(1 << bits)))
        self.spent[self.part] += bits * len(values)
        return values

    def content(self) -> bytes:
        """Everything so far, without zero bytes at the end."""
        coder = constriction.stream.stack.AnsCoder()
        for values, model in reversed(self.coded):  # a stack: what goes in last comes out first
            coder.encode_reverse(values, model)
        words: bytes = coder.get_compressed().astype(WORD).tobytes()
        return words.rstrip(b"\0")


class Reader(Coder):
    """Reads what a `Writer` wrote.

    Args:
        content: its bytes.
        work: how much may be spent in all, see `spend` and `claim`; None: what a file of this length may ask for.
        times: what the limits of this machine are multiplied with; infinite for what it wrote itself.
        version: as in `Coder`.

    Raises:
        UserError: from here on and in every method, where the bytes cannot be a writer's.
    """

    def __init__(self, content: bytes, work: int | None = None, times: float | None = None, version: int = 1):
        super().__init__(version)
        if content.endswith(b"\0"):
            raise UserError("its last byte is zero, which is never written")
        padded = content + bytes(-len(content) % WORD.itemsize)
        self.coder = constriction.stream.stack.AnsCoder(np.frombuffer(padded, WORD).astype(np.uint32))
        self.left = FREE + NUMBERS * len(content) if work is None else work
        self.times = limits.user_factor() if times is None else times
        self.spent = self.kept = 0

    def symbols(self, table: FrequencyTable, values: Integers) -> Integers:
        return self.coder.decode(table.model, len(values)).astype(np.int64)  # type: ignore[no-any-return]

    def uniform(self, bits: int, values: Integers) -> Integers:
        model = constriction.stream.model.Uniform(1 << bits)
        return self.coder.decode(model, len(values)).astype(np.int64)  # type: ignore[no-any-return]

    def spend(self, work: int) -> None:
        """A step for each number and for each symbol of a table, `BLOCK` for each block."""
        self.left -= work
        self.spent += work
        if self.left < 0:
            raise UserError("it asks for more numbers than a file of its length may hold")
        limits.check("decoding it", self.spent, limits.WORK, "steps", self.times)

    def claim(self, count: int, each: int = WHILE_READ) -> None:
        """Asks for memory, before there is any, for an array of `count` numbers of so many bytes while it is read."""
        self.spend(count)
        limits.check("an array", each * count + self.kept, limits.MEMORY, factor=self.times)
        self.kept += KEPT * count

    def end(self) -> None:
        """Nothing is left: the coder stands where a writer's began."""
        if not self.coder.is_empty():
            raise UserError("something follows its end")


def number_bits(value: int) -> float:
    """What `Coder.number` takes."""
    width = value.bit_length()
    return float(PRECISION - np.log2(NUMBER.frequencies[width])) + max(0, width - 1)


def adaptive_bits(counts: Sequence[int] | Integers) -> float:
    """What `Coder.sequence` takes for symbols that occur so often, up to the slowness of its tables."""
    counts = np.asarray(counts, np.int64)
    n, levels = int(counts.sum()), len(counts)
    natural = math.lgamma(n + levels / 2) - math.lgamma(levels / 2)
    natural -= sum(math.lgamma(c + 0.5) - math.lgamma(0.5) for c in counts[counts > 0].tolist())
    return natural / math.log(2)
