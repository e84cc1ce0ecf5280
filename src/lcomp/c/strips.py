"""Convolutions one strip of rows after another: between them, memory holds only the rows that are still read.

The patches of MCUNet (Lin et al. 2021), of whole rows; rows that two strips need are kept, so that nothing is computed
twice. Weights are unfolded for each strip anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lcomp.c.network import CNetwork, Filter, Window


@dataclass(frozen=True)
class Strip:
    """What an operation does of one strip.

    Attributes:
        begin, end: rows that it makes.
        first: the row that lies first in the buffer of each source, and of what it makes.
        dropped: rows that leave the front of what it makes, before.
        kept: rows that move there.
    """

    begin: int
    end: int
    first: tuple[int, int, int] = (0, 0, 0)
    dropped: int = 0
    kept: int = 0


class Segment:
    """Operations, from number `first` to number `last`, that are carried out strip by strip.

    Args:
        height: rows of the last one's output in a strip.

    Attributes:
        rolling: values of which only some rows are in memory, with how many.
        strips: of each operation, by its number.
    """

    def __init__(self, network: CNetwork, first: int, last: int, height: int):
        self.network, self.first, self.last = network, first, last
        self.numbers = range(first, last + 1)
        rows = network.values[network.operations[last].target].shape[0]
        self.count = -(-rows // height)
        ends = self.ends(height)
        begins = {n: [0, *ends[n][:-1]] for n in self.numbers}
        bases = {value: self.bases(value, begins, ends) for value in self.between()}
        for number in self.numbers:  # rows that nothing reads are not made
            if base := bases.get(network.operations[number].target):
                begins[number] = [
                    min(max(b, low), e) for b, low, e in zip(begins[number], base, ends[number], strict=True)
                ]
        self.rolling = {
            value: max(e - b for e, b in zip(ends[self.maker(value)], base, strict=True))
            for value, base in bases.items()
        }
        self.strips = {number: list(self.strips_of(number, begins, ends, bases)) for number in self.numbers}

    def maker(self, value: int) -> int:
        return next(n for n in self.numbers if self.network.operations[n].target == value)

    def readers(self, value: int) -> list[int]:
        return [n for n, one in enumerate(self.network.operations) if value in one.sources]

    def between(self) -> list[int]:
        """What is made and read within it, but what is written over by the sum with it."""
        made = [self.network.operations[n].target for n in self.numbers]
        inside = {value for value in made if all(n in self.numbers for n in self.readers(value))}
        inside -= {self.network.operations[self.last].target}
        for number in self.numbers:
            one = self.network.operations[number]
            if one.target not in inside and len(one.sources) == 2 and self.readers(one.sources[1]) == [number]:
                inside -= {one.sources[1]}
        return sorted(inside)

    def ends(self, height: int) -> dict[int, list[int]]:
        """How many rows of its output each operation has made at each strip's end."""
        found: dict[int, list[int]] = {}
        for number in reversed(self.numbers):
            target = self.network.operations[number].target
            rows = self.network.values[target].shape[0]
            if number == self.last:
                found[number] = [min(rows, height * (k + 1)) for k in range(self.count)]
                continue
            readers = [n for n in self.readers(target) if n in found]
            needs = [[self.needed(n, target, end - 1, end)[1] for end in found[n]] for n in readers]
            ends = [max(each) for each in zip(*needs, strict=True)] or [0] * self.count
            if any(n > self.last for n in self.readers(target)):
                ends[-1] = rows
            found[number] = ends
        return found

    def bases(self, value: int, begins: dict[int, list[int]], ends: dict[int, list[int]]) -> list[int]:
        """The first row of a value that this strip or a later one reads."""
        found, least = [], self.network.values[value].shape[0]
        for k in reversed(range(self.count)):
            for n in self.readers(value):
                if begins[n][k] < ends[n][k]:
                    least = min(least, self.needed(n, value, begins[n][k], ends[n][k])[0])
            found.append(least)
        return found[::-1]

    def needed(self, number: int, value: int, begin: int, end: int) -> tuple[int, int]:
        """Rows of a value, first and beyond the last, that an operation's output rows are made of."""
        one = self.network.operations[number]
        assert isinstance(one, Filter)
        low, high = begin, end
        if value == one.sources[0]:
            pool, window = one.pool or Window(), one.window
            low = begin * pool.stride[0] * window.stride[0] - window.padding[0]
            high = ((end - 1) * pool.stride[0] + pool.kernel[0] - 1) * window.stride[0] - window.padding[0]
            high += (window.kernel[0] - 1) * window.dilation[0] + 1
            if one.addition and value == one.sources[1]:
                low, high = min(low, begin), max(high, end)
        rows = self.network.values[value].shape[0]
        return max(0, min(low, rows)), max(0, min(high, rows))

    def strips_of(
        self, number: int, begins: dict[int, list[int]], ends: dict[int, list[int]], bases: dict[int, list[int]]
    ) -> Iterator[Strip]:
        one = self.network.operations[number]
        nothing = [0] * self.count
        first, second = (bases.get(value, nothing) for value in (one.sources[0], one.sources[-1]))
        own, before, made = bases.get(one.target, nothing), 0, 0
        for k in range(self.count):
            kept = max(0, made - own[k])
            dropped = own[k] - before if kept else 0
            yield Strip(
                begins[number][k], ends[number][k], (first[k], second[k], own[k]), dropped, kept if dropped else 0
            )
            before, made = own[k], ends[number][k]


def may_be_striped(network: CNetwork, number: int) -> bool:
    """Whether an operation can be one of a segment: a convolution of rows."""
    one = network.operations[number]
    if not isinstance(one, Filter) or one.target == len(network.values) - 1:
        return False
    return network.source_shape(one) == network.values[one.sources[0]].shape and network.values[one.target].shape[0] > 1
