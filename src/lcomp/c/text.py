"""Constants as C text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np

from lcomp.c.network import Addition, Array, Bounds

TYPES = ((np.int8, "int8_t"), (np.int16, "int16_t"), (np.int32, "int32_t"))
LINE = 112  # characters of a line of constants


Fields = dict[str, object]  # of a structure of constants, by name


class ArrayText(TypedDict):
    """A constant array as a template shows it."""

    name: str
    type: str
    count: int
    comment: str
    lines: list[str]


def array_text(name: str, kind: str, values: Sequence[str], comment: str) -> ArrayText:
    lines, line = [], ""
    for value in values:
        if line and len(line) + len(value) + 2 > LINE:
            lines.append(line.rstrip())
            line = ""
        line += f"{value}, "
    return ArrayText(name=name, type=kind, count=len(values), comment=comment, lines=[*lines, line.rstrip()])


def narrowest(arrays: Sequence[Array]) -> str:
    """The least type of whole numbers that holds them all."""
    low, high = min(int(a.min()) for a in arrays), max(int(a.max()) for a in arrays)
    return next(name for kind, name in TYPES if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max)


def numbers(array: Array) -> list[str]:
    return [str(value) if value > -(2**31) else "INT32_MIN" for value in array.reshape(-1).tolist()]


def has_bounds(bounds: Bounds) -> bool:
    return (bounds.lowest, bounds.highest) != (-(2**31), 2**31 - 1)


def bound_fields(bounds: Bounds) -> Fields:
    low = "INT32_MIN" if bounds.lowest == -(2**31) else int(bounds.lowest)
    return {"lowest": low, "highest": int(bounds.highest)}


def pair(name: str, values: tuple[int, int]) -> Fields:
    return {f"{name}_rows": values[0], f"{name}_columns": values[1]}


def structure(kind: str, name: str, fields: Fields) -> str:
    lines = array_text("", "", [f".{key} = {value}" for key, value in fields.items()], "")["lines"]
    return "\n".join([f"static const struct {kind} {name} = {{", *(f"    {line}" for line in lines), "};"])


def sum_text(name: str, one: Addition, signed: bool) -> str:
    assert one.inputs is not None and one.output is not None
    multipliers = [*numbers(one.inputs.multiplier), *numbers(one.output.multiplier)]
    shifts = [*numbers(one.inputs.shift), *numbers(one.output.shift)]
    fields: Fields = {
        "multipliers": f"{{{', '.join(multipliers)}}}",
        "shifts": f"{{{', '.join(shifts)}}}",
        "zeros": f"{{{', '.join(map(str, one.zeros))}}}",
    }
    fields |= bound_fields(one.bounds)
    return structure("sum", name, fields | ({"sign": one.sign} if signed else {}))
