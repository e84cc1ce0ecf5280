"""A network as one file, and back; docs/format.md describes it byte by byte.

Nothing in a file is executed: it is numbers, and each step is one of a fixed list of kinds. Steps read earlier values
only, so that there are no cycles; they do not nest; every count is checked before there is memory for it.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from math import prod
from pathlib import Path

from torch import nn

from lcomp.errors import UserError
from lcomp.packed.coder import FrequencyTable, Reader, Writer
from lcomp.packed.network import MOST_SIDE, MOST_STEPS, Join, Network, Shape, checked_shape, logit_count, output_shape
from lcomp.packed.operations import OPERATIONS
from lcomp.packed.sentences import MASK, READS_IDS, Attend, MaskedMean
from lcomp.record import limits
from lcomp.record.untrusted import read_bytes as content_of

MAGIC, VERSIONS = b"LC", (1, 2)  # 2 has one more form of a weight
HEADER = 7  # bytes: magic, version, CRC-32 of what follows
COMMUTING = ("add", "mul")
KINDS = 32  # of step: the end, those of OPERATIONS, and room for later ones
STEP = FrequencyTable([16, *(operation.weight for operation in OPERATIONS), *[1] * (KINDS - 1 - len(OPERATIONS))])


def write_network(network: Network, version: int = 1) -> Writer:
    """What `file_content` makes a file of.

    Args:
        version: of the format, one of `VERSIONS`.

    Raises:
        UserError: a step that has no place in a file.
    """
    io = Writer(version)
    for side in network.input_shape:
        io.number(side - 1)
    for last, (step, sources) in enumerate(zip(network.steps, network.sources, strict=True)):
        code = code_of(step)
        io.symbol(STEP, code + 1)
        OPERATIONS[code].write(io, step)
        if isinstance(step, Join):
            earlier = sources[0] if sources[1] == last else sources[1]
            io.number(last - earlier)
            if step.operator not in COMMUTING:
                io.flag(sources[0] != last)
        elif isinstance(step, nn.Identity):
            io.number(last - sources[0])
        elif isinstance(step, Attend):
            for source in sources[:-1]:
                io.number(last - source)
    io.symbol(STEP, 0)
    return io


def file_content(io: Writer) -> bytes:
    """The whole file."""
    body = io.content()
    return MAGIC + bytes([io.version]) + zlib.crc32(body).to_bytes(4, "little") + body


def read_network(file: bytes, times: float | None = None) -> Network:
    """The network of a file's content.

    Args:
        times: what the limits of `lcomp.record.limits` are multiplied with; None is what the user says.

    Raises:
        UserError: it is no such file, of another version, or damaged, or asks for more than the limits.
    """
    if file[: len(MAGIC)] != MAGIC or len(file) < HEADER:
        raise UserError("no packed network: its first two bytes are not LC")
    if file[2] not in VERSIONS:
        known = " and ".join(map(str, VERSIONS))
        raise UserError(f"a packed network of version {file[2]}; this lcomp reads {known}")
    if zlib.crc32(file[HEADER:]).to_bytes(4, "little") != file[3:HEADER]:
        raise UserError("a damaged packed network: the checksum is not that of its content")
    try:
        return read_steps(Reader(file[HEADER:], times=times, version=file[2]))
    except limits.Refused:
        raise
    except UserError as error:
        raise UserError(f"a damaged packed network: {error}") from None


def read_steps(io: Reader) -> Network:
    shapes: list[Shape] = [checked_shape(tuple(io.number(most=MOST_SIDE) + 1 for _ in range(3)))]
    steps: list[nn.Module] = []
    sources: list[tuple[int, ...]] = []
    while code := io.symbol(STEP):
        last = len(steps)
        if last == MOST_STEPS:
            raise UserError(f"more than {MOST_STEPS:,} steps")
        if code > len(OPERATIONS):
            raise UserError(f"a step of kind {code}, which this version does not know")
        step = OPERATIONS[code - 1].read(io, shapes[last])
        steps.append(step)
        sources.append(sources_of(io, step, last))
        shapes.append(output_shape(step, [shapes[max(source, 0)] for source in sources[last]]))
    io.end()
    check_inputs(steps, sources)
    limits.check("running it on an example", 4 * most_values(shapes, sources), limits.MEMORY, factor=io.times)
    return Network(shapes[0], logit_count(shapes[-1]), steps, sources)


def check_inputs(steps: Sequence[nn.Module], sources: Sequence[tuple[int, ...]]) -> None:
    """Raises UserError for a network that reads sentences and also something else, or their mask alone."""
    of_ids = [isinstance(step, READS_IDS) for step in steps]
    of_input = [0 in read for read in sources]
    if any(of_ids) != all(of_ids[number] for number, reads in enumerate(of_input) if reads):
        raise UserError("a network of token ids and of something else")
    if not any(of_ids) and any(MASK in read for read in sources):
        raise UserError("a network of a mask without token ids")


def most_values(shapes: Sequence[Shape], sources: Sequence[tuple[int, ...]]) -> int:
    """How many numbers a network's values have at most at one time, for each example."""
    last = {source: number for number, step in enumerate(sources) for source in step}
    now = most = prod(shapes[0])
    last[MASK] = len(sources)
    for number, step in enumerate(sources):
        now += prod(shapes[number + 1])
        most = max(most, now)
        now -= sum(prod(shapes[source]) for source in {*step} if last[source] == number)
    return most


def sources_of(io: Reader, step: nn.Module, last: int) -> tuple[int, ...]:
    """What a step reads: the last value, beside it or in its place an earlier one."""
    if isinstance(step, nn.Identity):
        return (last - io.number(most=last),)
    if isinstance(step, READS_IDS):
        return (0,)
    if isinstance(step, MaskedMean):
        return (last, MASK)
    if isinstance(step, Attend):
        return (*(last - io.number(most=last) for _ in range(3)), MASK)
    if isinstance(step, Join):
        earlier = last - io.number(most=last)
        return (earlier, last) if step.operator not in COMMUTING and io.flag() else (last, earlier)
    return (last,)


def code_of(step: nn.Module) -> int:
    for code, operation in enumerate(OPERATIONS):
        if isinstance(step, operation.kind):
            return code
    raise UserError(f"{type(step).__name__} has no place in a packed network")


def load(path: Path | str) -> Network:
    """The network in the file at `path`: inputs (N, C, H, W) in [0, 1] to logits (N, classes).

    Raises:
        UserError: there is no such file, it is none of a packed network, or it asks for more memory or work than
            `lcomp.record.limits` has; the message names it.
    """
    try:
        file = content_of(Path(path), limits.ARTIFACT)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    try:
        return read_network(file)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
