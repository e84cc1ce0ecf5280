"""A finalized network as an entropy-coded stream: how many bytes its weights need (Han et al. 2016, section 4).

    stream = encode(network)
    network.load_state_dict(decode(stream))     # the same bits, in a network of the same structure

The stream holds every entry of the network's state: weights, biases, scales, codebooks, batch norm values, with their
names, types and shapes. It does not hold the structure: which layers there are, and how they are joined. Its parts:

    magic       4 bytes
    crc         4 bytes, little-endian: CRC-32 of all that follows
    length      of the header, see below
    header      deflated; for each tensor, in the order of the state:
                    name (its length, UTF-8), type (1 byte), dimensions (their number, each),
                    coding (1 byte): RAW, CODED or MASKED, and for the last two the table: the lowest symbol
                    (zigzag), how many symbols there are from it up, and how often each occurs
    raw         bytes of the RAW tensors, and of what is not zero in MASKED ones, in that order; little-endian
    words       32-bit words of an asymmetric-numeral-systems coder (Duda 2013, in constriction): the integers of CODED
                tensors, and for each element of MASKED ones whether it is zero, under the frequencies of the tables

Whole numbers are written as LEB128. Zero is a symbol like others, so positions of zeros cost what their entropy is.
Integers are CODED where that is smaller than RAW, floats MASKED where it is; a float that is not zero stays as it is.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import constriction
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lcomp.errors import UserError

MAGIC = b"LCS1"
RAW, CODED, MASKED = range(3)
TYPES = (
    torch.float32, torch.float16, torch.bfloat16, torch.float64,
    torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64, torch.bool,
)  # fmt: skip
MOST_SYMBOLS = 4096  # of a table
WORDS = np.dtype("<u4")
Symbols = NDArray[np.int64]


@dataclass
class Table:
    """How often each of the symbols `lowest`, `lowest` + 1 ... occurs."""

    lowest: int
    counts: Symbols

    @property
    def model(self) -> Any:
        """The distribution of the symbols that occur, by their index among these; None where only one does."""
        present = self.counts[self.counts > 0]
        if len(present) < 2:
            return None
        return constriction.stream.model.Categorical(present / present.sum(), perfect=False)

    @property
    def symbols(self) -> Symbols:
        """Those that occur, ascending."""
        return np.flatnonzero(self.counts) + self.lowest

    def indices(self, symbols: Symbols) -> NDArray[np.int32]:
        """Where each of `symbols` stands among those that occur."""
        return (np.cumsum(self.counts > 0) - 1)[symbols - self.lowest].astype(np.int32)

    @property
    def entropy_bytes(self) -> float:
        share = self.counts[self.counts > 0] / self.counts.sum()
        return float(-(share * np.log2(share)).sum() * self.counts.sum() / 8)

    def written(self) -> bytes:
        zigzag = self.lowest * 2 if self.lowest >= 0 else -self.lowest * 2 - 1
        return b"".join(number(int(n)) for n in (zigzag, len(self.counts), *self.counts))


def encode(network: nn.Module) -> bytes:
    """The stream of a finalized network's state."""
    return encode_state(network.state_dict())


def encode_state(state: dict[str, Tensor]) -> bytes:
    """The stream of named tensors.

    Raises:
        UserError: a tensor is of a type that has no place in a stream.
    """
    header, raw, coded = bytearray(), bytearray(), []
    for name, tensor in state.items():
        if tensor.dtype not in TYPES:
            raise UserError(
                f"{name}: a tensor of {tensor.dtype} has no place in a stream; floats, integers and booleans have"
            )
        tensor = tensor.detach().cpu().contiguous()
        coding, table, symbols, rest = parts(tensor)
        text = name.encode()
        header += number(len(text)) + text + bytes([TYPES.index(tensor.dtype)])
        header += number(tensor.dim()) + b"".join(map(number, tensor.shape)) + bytes([coding])
        raw += rest
        if table is not None:
            header += table.written()
            coded.append((table, symbols))
    coder = constriction.stream.stack.AnsCoder()
    for table, symbols in reversed(coded):  # a stack: what goes in last comes out first
        if table.model is not None:
            coder.encode_reverse(table.indices(symbols), table.model)
    deflated = zlib.compress(bytes(header), 9, wbits=-15)
    words: bytes = coder.get_compressed().astype(WORDS).tobytes()
    body = number(len(deflated)) + deflated + bytes(raw) + words
    return MAGIC + zlib.crc32(body).to_bytes(4, "little") + body


def parts(tensor: Tensor) -> tuple[int, Table | None, Symbols, bytes]:
    """How a tensor is coded: the coding, its table and symbols if it has any, and the bytes that stay raw."""
    own = raw_bytes(tensor)
    symbols: Symbols
    if tensor.is_floating_point():
        elements = np.frombuffer(own, np.uint8).reshape(-1, tensor.element_size())
        kept: Any = elements.any(1)  # minus zero has a bit set, and is kept
        coding, rest = MASKED, elements[kept].tobytes()
        symbols = kept.astype(np.int64)
    else:
        coding, rest = CODED, b""
        symbols = tensor.flatten().to(torch.int64).numpy()
    table = table_of(symbols)
    if table is None or len(rest) + table.entropy_bytes + len(zlib.compress(table.written(), 9)) - 8 >= len(own):
        return RAW, None, symbols[:0], own
    return coding, table, symbols, rest


def table_of(symbols: Symbols) -> Table | None:
    """The table of these symbols, unless they are too far apart or there are none."""
    if not len(symbols):
        return None
    lowest, highest = int(symbols.min()), int(symbols.max())
    if highest - lowest >= MOST_SYMBOLS:
        return None
    return Table(lowest, np.bincount(symbols - lowest))


def decode(stream: bytes) -> dict[str, Tensor]:
    """The state that `encode` was given, bit for bit.

    Raises:
        UserError: the bytes are not a stream, or are damaged.
    """
    body = stream[8:]
    if stream[:4] != MAGIC:
        raise UserError("not a stream of lcomp's: its first four bytes are others")
    if zlib.crc32(body).to_bytes(4, "little") != stream[4:8]:
        raise UserError(f"the stream is damaged: the checksum of its {len(stream)} bytes is not the one that it names")
    reader = Reader(body)
    header = Reader(zlib.decompress(reader.take(reader.number()), wbits=-15))
    entries = list(entries_of(header))
    lengths = [raw_length(*entry[1:]) for entry in entries]
    raws = [reader.take(length) for length in lengths]
    coder = constriction.stream.stack.AnsCoder(np.frombuffer(reader.rest(), WORDS).astype(np.uint32))
    state = {}
    for (name, dtype, shape, coding, table), raw in zip(entries, raws, strict=True):
        if table is not None:
            count, model = prod(shape), table.model
            indices = np.zeros(count, np.int32) if model is None else coder.decode(model, count)
            symbols = table.symbols[indices]
            raw = spread(raw, symbols, dtype) if coding == MASKED else integers(symbols, dtype)
        state[name] = tensor_of(raw, dtype, shape)
    return state


def entries_of(header: Reader) -> Iterator[tuple[str, torch.dtype, tuple[int, ...], int, Table | None]]:
    """Name, type, shape, coding and table of each tensor."""
    while header.left:
        name = header.take(header.number()).decode()
        dtype = TYPES[header.take(1)[0]]
        shape = tuple(header.number() for _ in range(header.number()))
        coding, table = header.take(1)[0], None
        if coding != RAW:
            zigzag = header.number()
            lowest = zigzag // 2 if zigzag % 2 == 0 else -(zigzag + 1) // 2
            table = Table(lowest, np.array([header.number() for _ in range(header.number())]))
        yield name, dtype, shape, coding, table


def raw_length(dtype: torch.dtype, shape: tuple[int, ...], coding: int, table: Table | None) -> int:
    """How many bytes of a tensor are raw."""
    if table is None:
        return prod(shape) * dtype.itemsize
    return int(table.counts[1 - table.lowest :].sum()) * dtype.itemsize if coding == MASKED else 0


def spread(kept: bytes, mask: Symbols, dtype: torch.dtype) -> bytes:
    """The bytes of a tensor whose elements under `mask` are `kept`, and whose others are zero."""
    elements = np.zeros((len(mask), dtype.itemsize), np.uint8)
    elements[mask == 1] = np.frombuffer(kept, np.uint8).reshape(-1, dtype.itemsize)
    return elements.tobytes()


def integers(symbols: Symbols, dtype: torch.dtype) -> bytes:
    return raw_bytes(torch.from_numpy(symbols).to(dtype))


def raw_bytes(tensor: Tensor) -> bytes:
    """A tensor's elements as they lie in memory."""
    flat = tensor.reshape(-1)
    return flat.view(torch.uint8).numpy().tobytes() if len(flat) else b""


def tensor_of(raw: bytes, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    if not raw:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(bytearray(raw), dtype=torch.uint8).view(dtype).reshape(shape)


def number(value: int) -> bytes:
    """A whole number from 0 up in LEB128: seven bits a byte, the lowest first."""
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


class Reader:
    """Takes bytes and LEB128 numbers from the front."""

    def __init__(self, content: bytes):
        self.content, self.place = content, 0

    @property
    def left(self) -> int:
        return len(self.content) - self.place

    def take(self, count: int) -> bytes:
        self.place += count
        return self.content[self.place - count : self.place]

    def rest(self) -> bytes:
        return self.take(self.left)

    def number(self) -> int:
        value = shift = 0
        while True:
            [byte] = self.take(1)
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
