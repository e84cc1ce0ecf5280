"""Pickles of arrays and plain values alone: a pickle is a program, and this one may call nothing else."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy._core.multiarray import _reconstruct

from lcomp.errors import UserError


def byte_type(name: str | bytes, align: object = False, copy: object = False) -> np.dtype[np.uint8]:
    """The type of the arrays, which are of bytes."""
    if name not in ("u1", b"u1"):
        raise pickle.UnpicklingError(f"an array of {name!r}, not of bytes")
    return np.dtype(np.uint8)


ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): byte_type,
}


class ArrayUnpickler(pickle.Unpickler):
    """Makes arrays of bytes, dictionaries, lists, texts and numbers; texts of Python 2 are bytes."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"asks for {module}.{name}, which no array needs")
        return ALLOWED[module, name]


def load(path: Path) -> Any:
    """What the pickle in `path` holds.

    Raises:
        UserError: it is no pickle, or one that would call something else.
    """
    try:
        with path.open("rb") as file:
            return ArrayUnpickler(file, encoding="bytes").load()
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, IndexError) as error:
        raise UserError(f"{path}: not a pickle of arrays ({error}); restore the published file") from error
