"""The arena within a limit: which convolutions are carried out strip by strip, and how high strips are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from lcomp.c.memory import Plan, buffers_of, needs, plan
from lcomp.c.network import CNetwork, Filter
from lcomp.c.strips import Segment, may_be_striped
from lcomp.errors import UserError


@dataclass(frozen=True)
class Cut:
    """Operations from the first on, cut into segments.

    Attributes:
        cost: how many weights are unfolded beyond once.
    """

    cost: int
    segments: tuple[Segment, ...] = ()


def fitted(network: CNetwork, rows: Mapping[int, int], arena: int | None) -> Plan:
    """A plan of at most `arena` bytes: the one of the fewest weights that are unfolded again.

    Args:
        rows: see `lcomp.c.memory.plan`.
        arena: None where there is no limit.

    Raises:
        UserError: there is none.
    """
    found = plan(network, rows)
    if arena is None or found.size <= arena:
        return found
    options = list(segments_of(network))
    limit = arena
    while cut := cheapest_cut(network, rows, options, limit):
        found = plan(network, rows, cut.segments)
        if found.size <= arena:
            return found
        limit -= max(1, found.size - arena)  # what lies between buffers
    raise UserError(
        f"arena={arena:,}: its values need more than that, strip by strip too; without a limit {found.bound:,}"
    )


def segments_of(network: CNetwork) -> Iterator[Segment]:
    """Every segment that could be: at most a height for each number of strips, the highest first."""
    for first in range(len(network.operations)):
        for last in range(first, len(network.operations)):
            if not may_be_striped(network, last):
                break
            rows = network.values[network.operations[last].target].shape[0]
            heights = {-(-rows // count) for count in range(2, rows + 1)} if last > first else set()
            for height in sorted(heights, reverse=True):
                yield Segment(network, first, last, height)


def cheapest_cut(network: CNetwork, rows: Mapping[int, int], options: Sequence[Segment], limit: int) -> Cut | None:
    """The cheapest cut that needs at most `limit` bytes at any time."""
    whole = needs_of(network, rows, ())
    best: list[Cut | None] = [Cut(0)]
    for end in range(1, len(network.operations) + 1):
        before = best[end - 1]
        found = before if before and whole[end - 1] <= limit else None
        for segment in options:
            start = best[segment.first] if segment.last == end - 1 else None
            if start is None:
                continue
            cost = start.cost + (segment.count - 1) * sum(
                one.weights.size for n in segment.numbers if isinstance(one := network.operations[n], Filter)
            )
            if found is None or cost < found.cost:
                needed = needs_of(network, rows, (segment,))
                if max(needed[segment.first : end]) <= limit:
                    found = Cut(cost, (*start.segments, segment))
        best.append(found)
    return best[-1]


def needs_of(network: CNetwork, rows: Mapping[int, int], segments: Sequence[Segment]) -> list[int]:
    buffers, scratch = buffers_of(network, rows, segments)
    distinct = {id(one): one for one in (*buffers.values(), *scratch.values())}
    return needs(list(distinct.values()), len(network.operations))
