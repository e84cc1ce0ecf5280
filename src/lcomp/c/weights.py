"""Weights as flash holds them: bytes, numbers of few bits, coded as in packed files, or nonzero ones and gaps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lcomp.c import PACKED, SPARSE
from lcomp.c.network import Filter
from lcomp.packed.coder import WORD, Integers, Writer

WIDEST = 8  # bits of a weight, or of a gap


@dataclass(frozen=True)
class Stored:
    """A layer's weights.

    Attributes:
        form: `bytes`, int8 as they are; `bits`, `sparse`: a stream of bits, its numbers lowest bit first; `coded`: in
            the network's one stream.
        content: the bytes; none of what is coded.
        lowest, step: a number n stands for n * step + lowest.
        levels: how many such numbers there are.
        bits: of a number.
        gap_bits: of a gap, see `sparse_stream`.
    """

    form: str
    content: bytes = b""
    lowest: int = 0
    step: int = 1
    levels: int = 1
    bits: int = 8
    gap_bits: int = 0


def store(filters: Sequence[Filter], form: str) -> tuple[list[Stored], NDArray[np.uint32]]:
    """Every layer's weights in one of `lcomp.c.FORMS`, and the words of the stream of those that are coded."""
    stored, coder = [], Writer()
    for one in filters:
        rows = one.weights.reshape(len(one.weights), -1).astype(np.int64)
        if form == PACKED:
            lowest, step, levels, numbers = numbered(rows.reshape(-1))
            coder.sequence(levels, numbers)
            stored.append(Stored("coded", b"", lowest, step, levels))
        else:
            may = [dense(rows)] + [sparse(rows, gap) for gap in range(1, WIDEST + 1) if form == SPARSE and rows.any()]
            stored.append(min(may, key=lambda one: len(one.content)))
    content = coder.content()
    return stored, np.frombuffer(content + bytes(-len(content) % WORD.itemsize), WORD).astype(np.uint32)


def numbered(values: Integers) -> tuple[int, int, int, Integers]:
    """(lowest, step, levels, numbers): values as whole multiples of a step from the lowest up."""
    lowest = int(values.min())
    step = int(np.gcd.reduce(values - lowest)) or 1
    numbers = (values - lowest) // step
    return lowest, step, int(numbers.max()) + 1, numbers


def dense(rows: Integers) -> Stored:
    lowest, step, levels, numbers = numbered(rows.reshape(-1))
    bits = (levels - 1).bit_length()
    if bits == WIDEST:
        return Stored("bytes", rows.astype(np.int8).tobytes())
    return Stored("bits", stream([(int(n), bits) for n in numbers], bits), lowest, step, levels, bits)


def sparse(rows: Integers, gap_bits: int) -> Stored:
    """For each nonzero weight of a row how many zeros are before it, and its number. A gap of the highest value has no
    weight behind it; gaps go on to the row's end."""
    lowest, step, levels, _ = numbered(rows[rows != 0])
    bits, most = (levels - 1).bit_length(), (1 << gap_bits) - 1
    fields: list[tuple[int, int]] = []
    for row in rows:
        place = 0
        for at in [*np.flatnonzero(row).tolist(), len(row)]:
            gap = at - place
            fields += [(most, gap_bits)] * (gap // most)
            if at < len(row):
                fields += [(gap % most, gap_bits), ((int(row[at]) - lowest) // step, bits)]
            elif gap % most:
                fields.append((gap % most, gap_bits))
            place = at + 1
    return Stored("sparse", stream(fields, bits), lowest, step, levels, bits, gap_bits)


def stream(fields: Sequence[tuple[int, int]], least: int) -> bytes:
    """(number, bits) of each, one behind another from the lowest bit of the first byte on; behind them what a reader of
    two bytes at a time looks at: a byte more, or two where the `least` field has no bits."""
    whole, width = 0, 0
    parts: list[bytes] = []
    for number, bits in fields:
        whole |= number << width
        width += bits
        if width >= 64:
            parts.append((whole & (1 << 64) - 1).to_bytes(8, "little"))
            whole, width = whole >> 64, width - 64
    return b"".join(parts) + whole.to_bytes(-(-width // 8), "little") + bytes(1 if least else 2)
