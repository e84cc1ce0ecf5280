"""`results.parquet`: every run's row in typed columns, for a data frame or a database to read."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from lcomp.errors import needing
from lcomp.record.files import Jsonable, write_atomically

FILE = "results.parquet"


def write_parquet(rows: Sequence[Mapping[str, Jsonable]], path: Path) -> None:
    """The rows that `results.csv` has; a column holds whole numbers, numbers, truth values or texts, null where a row
    lacks it. What fits none of these together stands as text: lists as JSON."""
    with needing("report", FILE):
        import pyarrow
        from pyarrow import parquet
    names = dict.fromkeys(name for row in rows for name in row)
    table = pyarrow.table({text(name): typed([row.get(name) for row in rows]) for name in names})
    stream = io.BytesIO()
    parquet.write_table(table, stream, compression="zstd")
    write_atomically(path, stream.getvalue())


def typed(values: Sequence[Jsonable]) -> list[Jsonable]:
    """The values of a column, of one type that Parquet has: 64 bits of whole numbers, texts without half a surrogate
    pair, which a folder's name may bring."""
    kinds = {type(value) for value in values if value is not None}
    fit = all(not isinstance(value, int) or -(2**63) <= value < 2**63 for value in values)
    if kinds in ({int}, {bool}) and fit:
        return list(values)
    if kinds <= {int, float} and fit:
        return [float(value) if isinstance(value, int | float) else None for value in values]
    return [None if value is None else text(value) for value in values]


def text(value: Jsonable) -> str:
    """A text as Parquet takes it; of anything else its JSON."""
    whole = value if isinstance(value, str) else json.dumps(value)
    return whole.encode("utf-8", "backslashreplace").decode("utf-8")
