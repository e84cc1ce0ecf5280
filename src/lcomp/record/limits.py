"""How much a file that somebody else may have written can ask for.

`LCOMP_LIMITS=4` in the environment allows four times as much of everything here, for files that you trust.
"""

from __future__ import annotations

import math
import os

from lcomp.errors import UserError

VARIABLE = "LCOMP_LIMITS"
MEMORY = 1 << 29  # bytes: of a packed network's arrays while they are read, of its values while it runs on one example
WORK = 1 << 28  # steps of decoding a packed network, some 10 ns each
EXPORTED = 1 << 9  # steps of a packed network that becomes ONNX, which takes the exporter their number squared
PREDICTIONS = 1 << 26  # bytes of predictions.npz, unpacked
RECORD = 1 << 22  # bytes of a file of JSON
STUDY = 1 << 26  # bytes of study.db, where a report reads it
STEPS = 1 << 31  # of SQLite's virtual machine while it is read
CONFIGURATION = 1 << 18  # bytes of a file of YAML
ARTIFACT = 1 << 28  # bytes of an ONNX file that a report reads
WHOLE = 1 << 31  # bytes of one that is packed or run: the format's own limit
DEPTH = 64  # how deep JSON and YAML nest


class Refused(UserError, ValueError):
    """A file that asks for too much, or is not what it should be; the message names it and the limit."""


def user_factor() -> float:
    """What the user multiplies every limit with.

    Raises:
        UserError: the environment has something that is no number above zero.
    """
    given = os.environ.get(VARIABLE, "1")
    try:
        factor = float(given)
    except ValueError:
        factor = math.nan
    if not factor > 0:
        raise UserError(f"{VARIABLE}={given}: must be a number above 0, such as 4 for four times the usual limits")
    return factor


def check(what: str, amount: float, limit: float, unit: str = "bytes", factor: float | None = None) -> None:
    """Raises Refused where `amount` is more than `limit`, times what the user says or `factor`."""
    most = limit * (user_factor() if factor is None else factor)
    if amount > most:
        raise Refused(
            f"{what} asks for {amount:,.0f} {unit}, where {most:,.0f} is the limit; {VARIABLE}=N allows N times as much"
        )
