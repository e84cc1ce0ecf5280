"""Where each value lies in the one arena: greedy by size (Pisarchyk & Lee 2020, "Efficient memory management for deep
neural net inference", algorithm 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lcomp.c.network import CNetwork, Filter


@dataclass
class Buffer:
    """Memory that is needed from one operation to another, both included."""

    size: int
    first: int
    last: int
    offset: int = 0

    def meets(self, other: Buffer) -> bool:
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class Plan:
    """Where values and rows of weights lie.

    Attributes:
        offsets: of each value in the arena; the input and the output are the caller's and have none.
        scratch: of each operation that unfolds its weights there, by its number.
        size: of the arena.
        bound: what no arrangement can be below: the most that is needed at one time.
    """

    offsets: dict[int, int]
    scratch: dict[int, int]
    size: int
    bound: int


def plan(network: CNetwork, rows: dict[int, int]) -> Plan:
    """Lays out the arena.

    Args:
        rows: bytes that an operation needs while it runs, by its number.
    """
    buffers: dict[int, Buffer] = {}  # by value; those that lie in one place share theirs
    size = alignment(network)
    for number, one in enumerate(network.operations):
        for source in one.sources:
            if source in buffers:
                buffers[source].last = number
        if one.target == len(network.values) - 1:
            continue
        shared = place_of(network, number, buffers)
        if shared is None:
            buffers[one.target] = Buffer(rounded(network.values[one.target].bytes, size), number, number)
        else:
            buffers[one.target] = shared
    scratch = {number: Buffer(rounded(count, size), number, number) for number, count in rows.items() if count}
    distinct = list({id(one): one for one in (*buffers.values(), *scratch.values())}.values())
    whole = place(distinct)
    return Plan(
        {value: one.offset for value, one in buffers.items()},
        {number: one.offset for number, one in scratch.items()},
        whole,
        bound(distinct, len(network.operations)),
    )


def place_of(network: CNetwork, number: int, buffers: dict[int, Buffer]) -> Buffer | None:
    """The buffer of a source that nothing reads any more, and whose place the output can take while it is read."""
    one = network.operations[number]
    may = one.sources if one.in_place else one.sources[1:] if isinstance(one, Filter) and one.addition else ()
    for source in may:
        dies = not any(source in later.sources for later in network.operations[number + 1 :])
        fits = network.values[source].bytes == network.values[one.target].bytes
        alone = list(one.sources).count(source) == 1 or one.in_place
        if source in buffers and dies and fits and alone:
            return buffers[source]
    return None


def place(buffers: Sequence[Buffer]) -> int:
    """Gives each buffer an offset, the largest first, in the smallest gap that fits between those placed that it meets;
    the size of the whole."""
    placed: list[Buffer] = []
    for one in sorted(buffers, key=lambda one: (-one.size, one.first)):
        end, best, least = 0, None, None
        for other in sorted((other for other in placed if one.meets(other)), key=lambda other: other.offset):
            gap = other.offset - end
            if gap >= one.size and (least is None or gap < least):
                best, least = end, gap
            end = max(end, other.offset + other.size)
        one.offset = end if best is None else best
        placed.append(one)
    return max((one.offset + one.size for one in placed), default=0)


def bound(buffers: Sequence[Buffer], operations: int) -> int:
    return max((sum(b.size for b in buffers if b.first <= n <= b.last) for n in range(operations)), default=0)


def alignment(network: CNetwork) -> int:
    return 1 if network.is_integer else 4


def rounded(size: int, unit: int) -> int:
    return -(-size // unit) * unit
