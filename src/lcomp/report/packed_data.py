"""A large report's data in fewer bytes: runs as columns, compressed; `scripts/unpack.js` gives them back."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Mapping, Sequence

from lcomp.record.plain import PlainValue

PACKED_FROM = 1_000_000  # characters of JSON, some 500 runs: below, whoever looks into the file can read it


def compressed(text: str) -> str:
    """The text, compressed, in characters that can stand inside a script element."""
    return base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode()


def columns(rows: Sequence[Mapping[str, PlainValue]]) -> dict[str, PlainValue]:
    """Rows as columns, since what stands under one key is alike.

    Returns:
        `shapes`, the lists of keys that rows have; `shape`, the number of each row's; `columns`, for each key the
        values of the rows that have it, in their order. Where all these are mappings, they are columns themselves.
    """
    shapes: dict[tuple[str, ...], int] = {}
    shape: list[PlainValue] = [shapes.setdefault(tuple(row), len(shapes)) for row in rows]
    values: dict[str, list[PlainValue]] = {}
    for row in rows:
        for key, value in row.items():
            values.setdefault(key, []).append(value)
    return {
        "shapes": [list(keys) for keys in shapes],
        "shape": shape,
        "columns": {key: column(of_key) for key, of_key in values.items()},
    }


def column(values: list[PlainValue]) -> PlainValue:
    """The values under one key; mappings as columns."""
    mappings = [value for value in values if isinstance(value, dict)]
    return columns(mappings) if len(mappings) == len(values) else values
